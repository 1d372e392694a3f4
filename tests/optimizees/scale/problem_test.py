"""Starts and batches, and the gradients of every kind of problem."""

import functools

import numpy as np
import pytest
import tensorflow as tf

from l2o_tf.core import errors, seeds
from l2o_tf.optimizees.scale import (
    classifiers,
    conv_nets,
    datasets,
    landscapes,
    problem,
    quadratics,
    two_dimensional,
    wrappers,
)

VECTORS = datasets.random_mlp(5, 30, seed=1)
IMAGES = datasets.Examples(
    np.random.default_rng(0).integers(0, 256, [6, 16, 16, 1], np.uint8),
    np.arange(6, dtype=np.int32),
    1 / 255,
)
SEED = seeds.make_seed(3, "test")

KINDS = {
    "quadratic": lambda: quadratics.Quadratic.random(6, 0),
    "norm": lambda: quadratics.Norm.random(6, 2.5, 0),
    "bowl": lambda: quadratics.Bowl(5.0, 0.3),
    "isotropic": lambda: quadratics.IsotropicQuadratic([(2, 3), (4,)]),
    "projection": lambda: quadratics.ProjectionQuadratic(VECTORS, 7),
    "sum_of_quadratics": lambda: quadratics.SumOfQuadratics(VECTORS, 7),
    "rosenbrock": two_dimensional.Rosenbrock,
    "ackley": two_dimensional.Ackley,
    "michalewicz": two_dimensional.Michalewicz,
    "chain": lambda: landscapes.DependencyChain(6),
    "well": lambda: landscapes.MinMaxWell(6),
    "snake": lambda: landscapes.OutwardSnake(datasets.random_binary(6, 30), 7),
    "matmul": lambda: landscapes.MatMulAlgorithm(2, 7),
    "softmax": lambda: classifiers.SoftmaxRegression(VECTORS, 7, 3),
    "sparse_softmax": lambda: classifiers.SparseSoftmaxRegression(
        datasets.noisy_parity_class(30), 7, 4, 2
    ),
    "one_hot": lambda: classifiers.OneHotSparseSoftmaxRegression(
        datasets.noisy_parity_class(30), 7, 4, 2
    ),
    "perceptron": lambda: classifiers.FullyConnected(VECTORS, 7, 2, (4, 3), initial_stddev=1.0),
    "conv_orig": lambda: conv_nets.ConvNetOrig(IMAGES, 4, 6, [(3, 3, 2)], tf.sigmoid),
    "conv": lambda: conv_nets.ConvNet(IMAGES, 4, 6, stride=1, relu_logits=False),
    "rescale": lambda: wrappers.Rescale(quadratics.Quadratic.random(6, 0), 8.0),
    "log": lambda: wrappers.LogObjective(quadratics.Quadratic.random(6, 0)),
    "sum": lambda: wrappers.SumTask([two_dimensional.Booth(), quadratics.Norm.random(3, 3.0, 0)]),
}


def loss_and_gradients(problem_, params, batch):
    with tf.GradientTape() as tape:
        tape.watch(params)
        loss = problem_.loss(params, batch)
    return loss, tape.gradient(loss, params, unconnected_gradients="zero")


@pytest.mark.parametrize("kind", KINDS)
def test_gradient_is_the_limit_of_differences(kind):
    problem_ = KINDS[kind]()
    params = [tf.cast(p, tf.float64) for p in problem_.init(SEED)]
    batch = problem_.batch(SEED, 0)
    _, grads = loss_and_gradients(problem_, params, batch)
    rng = np.random.default_rng(1)
    steps = [1e-6 * rng.standard_normal(p.shape) for p in params]
    above = problem_.loss([p + s for p, s in zip(params, steps)], batch)
    below = problem_.loss([p - s for p, s in zip(params, steps)], batch)
    slope = sum(np.sum(g * s) for g, s in zip(grads, steps))
    np.testing.assert_allclose((above - below) / 2, slope, rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_compiled_is_eager(kind):
    problem_ = KINDS[kind]()
    params, batch = problem_.init(SEED), problem_.batch(SEED, 5)
    run = functools.partial(loss_and_gradients, problem_)
    loss, grads = run(params, batch)
    compiled_loss, compiled_grads = tf.function(run, jit_compile=True)(params, batch)
    assert loss.shape == []
    np.testing.assert_allclose(loss, compiled_loss, rtol=1e-5)
    for ours, compiled, shape in zip(grads, compiled_grads, problem_.param_shapes):
        assert ours.shape == compiled.shape == shape
        scale = np.max(np.abs(ours))
        np.testing.assert_allclose(ours, compiled, rtol=1e-4, atol=1e-4 * scale)


def test_batches_are_gathered_alike_inside_a_compiled_loop():
    problem_ = problem.DataProblem([(1,)], datasets.random_symmetric(3, 100), 20)
    compiled = tf.function(problem_.batch, jit_compile=True)(SEED, tf.constant(5))
    np.testing.assert_array_equal(compiled.data, problem_.batch(SEED, 5).data)


def test_starts_are_standard_normal_and_independent():
    first, second = quadratics.IsotropicQuadratic([(4000,), (4000,)]).init(SEED)
    np.testing.assert_allclose([np.mean(first), np.std(first)], [0, 1], atol=0.05)
    np.testing.assert_allclose(np.corrcoef(first, second)[0, 1], 0, atol=0.05)


@pytest.mark.parametrize("stddev", [0.01, 1.0])
def test_perceptrons_start_with_the_given_deviation(stddev):
    examples = datasets.random_mlp(50, 4)
    perceptron = classifiers.FullyConnected(examples, 2, 2, (200,), initial_stddev=stddev)
    np.testing.assert_allclose(np.std(perceptron.init(SEED)[0]), stddev, rtol=0.03)


def test_softmax_weights_start_with_the_deviation_of_their_fan_in():
    start = classifiers.SoftmaxRegression(datasets.random_mlp(4000, 4), 2, 2).init(SEED)[0]
    np.testing.assert_allclose(np.std(start), 1.2 / 4000**0.5, rtol=0.05)


def test_batches_are_uniform_draws_with_replacement():
    examples = datasets.Examples(np.arange(10, dtype=np.float32)[:, None], np.arange(10))
    problem_ = problem.DataProblem([(1,)], examples, 7)
    batch = problem_.sample(SEED, 10000)
    np.testing.assert_array_equal(batch.data[:, 0], batch.labels)
    # Five standard deviations of a count.
    np.testing.assert_allclose(np.bincount(batch.labels), 1000, atol=150)
    assert problem_.batch(SEED, 0).data.shape == (7, 1)


def test_batches_belong_to_seed_and_step():
    problem_ = problem.DataProblem([(1,)], datasets.random_binary(3, 1000), 50)
    first = problem_.batch(SEED, 4).data
    np.testing.assert_array_equal(first, problem_.batch(SEED, tf.constant(4)).data)
    assert np.any(first != problem_.batch(SEED, 5).data)
    assert np.any(first != problem_.batch(seeds.make_seed(4, "test"), 4).data)


def test_images_are_scaled_once():
    problem_ = problem.DataProblem([(1,)], IMAGES, 2)
    expected = IMAGES.data.astype(np.float32) * np.float32(1 / 255)
    np.testing.assert_array_equal(problem_.full_batch().data, expected)
    np.testing.assert_array_equal(problem_.gather([4, 1]).data, expected[[4, 1]])
    np.testing.assert_array_equal(problem_.gather([4, 1]).labels, [4, 1])


def test_the_same_seed_gives_the_system_of_the_legacy_code():
    rng = np.random.RandomState(20)
    w, y = problem.gaussian_system(20, 20)
    np.testing.assert_array_equal(w, rng.randn(20, 20).astype(np.float32))
    np.testing.assert_array_equal(y, rng.randn(20, 1).astype(np.float32))


def test_quadratic_is_half_the_squared_residual_and_zero_at_its_solution():
    w, y = problem.gaussian_system(4, 0)
    x = np.linalg.solve(w.astype(np.float64), y)
    quadratic = quadratics.Quadratic(w, y)
    np.testing.assert_allclose(quadratic.loss([tf.constant(x)], ()), 0, atol=1e-24)
    other = np.arange(4.0)[:, None]
    expected = 0.5 * np.sum((w @ other - y) ** 2)
    np.testing.assert_allclose(quadratic.loss([tf.constant(other)], ()), expected, rtol=1e-12)


def test_well_has_its_minimum_where_all_magnitudes_are_one():
    well = landscapes.MinMaxWell(4)
    signs = tf.constant([1.0, -1.0, 1.0, -1.0], tf.float64)
    np.testing.assert_allclose(well.loss([signs], ()), 1e-12, rtol=1e-3)
    assert well.loss([1.1 * signs], ()) > 0.03


def test_sum_of_quadratics_keeps_its_digits_near_the_minimum():
    examples = datasets.random_symmetric(20, 1000, seed=2)
    problem_ = quadratics.SumOfQuadratics(examples, 10)
    x = tf.fill([1, 20], 1e-2)
    # All data together: 1000 ||x||^2.
    np.testing.assert_allclose(problem_.loss([x], problem_.full_batch()), 2.0, rtol=1e-4)


def test_naive_and_strassen_multiplication_are_found_exact():
    naive = landscapes.MatMulAlgorithm(2, 8)
    pairs = [(i, j, k) for i in range(2) for j in range(2) for k in range(2)]
    a, b = np.zeros([4, 8]), np.zeros([4, 8])
    for column, (i, j, k) in enumerate(pairs):
        a[2 * i + j, column] = b[2 * j + k, column] = 1
    np.testing.assert_allclose(naive.loss([tf.constant(a), tf.constant(b)], ()), 0, atol=1e-20)
    # Strassen 1969: rows are the entries 11, 12, 21, 22.
    a = [[1, 0, 1, 0, 1, -1, 0], [0, 0, 0, 0, 1, 0, 1], [0, 1, 0, 0, 0, 1, 0]]
    a += [[1, 1, 0, 1, 0, 0, -1]]
    b = [[1, 1, 0, -1, 0, 1, 0], [0, 0, 1, 0, 0, 1, 0], [0, 0, 0, 1, 0, 0, 1]]
    b += [[1, 0, -1, 0, 1, 0, 1]]
    strassen = [tf.constant(a, tf.float64), tf.constant(b, tf.float64)]
    loss = landscapes.MatMulAlgorithm(2, 7).loss(strassen, ())
    np.testing.assert_allclose(loss, 0, atol=1e-20)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e15])
def test_a_diverged_multiplication_has_an_infinite_loss(value):
    params = [tf.fill([4, 7], tf.constant(value, tf.float32))] * 2
    assert landscapes.MatMulAlgorithm(2, 7).loss(params, ()) == np.inf


def test_two_classes_train_the_first_logit_only():
    problem_ = classifiers.SoftmaxRegression(VECTORS, 7, 2)
    _, (w, b) = loss_and_gradients(problem_, problem_.init(SEED), problem_.full_batch())
    assert np.all(w[:, 1] == 0) and b[1] == 0
    assert np.all(w[:, 0] != 0) and b[0] != 0


def test_rectified_logits_are_never_negative():
    rectified = conv_nets.ConvNet(IMAGES, 4, 6, stride=1)
    plain = conv_nets.ConvNet(IMAGES, 4, 6, stride=1, relu_logits=False)
    params = plain.init(SEED)
    logits = plain.logits(params, plain.full_batch().data)
    assert np.min(logits) < 0
    np.testing.assert_array_equal(
        rectified.logits(params, rectified.full_batch().data), np.maximum(logits, 0)
    )


@pytest.mark.parametrize(
    "make,message",
    [
        (lambda: quadratics.Quadratic(np.zeros([2, 3]), np.zeros([3, 1])), "must be"),
        (lambda: quadratics.Bowl(0.0), "must be positive"),
        (lambda: landscapes.MatMulAlgorithm(2, 9), "k = 9"),
        (lambda: problem.DataProblem([(1,)], VECTORS, 0), "batch_size must be at least 1"),
        (lambda: problem.DataProblem([(1,)], VECTORS._replace(labels=np.zeros(3)), 5), "labels"),
        (lambda: classifiers.SoftmaxRegression(IMAGES, 2, 3), "labels go from 0 to 5"),
        (lambda: wrappers.Rescale(quadratics.Bowl(1.0), 0), "rescaled by 0"),
        (lambda: wrappers.SparseProblem(quadratics.Bowl(1.0), 1.5), "zero_probability"),
    ],
)
def test_bad_input_is_named(make, message):
    with pytest.raises(errors.InputError, match=message):
        make()
