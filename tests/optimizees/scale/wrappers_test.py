import functools

import numpy as np
import pytest
import tensorflow as tf

from l2o_tf import rules
from l2o_tf.core import seeds
from l2o_tf.optimizees.scale import (
    classifiers,
    datasets,
    problem,
    quadratics,
    two_dimensional,
    wrappers,
)
from l2o_tf.training import epochs, estimators, meta_optimizers, objectives, plan

SEED = seeds.make_seed(5, "test")
W, Y = problem.gaussian_system(5, 3)
HESSIAN = W.T @ W
MASK = np.float32([[1], [0], [1], [0], [1]])
RUNS = [lambda f: f, tf.function, functools.partial(tf.function, jit_compile=True)]


def quadratic():
    return quadratics.Quadratic(W, Y)


def loss_and_gradients(problem_, params, batch):
    with tf.GradientTape() as tape:
        tape.watch(params)
        loss = problem_.loss(params, batch)
    return loss, tape.gradient(loss, params)


def hessian(problem_, batch, x):
    with tf.GradientTape(persistent=True) as outer:
        outer.watch(x)
        _, (gradient,) = loss_and_gradients(problem_, [x], batch)
        gradient = gradient[:, 0]
    return outer.jacobian(gradient, x, experimental_use_pfor=False)[:, :, 0]


@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize(
    "wrapper,perturbation,rows",
    [(wrappers.GradientNoise, 7 * MASK, 1), (wrappers.SparseProblem, MASK, MASK)],
)
def test_perturbation_keeps_the_loss_and_has_exact_second_derivatives(
    run, wrapper, perturbation, rows
):
    wrapped, inner = wrapper(quadratic(), 0.5), quadratic()
    x = inner.init(SEED)[0]
    batch = wrappers.PerturbedBatch((), [tf.constant(perturbation)])
    loss, (gradient,) = run(lambda x: loss_and_gradients(wrapped, [x], batch))(x)
    expected_loss, (expected,) = loss_and_gradients(inner, [x], ())
    np.testing.assert_allclose(loss, expected_loss, rtol=1e-6)
    if wrapper is wrappers.GradientNoise:
        expected = expected + perturbation
    else:
        expected = expected * perturbation
    np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-5)
    second = run(lambda x: hessian(wrapped, batch, x))(x)
    np.testing.assert_allclose(second, rows * HESSIAN, rtol=1e-5, atol=1e-5)


def softmax_regression(num_examples):
    data = W[np.arange(num_examples) % 5]
    labels = np.arange(num_examples, dtype=np.int32) % 2
    return classifiers.SoftmaxRegression(datasets.Examples(data, labels), 5, num_classes=2)


@pytest.mark.slow
@pytest.mark.parametrize(
    "inner",
    # Small constants are treated otherwise.
    [quadratics.Quadratic.random(40, 1), softmax_regression(1000)],
)
def test_large_problems_with_sparse_gradients_train_a_rule_with_second_derivatives(inner):
    """Where every coordinate is kept, the meta-gradients are those without noise."""
    rule, gradient_norms = rules.create("global_learning_rate", initial_rate=1e-3), []
    for trained_on in (wrappers.GradientNoise(inner, 0.0), wrappers.SparseProblem(inner, 0.0)):
        compiled = epochs.Epochs(
            rule,
            trained_on,
            meta_optimizers.create("adam", 1e-3),
            estimator=estimators.Backprop(second_derivatives=True),
            plan=plan.Plan(3, objectives.MeanOfLogs(), scoring_examples=1000),
        )
        result = compiled.train(compiled.initial_state(rule.weights()), SEED, tf.constant(2))
        gradient_norms.append(result.gradient_norms.numpy())
    assert np.min(gradient_norms[0]) > 0
    np.testing.assert_allclose(gradient_norms[1], gradient_norms[0], rtol=1e-5)


def test_sparse_gradients_can_be_differentiated_through_a_compiled_unroll():
    sparse = wrappers.SparseProblem(quadratic(), 0.5)
    masks = np.random.default_rng(0).integers(0, 2, [4, 5, 1]).astype(np.float32)
    start = quadratic().init(SEED)[0]

    @tf.function(jit_compile=True)
    def final_loss_and_slope(rate):
        def step(t, x):
            batch = wrappers.PerturbedBatch((), [tf.constant(masks)[t]])
            _, (gradient,) = loss_and_gradients(sparse, [x], batch)
            return t + 1, x - rate * gradient

        with tf.GradientTape() as tape:
            tape.watch(rate)
            _, x = tf.while_loop(lambda t, x: t < 4, step, (0, start), maximum_iterations=4)
            loss = quadratic().loss([x], ())
        return loss, tape.gradient(loss, rate)

    # x_{t+1} = x_t - rate m_t g(x_t), and its derivative by the rate, in NumPy.
    rate, x, dx = 0.05, start.numpy().astype(np.float64), np.zeros([5, 1])
    for mask in masks:
        gradient = W.T @ (W @ x - Y)
        x, dx = x - rate * mask * gradient, dx - mask * (gradient + rate * HESSIAN @ dx)
    residual = W @ x - Y
    loss, slope = final_loss_and_slope(tf.constant(rate))
    np.testing.assert_allclose(loss, 0.5 * np.sum(residual**2), rtol=1e-5)
    np.testing.assert_allclose(slope, np.sum(residual * (W @ dx)), rtol=1e-4)


def test_noise_has_the_given_deviation_and_is_new_at_every_step():
    shapes = [(50, 40), (2000,)]
    noisy = wrappers.GradientNoise(quadratics.IsotropicQuadratic(shapes), 0.3)
    first, second = noisy.batch(SEED, 0).perturbations
    assert [first.shape, second.shape] == shapes
    np.testing.assert_allclose([np.std(first), np.std(second)], 0.3, rtol=0.05)
    np.testing.assert_allclose([np.mean(first), np.mean(second)], 0, atol=0.03)
    for other in (second, noisy.batch(SEED, 1).perturbations[0]):
        correlation = np.corrcoef(np.ravel(first), np.ravel(other))[0, 1]
        np.testing.assert_allclose(correlation, 0, atol=0.1)
    np.testing.assert_array_equal(first, noisy.batch(SEED, 0).perturbations[0])


@pytest.mark.parametrize("probability", [0.0, 0.3, 0.99, 1.0])
def test_gradients_are_zeroed_with_the_given_probability(probability):
    sparse = wrappers.SparseProblem(quadratics.IsotropicQuadratic([(20000,)]), probability)
    (mask,) = sparse.batch(SEED, 0).perturbations
    assert set(np.unique(mask)) <= {0.0, 1.0}
    np.testing.assert_allclose(np.mean(mask == 0), probability, atol=0.015)


@pytest.mark.parametrize("wrapper", [wrappers.GradientNoise, wrappers.SparseProblem])
def test_the_full_batch_is_not_perturbed(wrapper):
    inner = quadratics.ProjectionQuadratic(datasets.random_symmetric(4, 10), 3)
    params = inner.init(SEED)
    wrapped = wrapper(inner, 0.9)
    loss, (gradient,) = loss_and_gradients(wrapped, params, wrapped.full_batch())
    expected_loss, (expected,) = loss_and_gradients(inner, params, inner.full_batch())
    np.testing.assert_array_equal(loss, expected_loss)
    np.testing.assert_array_equal(gradient, expected)


def test_rescaling_moves_the_start_and_keeps_its_loss():
    inner, rescaled = quadratic(), wrappers.Rescale(quadratic(), 50.0)
    loss, (gradient,) = loss_and_gradients(rescaled, rescaled.init(SEED), ())
    expected_loss, (expected,) = loss_and_gradients(inner, inner.init(SEED), ())
    np.testing.assert_allclose(loss, expected_loss, rtol=1e-5)
    np.testing.assert_allclose(gradient, expected / 50, rtol=1e-4)


def test_log_objective_is_zero_where_the_loss_is_zero():
    log = wrappers.LogObjective(two_dimensional.Booth())
    np.testing.assert_allclose(log.loss([tf.constant([1.0, 3.0])], ()), 0, atol=1e-6)
    point = [tf.constant([0.0, 0.0], tf.float64)]
    np.testing.assert_allclose(log.loss(point, ()), np.log(74 / 1e-6), rtol=1e-7)


def test_a_sum_gives_each_part_its_parameters_and_its_batch():
    data = quadratics.ProjectionQuadratic(datasets.random_symmetric(4, 10), 3)
    parts = [wrappers.GradientNoise(two_dimensional.Booth(), 2.0), data, quadratic()]
    total = wrappers.SumTask(parts)
    assert total.param_shapes == [(2,), (1, 4), (5, 1)]
    params, batch = total.init(SEED), total.batch(SEED, 3)
    loss, grads = loss_and_gradients(total, params, batch)
    losses = []
    for part, p, b, g in zip(parts, params, batch, grads):
        part_loss, (part_gradient,) = loss_and_gradients(part, [p], b)
        losses.append(part_loss)
        np.testing.assert_allclose(g, part_gradient, rtol=1e-6)
    np.testing.assert_allclose(loss, sum(losses), rtol=1e-6)
    noise = batch[0].perturbations[0]
    np.testing.assert_allclose(grads[0] - noise, _booth_gradient(*params[0].numpy()), rtol=1e-4)


def test_equal_parts_of_a_sum_start_at_different_points():
    first, second = wrappers.SumTask([quadratic(), quadratic()]).init(SEED)
    assert np.all(first != second)


def _booth_gradient(x, y):
    first, second = x + 2 * y - 7, 2 * x + y - 5
    return [2 * first + 4 * second, 4 * first + 2 * second]
