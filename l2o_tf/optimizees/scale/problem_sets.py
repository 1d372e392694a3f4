"""The named sets of problems that L2O-Scale draws its meta-training problems from.

A set is a list of builders, for two reasons: the legacy trainer draws the constants of a problem
anew whenever it picks one, and a large ensemble costs nothing until a problem is picked.
Source: legacy `problems/problem_sets.py` and `metarun.py`; Wichrowska et al. 2017, appendix.
"""

import functools
import math
import zlib
from collections.abc import Callable, Sequence

from l2o_tf.core import errors, registry
from l2o_tf.data.datasets import Dataset
from l2o_tf.optimizees.scale import (
    classifiers,
    datasets,
    landscapes,
    problem,
    quadratics,
    two_dimensional,
    wrappers,
)

# Makes the problem that belongs to a seed: its constants and its data set.
Builder = Callable[[int], problem.Problem]
Data = Callable[[int], datasets.Examples]

PROBLEM_SETS: registry.Registry[list[Builder]] = registry.Registry(
    "problem set", needs_images=False
)

# The ensemble of L2O-Scale-Meta: what the flags of the legacy `metarun.py` select by default.
SCALE_META = (
    "quadratic_noisy",
    "quadratic_large",
    "bowl",
    "bowl_noisy",
    "softmax_2_class",
    "softmax_2_class_noisy",
    "optimization_test",
    "optimization_test_noisy",
    "fully_connected_random_2_class",
    "matmul",
    "log_objective",
    "rescale",
    "norm",
    "norm_noisy",
    "sum",
    "sum_noisy",
    "sparse_gradient",
    "sparse_gradient_mlp",
)


def problem_builders(name: str, images: Dataset | None = None) -> list[Builder]:
    """Returns the builders of a problem set, in the legacy order.

    Args:
        name: the name of a set, or "scale_meta" for all of `SCALE_META`.
        images: a `l2o_tf.data.datasets.Dataset`, for the sets that need one.

    Raises:
        InputError: if there is no such set, or it needs images.
    """
    return PROBLEM_SETS.create(name, images)


def problem_set(name: str, seed: int, images: Dataset | None = None) -> list[problem.Problem]:
    """Builds all problems of a set: the same seed gives the same problems.

    Args:
        name: the name of a set, or "scale_meta" for all of `SCALE_META`.
        seed: a non-negative number; every problem gets a seed of its own from it.
        images: a `l2o_tf.data.datasets.Dataset`, for the sets that need one.

    Raises:
        InputError: if there is no such set, it needs images, or the seed is negative.
    """
    builders = problem_builders(name, images)
    if seed < 0:
        raise errors.InputError(f"the seed of a problem set must not be negative, got {seed}")
    name_id = zlib.crc32(name.encode())
    return [
        build(datasets.derive_seed(seed, name_id, index)) for index, build in enumerate(builders)
    ]


def _define(name: str, builders: Sequence[Builder]) -> None:
    PROBLEM_SETS.register(name)(lambda images: list(builders))


def _fixed(make: Callable[..., problem.Problem], *args, **kwargs) -> Builder:
    """A problem without random constants."""
    return lambda seed: make(*args, **kwargs)


def _quadratic(num_dims: int) -> Builder:
    return functools.partial(quadratics.Quadratic.random, num_dims)


def _norm(num_dims: int, power: float) -> Builder:
    return functools.partial(quadratics.Norm.random, num_dims, power)


def _bowl(condition: float, angle: float = 0.0) -> Builder:
    return _fixed(quadratics.Bowl, condition, angle)


def _wrapped(wrapper: Callable[..., problem.Problem], builder: Builder, *args) -> Builder:
    return lambda seed: wrapper(builder(seed), *args)


def _noisy(builder: Builder, stddev: float) -> Builder:
    return _wrapped(wrappers.GradientNoise, builder, stddev)


def _sum(*builders: Builder) -> Builder:
    return lambda seed: wrappers.SumTask(
        [build(datasets.derive_seed(seed, j)) for j, build in enumerate(builders)]
    )


def _on_data(
    make: Callable[..., problem.Problem], data: Data, batch_size: int, **kwargs
) -> Builder:
    return lambda seed: make(data(seed), batch_size, **kwargs)


def _softmax(num_features: int, separation: float, batch_size: int) -> Builder:
    # The legacy data set has this fixed seed.
    return _on_data(
        classifiers.SoftmaxRegression,
        lambda seed: datasets.random(num_features, 1000, separation=separation, seed=123),
        batch_size,
        num_classes=2,
    )


def _parity(make: Callable[..., problem.Problem]) -> Builder:
    return _on_data(
        make,
        lambda seed: datasets.noisy_parity_class(5, seed=123),
        23,
        num_features=5,
        num_classes=2,
    )


def _perceptron(num_features: int, hidden_sizes: tuple[int, ...], batch_size: int) -> Builder:
    return _on_data(
        classifiers.FullyConnected,
        lambda seed: datasets.random_mlp(num_features, 1000, seed),
        batch_size,
        num_classes=2,
        hidden_sizes=hidden_sizes,
    )


_SMALL_QUADRATICS = (_quadratic(20), _quadratic(50), _quadratic(100))
_UPRIGHT_BOWLS = (_bowl(0.1), _bowl(1.0), _bowl(5.0))
_BOWLS = (*_UPRIGHT_BOWLS, _bowl(5.0, math.pi / 4))
_SUMMED_SURFACES = tuple(
    _fixed(surface)
    for surface in (
        two_dimensional.Rosenbrock,
        two_dimensional.LogSumExp,
        two_dimensional.Ackley,
        two_dimensional.Beale,
        two_dimensional.Booth,
        two_dimensional.StyblinskiTang,
        two_dimensional.Matyas,
        two_dimensional.Branin,
        two_dimensional.Michalewicz,
    )
)
_SURFACES = tuple(
    _fixed(surface)
    for surface in (
        two_dimensional.Ackley,
        two_dimensional.Beale,
        two_dimensional.Booth,
        two_dimensional.Branin,
        two_dimensional.LogSumExp,
        two_dimensional.Matyas,
        two_dimensional.Michalewicz,
        two_dimensional.Rosenbrock,
        two_dimensional.StyblinskiTang,
    )
)
_PERCEPTRONS = (
    _perceptron(8, (8, 5), 10),
    _perceptron(12, (8, 5, 3), 200),
    _perceptron(5, (4, 4, 4, 4), 100),
    _perceptron(11, (4, 5, 6), 64),
    _perceptron(9, (8,), 128),
    _perceptron(7, (8, 5), 16),
    _perceptron(8, (32, 64), 10),
    _perceptron(12, (16, 8, 3), 200),
    _perceptron(5, (8, 8, 8, 8), 100),
    _perceptron(11, (10, 12, 12), 64),
    _perceptron(9, (32,), 128),
    _perceptron(7, (32, 64), 16),
)
_SOFTMAXES = (
    _softmax(10, 2.0, 100),
    _softmax(100, 1.0, 50),
    _softmax(200, 1.5, 20),
    _softmax(256, 1.5, 100),
)
_SEVEN_QUADRATICS = tuple(_quadratic(n) for n in (11, 3, 9, 7, 5, 13, 12))
# (number of features, number of examples, batch size).
_SHAPES = (
    (20, 1000, 100),
    (12, 200, 10),
    (56, 5000, 100),
    (64, 1000, 50),
    (13, 10000, 50),
    (20, 1000, 128),
    (12, 300, 16),
    (56, 5000, 128),
    (64, 1000, 64),
    (13, 10000, 32),
)


def _symmetric(make: Callable[..., problem.Problem]) -> list[Builder]:
    """A problem on `random_symmetric` data; those of 12 features have 100 examples."""
    return [
        _on_data(
            make,
            functools.partial(datasets.random_symmetric, n, 100 if n == 12 else num_examples),
            batch_size,
        )
        for n, num_examples, batch_size in _SHAPES
    ]


def _define_mnist_mlp(name: str, initial_stddev: float) -> None:
    def builders(images) -> list[Builder]:
        if images is None:
            raise errors.InputError(f"problem set {name!r} needs a data set of images; give MNIST")
        return [
            _on_data(
                classifiers.FullyConnected,
                lambda seed: datasets.from_images(images),
                128,
                num_classes=images.num_classes,
                hidden_sizes=(20,),
                initial_stddev=initial_stddev,
            )
        ]

    PROBLEM_SETS.register(name, needs_images=True)(builders)


_define_mnist_mlp("mnist_mlp", 0.01)
# The start of the paper's own training code for L2O-Scale.
_define_mnist_mlp("mnist_mlp_unit_normal", 1.0)


_define("quadratic", [_quadratic(20), _quadratic(25), _quadratic(50), _quadratic(100)])
_define(
    "quadratic_noisy",
    [
        _noisy(_quadratic(20), 0.5),
        _quadratic(25),
        _noisy(_quadratic(50), 1.0),
        _noisy(_quadratic(100), 2.0),
    ],
)
_define("quadratic_large", [_quadratic(784), _quadratic(1024), _quadratic(2048)])
_define("bowl", _BOWLS)
_define("bowl_noisy", [_noisy(bowl, 0.1) for bowl in _BOWLS])
_define("sparse_softmax_2_class", [_parity(classifiers.SparseSoftmaxRegression)])
_define("one_hot_sparse_softmax_2_class", [_parity(classifiers.OneHotSparseSoftmaxRegression)])
_define("softmax_2_class", _SOFTMAXES)
_define(
    "softmax_2_class_noisy",
    [_noisy(softmax, stddev) for softmax, stddev in zip(_SOFTMAXES, (0.5, 0.1, 0.1, 0.5))],
)
_define("optimization_test", _SURFACES)
_define("optimization_test_noisy", [_noisy(surface, 1.0) for surface in _SURFACES])
_define("fully_connected_random_2_class", _PERCEPTRONS)
_define(
    "matmul",
    [
        _fixed(landscapes.MatMulAlgorithm, n, k)
        for n, k_values in ((2, range(5, 9)), (3, range(19, 25)))
        for k in k_values
    ],
)
_define(
    "log_objective",
    [_wrapped(wrappers.LogObjective, b) for b in (*_SMALL_QUADRATICS, *_UPRIGHT_BOWLS)],
)
_define(
    "sparse_gradient",
    [_wrapped(wrappers.SparseProblem, b) for b in (*_SMALL_QUADRATICS, *_UPRIGHT_BOWLS)],
)
_define("sparse_gradient_mlp", [_wrapped(wrappers.SparseProblem, b) for b in _PERCEPTRONS[:3]])
_define(
    "rescale",
    [
        _wrapped(wrappers.Rescale, builder, scale)
        for builder, scale in (
            (_norm(18, 2.5), 0.123),
            (_norm(18, 1.5), 8.0),
            (_norm(18, 2.0), 50.0),
            (_norm(18, 3.0), 200.0),
            (_norm(18, 1.0), 1000.0),
            (_quadratic(20), 0.1),
            (_quadratic(25), 10.0),
            (_quadratic(50), 350.0),
            (_quadratic(100), 132.0),
        )
    ],
)
_define("norm", [_norm(27, 1.0), _norm(25, 2.0), _norm(22, 3.0)])
_define("norm_noisy", [_noisy(_norm(n, p), 0.1) for n, p in ((19, 1.0), (26, 2.0), (23, 3.0))])
_define(
    "sum",
    [
        _sum(*_SEVEN_QUADRATICS),
        _sum(_norm(18, 3.0), _quadratic(25), _fixed(two_dimensional.Rosenbrock)),
        _sum(*_SUMMED_SURFACES),
        _sum(*_SUMMED_SURFACES, _quadratic(5), _quadratic(13)),
        _sum(_quadratic(11), _quadratic(3)),
        _sum(*_SUMMED_SURFACES[:3]),
    ],
)
_define(
    "sum_noisy",
    [
        _sum(*[_noisy(quadratic, 0.1) for quadratic in _SEVEN_QUADRATICS]),
        _sum(*_SUMMED_SURFACES, _quadratic(5), _noisy(_quadratic(13), 0.5)),
    ],
)
# The legacy sum forgets the noise of its parts.
_define(
    "sum_noisy_legacy",
    [_sum(*_SEVEN_QUADRATICS), _sum(*_SUMMED_SURFACES, _quadratic(5), _quadratic(13))],
)
# The legacy code attaches data that the chain ignores.
_define("dependency_chain", [_fixed(landscapes.DependencyChain, n) for n, _, _ in _SHAPES])
_define(
    "outward_snake",
    [
        _on_data(
            landscapes.OutwardSnake,
            functools.partial(datasets.random_binary, n, num_examples),
            batch_size,
        )
        for n, num_examples, batch_size in _SHAPES
    ],
)
_define("sum_of_quadratics", _symmetric(quadratics.SumOfQuadratics))
_define("projection_quadratic", _symmetric(quadratics.ProjectionQuadratic))
_define("min_max_well", [_fixed(landscapes.MinMaxWell, n) for n in (20, 12, 56, 64, 13)])


@PROBLEM_SETS.register("scale_meta")
def _scale_meta(images) -> list[Builder]:
    return [build for name in SCALE_META for build in problem_builders(name, images)]
