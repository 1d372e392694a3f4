import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from l2o_tf.core import errors, seeds
from l2o_tf.optimizees.scale import problem, problem_sets, wrappers

SEED = seeds.make_seed(1, "test")


@dataclasses.dataclass
class FakeImages:
    """What a problem set reads of a data set of images."""

    images: np.ndarray
    labels: np.ndarray
    num_classes: int = 10
    scale: float = 1 / 255


def fake_mnist():
    rng = np.random.default_rng(0)
    return FakeImages(
        rng.integers(0, 256, [200, 28, 28, 1], np.uint8),
        rng.integers(0, 10, [200]).astype(np.int32),
    )


# Name -> the number of coordinates of each problem: those of the specification.
NUM_COORDINATES = {
    "mnist_mlp": [15910],
    "mnist_mlp_unit_normal": [15910],
    "quadratic": [20, 25, 50, 100],
    "quadratic_noisy": [20, 25, 50, 100],
    "quadratic_large": [784, 1024, 2048],
    "bowl": [2] * 4,
    "bowl_noisy": [2] * 4,
    "sparse_softmax_2_class": [22],
    "one_hot_sparse_softmax_2_class": [22],
    "softmax_2_class": [22, 202, 402, 514],
    "softmax_2_class_noisy": [22, 202, 402, 514],
    "optimization_test": [2] * 9,
    "optimization_test_noisy": [2] * 9,
    "fully_connected_random_2_class": [129, 175, 94, 123, 98, 121, 2530, 379, 282, 434, 386, 2498],
    "matmul": [40, 48, 56, 64, 342, 360, 378, 396, 414, 432],
    "log_objective": [20, 50, 100, 2, 2, 2],
    "sparse_gradient": [20, 50, 100, 2, 2, 2],
    "sparse_gradient_mlp": [129, 175, 94],
    "rescale": [18, 18, 18, 18, 18, 20, 25, 50, 100],
    "norm": [27, 25, 22],
    "norm_noisy": [19, 26, 23],
    "sum": [60, 45, 18, 36, 14, 6],
    "sum_noisy": [60, 36],
    "sum_noisy_legacy": [60, 36],
    "dependency_chain": [21, 13, 57, 65, 14] * 2,
    "outward_snake": [20, 12, 56, 64, 13] * 2,
    "sum_of_quadratics": [20, 12, 56, 64, 13] * 2,
    "projection_quadratic": [20, 12, 56, 64, 13] * 2,
    "min_max_well": [20, 12, 56, 64, 13],
}
# Name -> (number of examples, batch size) of each problem with data.
DATA = {
    "mnist_mlp": [(200, 128)],
    "sparse_softmax_2_class": [(5, 23)],
    "softmax_2_class": [(1000, b) for b in (100, 50, 20, 100)],
    "fully_connected_random_2_class": [
        (1000, b) for b in (10, 200, 100, 64, 128, 16, 10, 200, 100, 64, 128, 16)
    ],
    "outward_snake": list(
        zip(
            [1000, 200, 5000, 1000, 10000, 1000, 300, 5000, 1000, 10000],
            [100, 10, 100, 50, 50, 128, 16, 128, 64, 32],
        )
    ),
    "sum_of_quadratics": list(
        zip(
            [1000, 100, 5000, 1000, 10000, 1000, 100, 5000, 1000, 10000],
            [100, 10, 100, 50, 50, 128, 16, 128, 64, 32],
        )
    ),
}
# Name -> the deviation of the gradient noise of each problem.
NOISE = {
    "quadratic_noisy": [0.5, None, 1.0, 2.0],
    "bowl_noisy": [0.1] * 4,
    "softmax_2_class_noisy": [0.5, 0.1, 0.1, 0.5],
    "optimization_test_noisy": [1.0] * 9,
    "norm_noisy": [0.1] * 3,
}


def coordinates(problem_):
    return sum(int(np.prod(shape)) for shape in problem_.param_shapes)


def test_the_table_above_is_complete():
    assert {*NUM_COORDINATES, "scale_meta"} == set(problem_sets.PROBLEM_SETS.names())


@pytest.mark.parametrize("name", NUM_COORDINATES)
def test_every_problem_has_a_finite_loss_and_gradient_at_its_start(name):
    problems = problem_sets.problem_set(name, 0, fake_mnist())
    assert [coordinates(p) for p in problems] == NUM_COORDINATES[name]
    for problem_ in problems:
        params = problem_.init(SEED)
        with tf.GradientTape() as tape:
            tape.watch(params)
            loss = problem_.loss(params, problem_.batch(SEED, 0))
        grads = tape.gradient(loss, params)
        assert np.isfinite(loss) and loss.shape == []
        assert all(np.all(np.isfinite(g)) for g in grads)
        assert np.isfinite(problem_.loss(params, problem_.full_batch()))


@pytest.mark.parametrize("name", DATA)
def test_data_and_batch_sizes_are_those_of_the_specification(name):
    problems = problem_sets.problem_set(name, 0, fake_mnist())
    assert [(p.num_examples, p.batch_size) for p in problems] == DATA[name]


@pytest.mark.parametrize("name", NOISE)
def test_noise_is_that_of_the_specification(name):
    problems = problem_sets.problem_set(name, 0)
    assert [getattr(p, "stddev", None) for p in problems] == NOISE[name]


@pytest.mark.parametrize("name", ["quadratic", "fully_connected_random_2_class", "sum", "rescale"])
def test_constants_and_data_belong_to_the_seed(name):
    def losses(seed):
        values = []
        for problem_ in problem_sets.problem_set(name, seed):
            # Float32 hides how little the logits depend on the data at the start of perceptrons.
            params = [tf.cast(p, tf.float64) for p in problem_.init(SEED)]
            values.append(problem_.loss(params, problem_.full_batch()).numpy())
        return np.array(values)

    first = losses(3)
    np.testing.assert_array_equal(first, losses(3))
    random = np.array([True] * len(first))
    if name == "sum":
        random[[2, 5]] = False  # Test functions only.
    np.testing.assert_array_equal(first != losses(4), random)


def test_problems_of_equal_shape_in_a_set_differ():
    first, second = problem_sets.problem_set("rescale", 0)[2:4]
    assert np.any(first.inner.residual(tf.ones([18, 1])) != second.inner.residual(tf.ones([18, 1])))


def test_noise_of_summed_problems_is_applied_unless_legacy():
    def noises(name):
        batches = [p.batch(SEED, 0) for p in problem_sets.problem_set(name, 0)]
        return [sum(isinstance(b, wrappers.PerturbedBatch) for b in batch) for batch in batches]

    assert noises("sum_noisy") == [7, 1]
    assert noises("sum_noisy_legacy") == [0, 0]


def test_the_default_ensemble_is_its_sets_one_after_the_other():
    builders = problem_sets.problem_builders("scale_meta")
    assert len(builders) == sum(len(NUM_COORDINATES[name]) for name in problem_sets.SCALE_META)
    sizes = [n for name in problem_sets.SCALE_META for n in NUM_COORDINATES[name]]
    cheap = [i for i, n in enumerate(sizes) if n < 700][::5]
    assert [coordinates(builders[i](7)) for i in cheap] == [sizes[i] for i in cheap]


def test_a_builder_draws_a_new_problem_for_every_seed():
    build = problem_sets.problem_builders("norm")[0]
    x = tf.ones([27, 1])
    np.testing.assert_array_equal(build(1).residual(x), build(1).residual(x))
    assert np.all(build(1).residual(x) != build(2).residual(x))
    assert isinstance(build(1), problem.Problem)


@pytest.mark.parametrize(
    "call,message",
    [
        (lambda: problem_sets.problem_set("quadratics", 0), "known: mnist_mlp, .*quadratic"),
        (lambda: problem_sets.problem_set("mnist_mlp", 0), "needs a data set of images"),
        (lambda: problem_sets.problem_set("bowl", -1), "must not be negative"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(errors.InputError, match=message):
        call()
