"""Every problem of problems.npz: objective and gradient of the legacy code."""

import math

import numpy as np
import pytest
import tensorflow as tf

from l2o_tf.optimizees.scale import (
    classifiers,
    conv_nets,
    datasets,
    landscapes,
    quadratics,
    two_dimensional,
    wrappers,
)
from tests import reference

SURFACES = (
    "Rosenbrock Ackley Beale Booth StyblinskiTang Matyas Branin Michalewicz Saddle LogSumExp"
).split()
SUMMED_SURFACES = (
    "Rosenbrock LogSumExp Ackley Beale Booth StyblinskiTang Matyas Branin Michalewicz"
).split()
MAX_OBJECTIVE_ERROR = 1e-5
MAX_GRADIENT_ERROR = 1e-4


def quadratic(a, index=""):
    return quadratics.Quadratic(a[f"w{index}"], a[f"y{index}"])


def norm(a, power, index=""):
    return quadratics.Norm(a[f"w{index}"], a[f"y{index}"], power)


def surface(name):
    return getattr(two_dimensional, name)()


def examples(a):
    return datasets.Examples(a["data"], a["labels"].reshape(-1))


def on_data(make, **kwargs):
    return lambda a: make(examples(a), 1, **kwargs)


def without_labels(make):
    return lambda a: make(datasets.Examples(a["data"], np.zeros(len(a["data"]))), 1)


def sum_of_quadratics(indices):
    return lambda a: wrappers.SumTask([quadratic(a, j) for j in indices])


def sum_of_surfaces(names, quadratic_indices=()):
    return lambda a: wrappers.SumTask(
        [surface(n) for n in names] + [quadratic(a, j) for j in quadratic_indices]
    )


CASES = {
    **{f"Quadratic_{n}": quadratic for n in (20, 25, 50, 100)},
    "Bowl_0.1_0": lambda a: quadratics.Bowl(0.1),
    "Bowl_1_0": lambda a: quadratics.Bowl(1.0),
    "Bowl_5_0": lambda a: quadratics.Bowl(5.0),
    "Bowl_5_0.785398": lambda a: quadratics.Bowl(5.0, math.pi / 4),
    **{
        f"Norm_{n}_{p}": lambda a, p=p: norm(a, p)
        for n, p in ((27, 1), (25, 2), (22, 3), (18, 2.5), (18, 1.5))
    },
    **{name: lambda a, name=name: surface(name) for name in SURFACES},
    **{
        f"Rescale_Norm_18_{p}_{s}": lambda a, p=p, s=s: wrappers.Rescale(norm(a, p), s)
        for p, s in ((2.5, 0.123), (1.5, 8), (2, 50), (3, 200), (1, 1000))
    },
    **{
        f"Rescale_Quadratic_{n}_{s}": lambda a, s=s: wrappers.Rescale(quadratic(a), s)
        for n, s in ((20, 0.1), (25, 10), (50, 350), (100, 132))
    },
    "SumTask_0": sum_of_quadratics(range(7)),
    "SumTask_1": lambda a: wrappers.SumTask(
        [norm(a, 3, 0), quadratic(a, 1), surface("Rosenbrock")]
    ),
    "SumTask_2": sum_of_surfaces(SUMMED_SURFACES),
    "SumTask_3": sum_of_surfaces(SUMMED_SURFACES, (9, 10)),
    "SumTask_4": sum_of_quadratics(range(2)),
    "SumTask_5": sum_of_surfaces(SUMMED_SURFACES[:3]),
    "IsotropicQuadratic": lambda a: quadratics.IsotropicQuadratic([(3, 2), (4,)]),
    **{
        f"LogObjective_Quadratic_{n}": lambda a: wrappers.LogObjective(quadratic(a))
        for n in (20, 50, 100)
    },
    **{
        f"LogObjective_Bowl_{c}": lambda a, c=c: wrappers.LogObjective(quadratics.Bowl(c))
        for c in (0.1, 1, 5)
    },
    "SparseProblem_Quadratic_20_objective_only": lambda a: wrappers.SparseProblem(quadratic(a)),
    **{
        f"DependencyChain_{n}": lambda a, n=n: landscapes.DependencyChain(n)
        for n in (20, 12, 56, 64, 13)
    },
    **{f"MinMaxWell_{n}": lambda a, n=n: landscapes.MinMaxWell(n) for n in (20, 12, 56, 64, 13)},
    **{
        f"{make.__name__}_{n}": without_labels(make)
        for make in (
            landscapes.OutwardSnake,
            quadratics.ProjectionQuadratic,
            quadratics.SumOfQuadratics,
        )
        for n in (20, 12, 56, 64, 13)
    },
    **{
        f"MatMul_{n}_{k}": lambda a, n=n, k=k: landscapes.MatMulAlgorithm(n, k)
        for n, k in ((2, 5), (2, 6), (2, 7), (2, 8), (3, 19), (3, 21), (3, 24))
    },
    "SoftmaxRegression_10_2": on_data(classifiers.SoftmaxRegression, num_classes=2),
    "SoftmaxRegression_10_3": on_data(classifiers.SoftmaxRegression, num_classes=3),
    "SparseSoftmaxRegression_5_2": on_data(
        classifiers.SparseSoftmaxRegression, num_features=5, num_classes=2
    ),
    "OneHotSparseSoftmaxRegression_5_2": on_data(
        classifiers.OneHotSparseSoftmaxRegression, num_features=5, num_classes=2
    ),
    **{
        f"FullyConnected_{n}_2_{'x'.join(map(str, hidden))}": on_data(
            classifiers.FullyConnected, num_classes=2, hidden_sizes=hidden
        )
        for n, hidden in ((8, (8, 5)), (12, (8, 5, 3)), (5, (4, 4, 4, 4)), (9, (8,)))
    },
    "FullyConnected_12_10_relu": on_data(
        classifiers.FullyConnected, num_classes=10, hidden_sizes=(7,), activation=tf.nn.relu
    ),
    "ConvNetOrig_1_8_8": on_data(
        conv_nets.ConvNetOrig, num_classes=10, filters=((3, 3, 4), (5, 5, 3))
    ),
    "ConvNet_mnist": on_data(conv_nets.ConvNet, num_classes=10, stride=1),
    "ConvNet_cifar": on_data(conv_nets.ConvNet, num_classes=10, stride=2),
}


@pytest.fixture(scope="module")
def goldens():
    cases: dict[str, dict[str, np.ndarray]] = {}
    for key, value in reference.arrays("golden/scale/problems.npz").items():
        name, rest = key.split("|", 1)
        cases.setdefault(name, {})[rest] = value
    cases.pop("dataset")
    return cases


def test_every_recorded_problem_is_checked(goldens):
    assert set(CASES) == set(goldens)


@pytest.mark.parametrize("name", CASES)
def test_objective_and_gradient_are_those_of_the_legacy_code(goldens, name):
    golden = goldens[name]
    problem = CASES[name](golden)
    indices = range(len(problem.param_shapes))
    params = [tf.constant(golden[f"params|{i}"]) for i in indices]
    assert [p.shape for p in params] == problem.param_shapes
    with tf.GradientTape() as tape:
        tape.watch(params)
        loss = problem.loss(params, problem.full_batch())
    grads = tape.gradient(loss, params)
    np.testing.assert_allclose(loss, golden["obj"], rtol=MAX_OBJECTIVE_ERROR)
    for i in indices:
        expected = golden[f"grad|{i}"]
        error = np.max(np.abs(grads[i] - expected)) / np.max(np.abs(expected))
        assert error <= MAX_GRADIENT_ERROR
