"""The meta-gradient against finite differences and against plain automatic differentiation."""

import numpy as np
import pytest
import tensorflow as tf

from l2o_tf import rules
from l2o_tf.core import seeds
from l2o_tf.training import meta_loss, unrolls
from l2o_tf.training.segment import Segment
from tests.training import problems

UNROLL_LENGTH = 6


@pytest.fixture(params=[("dm", (4, 3)), ("rnnprop", (3,))], ids=["dm", "rnnprop"])
def case(request):
    optimizee = problems.SmallQuadratic()
    name, units = request.param
    rule = rules.create(name, seed=tf.constant([5, 6]), units=units, output_scale=0.1)
    params = optimizee.init(None)
    return rule, optimizee, unrolls.Trajectory(params, rule.init(params))


def meta_gradient(case, weights, second_derivatives):
    rule, optimizee, start = case
    segment = Segment(rule, optimizee, lambda t: optimizee.batch(None, t), UNROLL_LENGTH)
    return meta_loss.meta_gradient(segment, start, weights, second_derivatives)


def losses_step_by_step(case, weights, stop):
    rule, optimizee, (params, state) = case
    losses = []
    for t in range(UNROLL_LENGTH):
        loss, grads = unrolls.loss_and_gradients(optimizee, params, optimizee.batch(None, t))
        losses.append(loss)
        grads = [tf.stop_gradient(g) if stop else g for g in grads]
        updates, state = rule.update(grads, state, params, weights)
        params = [p + u for p, u in zip(params, updates)]
    losses.append(optimizee.loss(params, optimizee.batch(None, UNROLL_LENGTH)))
    return tf.stack(losses)


@pytest.mark.parametrize("second_derivatives", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_it_equals_plain_automatic_differentiation(case, second_derivatives):
    weights = problems.cast(case[0].weights())
    with tf.GradientTape() as tape:
        tape.watch(weights)
        losses = losses_step_by_step(case, weights, stop=not second_derivatives)
        total = tf.reduce_sum(losses)
    expected = tape.gradient(total, weights)
    result = tf.function(lambda w: meta_gradient(case, w, second_derivatives))(weights)
    np.testing.assert_allclose(result.losses, losses, rtol=1e-12)
    for name, gradient in expected.items():
        scale = np.abs(gradient).max()
        np.testing.assert_allclose(result.gradient[name], gradient, rtol=1e-9, atol=1e-11 * scale)


@pytest.mark.slow
def test_second_derivatives_agree_with_finite_differences(case):
    weights = problems.cast(case[0].weights())
    compiled = tf.function(lambda w: meta_gradient(case, w, True))
    gradient = compiled(weights).gradient
    first_order = meta_gradient(case, weights, False).gradient
    epsilon = 1e-5
    rng = np.random.default_rng(0)
    for name, value in weights.items():
        direction = tf.constant(rng.normal(size=value.shape))
        objective = [
            float(tf.reduce_sum(compiled({**weights, name: value + s * direction}).losses))
            for s in (epsilon, -epsilon)
        ]
        expected = (objective[0] - objective[1]) / (2 * epsilon)
        np.testing.assert_allclose(
            tf.reduce_sum(gradient[name] * direction), expected, rtol=1e-5, atol=1e-7
        )
    # The gradient without second derivatives is another one, so that this test can fail.
    assert any(not np.allclose(gradient[name], first_order[name], rtol=1e-3) for name in weights)


@pytest.mark.slow
@pytest.mark.parametrize("second_derivatives", [False, True])
def test_graph_and_xla_agree(case, second_derivatives):
    weights = problems.cast(case[0].weights())
    results = [
        tf.function(lambda w: meta_gradient(case, w, second_derivatives), jit_compile=jit)(weights)
        for jit in (False, True)
    ]
    for a, b in zip(tf.nest.flatten(results[0]), tf.nest.flatten(results[1])):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


def test_an_unroll_keeps_what_it_is_asked_for(case):
    rule, optimizee, start = case
    weights = problems.cast(rule.weights())

    def run(watch):
        batches = lambda t: optimizee.batch(None, t)
        return unrolls.unroll(rule, optimizee, start, batches, 3, weights, watch)

    bare, full = run(unrolls.Watch()), run(unrolls.Watch(gradients=True, updates=True))
    assert (bare.gradients, bare.updates, bare.scores) == ((), (), ())
    np.testing.assert_array_equal(bare.losses, full.losses)
    for first, last, update in zip(start.params, full.end.params, full.updates):
        np.testing.assert_allclose(first + tf.reduce_sum(update, axis=0), last, rtol=1e-14)
    _, expected = unrolls.loss_and_gradients(optimizee, start.params, optimizee.batch(None, 0))
    for recorded, gradient in zip(full.gradients, expected):
        np.testing.assert_allclose(recorded[0], gradient, rtol=1e-14)


def test_a_trajectory_starts_from_its_seed():
    optimizee, rule = problems.SmallQuadratic(), rules.create("dm")
    params, state = unrolls.start(optimizee, rule, seeds.make_seed(0, "test"))
    np.testing.assert_array_equal(params[0], optimizee.init(None)[0])
    assert state[0].hidden.shape == (20, 4)
