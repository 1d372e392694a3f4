"""Evolution strategies against exact gradients on quadratics, within their standard errors."""

import functools

import numpy as np
import pytest
import tensorflow as tf

from l2o_tf import rules
from l2o_tf.core import loops, seeds
from l2o_tf.optimizees import scaling
from l2o_tf.rules import base
from l2o_tf.training import epochs, estimators, evolution, meta_loss, unrolls
from l2o_tf.training.plan import Plan
from l2o_tf.training.replicas import Replicas
from l2o_tf.training.segment import Segment
from tests.training import problems

UNROLL_LENGTH, NUM_UNROLLS, NUM_SAMPLES = 5, 2, 4000


OPTIMIZEE = problems.Bowl()


def start_of(rule):
    params = OPTIMIZEE.init(None)
    return unrolls.Trajectory(params, rule.init(params))


def segment_of(rule, length=UNROLL_LENGTH):
    return Segment(rule, OPTIMIZEE, lambda t: (), length)


def losses_of_unrolls(rule, weights, truncated):
    """The sum of each unroll's losses, [NUM_UNROLLS], to be differentiated."""
    trajectory, sums = start_of(rule), []
    for _ in range(NUM_UNROLLS):
        ran = meta_loss.evaluate(segment_of(rule), trajectory, weights, second_derivatives=True)
        trajectory = ran.end
        sums.append(tf.reduce_sum(ran.losses))
        if truncated:
            trajectory = tf.nest.map_structure(tf.stop_gradient, trajectory)
    return tf.stack(sums)


def exact_gradient(rule, truncated):
    weights = rule.weights()
    with tf.GradientTape() as tape:
        tape.watch(weights)
        total = tf.reduce_sum(losses_of_unrolls(rule, weights, truncated))
    gradient = tape.gradient(total, weights)
    return np.concatenate([np.ravel(g) for g in gradient.values()])


def samples(rule, estimator):
    """Estimates of the sum of all unrolls' gradients, [NUM_SAMPLES, num_weights]."""
    weights = rule.weights()

    @tf.function(jit_compile=True)
    def estimate_all():
        def one(sample):
            seed = seeds.fold(seeds.make_seed(0, "test"), sample)
            carry, total = estimator.start(start_of(rule), weights), 0.0
            for k in range(NUM_UNROLLS):
                _, gradient, carry, *_ = estimator.step(
                    segment_of(rule), carry, weights, seeds.fold(seed, k)
                )
                total += tf.concat([tf.reshape(g, [-1]) for g in gradient.values()], axis=0)
            return total

        return tf.map_fn(one, tf.range(NUM_SAMPLES), fn_output_signature=tf.float32)

    return np.asarray(estimate_all(), np.float64)


def z_scores(estimates, expected):
    standard_error = estimates.std(axis=0, ddof=1) / np.sqrt(len(estimates))
    return (estimates.mean(axis=0) - expected) / standard_error


RULES = {
    "sgd": lambda: rules.from_spec("sgd:0.1"),
    "dm": lambda: rules.create("dm", seed=tf.constant([5, 6]), units=(2,), output_scale=0.1),
}


@pytest.mark.parametrize("name", ["sgd", pytest.param("dm", marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "estimator, truncated", [(evolution.TruncatedES, True), (evolution.PersistentES, False)]
)
def test_its_mean_is_the_exact_gradient(name, estimator, truncated):
    rule = RULES[name]()
    estimates = samples(rule, estimator(num_pairs=1, stddev=1e-3))
    z = z_scores(estimates, exact_gradient(rule, truncated))
    assert np.abs(z).max() <= (3 if len(z) == 1 else 4)
    # Standard errors that are far too large would let any estimate pass.
    assert len(z) == 1 or np.sqrt(np.mean(z**2)) > 0.5
    other = z_scores(estimates, exact_gradient(rule, not truncated))
    assert np.abs(other).max() > 6, "the other estimator's gradient is told apart"


@pytest.mark.parametrize("kind", [evolution.TruncatedES, evolution.PersistentES])
def test_unrolls_together_are_those_one_after_the_other(kind):
    rule = RULES["sgd"]()
    weights, results = rule.weights(), []
    for together in (False, True):
        estimator = kind(num_pairs=3, stddev=0.1, together=together)

        @loops.compiled
        def step(carry, seed, estimator=estimator):
            return tuple(estimator.step(segment_of(rule), carry, weights, seed)[:4])

        carry = estimator.start(start_of(rule), weights)
        first = step(carry, seeds.make_seed(0, "a"))
        results.append((first, step(first[2], seeds.make_seed(0, "b"))))
    compare = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-4)
    tf.nest.map_structure(compare, *results)
    assert max(np.abs(x).max() for x in results[0][1][1].values()) > 0.1


class Recorded(base.UpdateRule):
    """A meta-optimizer that leaves the weights as they are and sums up the meta-gradients."""

    def init_tensors(self, params, seed, weights):
        return [tf.zeros_like(p) for p in params]

    def update_tensors(self, grads, state, params, weights):
        return [tf.zeros_like(p) for p in params], [s + g for s, g in zip(state, grads)]


def epoch_gradients(trajectories, together, name):
    """Meta-gradients of epochs with seeds of their own, [number, num_weights]."""
    rule = RULES["dm"]()
    made = epochs.Epochs(
        rule,
        scaling.RandomScaling(OPTIMIZEE, 0.5),
        Recorded(),
        estimator=evolution.PersistentES(num_pairs=2, stddev=0.01, together=together),
        plan=Plan(UNROLL_LENGTH),
        replicas=Replicas(trajectories),
    )
    meta, seed = made.initial_state(rule.weights()), seeds.make_seed(0, name)

    @loops.compiled
    def run_all():
        def one(i):
            epoch = made.train(meta, seeds.fold(seed, i), tf.constant(NUM_UNROLLS))
            gradients = epoch.meta.meta_loss_optimizer
            return tf.concat([tf.reshape(g, [-1]) for g in gradients], axis=0)

        number = tf.range(NUM_SAMPLES // trajectories)
        return tf.map_fn(one, number, fn_output_signature=tf.float32)

    return np.asarray(run_all(), np.float64)


@pytest.fixture(scope="module")
def one_by_one():
    return epoch_gradients(1, False, "one by one")


@pytest.mark.slow
@pytest.mark.parametrize("trajectories, together", [(1, True), (4, False), (4, True)])
def test_batches_of_pairs_and_trajectories_estimate_the_same(one_by_one, trajectories, together):
    batched = epoch_gradients(trajectories, together, "batched")
    errors = [np.var(x, axis=0, ddof=1) / len(x) for x in (batched, one_by_one)]
    z = (batched.mean(axis=0) - one_by_one.mean(axis=0)) / np.sqrt(sum(errors))
    assert np.abs(z).max() < 4 and 0.5 < np.sqrt(np.mean(z**2)) < 1.5
    assert np.abs(one_by_one.mean(axis=0) / np.sqrt(errors[1])).max() > 10, "it is no mere noise"
    # Trajectories or pairs that shared their noise would have the same mean, but more variance.
    ratio = np.median(one_by_one.var(axis=0, ddof=1) / batched.var(axis=0, ddof=1))
    assert ratio == pytest.approx(trajectories, rel=0.2)


@pytest.mark.slow
def test_more_pairs_have_proportionally_less_variance():
    rule = RULES["sgd"]()
    variances = [
        samples(rule, evolution.PersistentES(num_pairs=n, stddev=1e-3)).var(ddof=1) for n in (1, 8)
    ]
    # The variance of a sample variance of a heavy-tailed square of a normal number, generously.
    assert variances[0] / variances[1] == pytest.approx(8, rel=0.3)


def test_perturbed_losses_are_those_of_the_weights_up_to_the_noise():
    rule = RULES["sgd"]()
    rest = (rule.weights(), seeds.make_seed(0, "test"))
    exact = estimators.Backprop()
    expected = exact.step(segment_of(rule), exact.start(start_of(rule), rule.weights()), *rest)
    for kind, tolerance in [(evolution.TruncatedES, 1e-6), (evolution.PersistentES, 1e-3)]:
        estimator = kind(num_pairs=2, stddev=1e-3)
        carry = estimator.start(start_of(rule), rule.weights())
        result = estimator.step(segment_of(rule), carry, *rest)
        np.testing.assert_allclose(result.losses, expected.losses, rtol=tolerance)


def test_an_unroll_as_long_as_the_trajectory_is_full_backpropagation():
    """x_t = (1 - r c)^t x_0, so that the derivative of sum_t c x_t^2 / 2 by r is known."""
    rate, length = 0.1, 20
    rule = rules.from_spec(f"sgd:{rate}")
    weights, seed = rule.weights(), seeds.make_seed(0, "test")
    estimator = estimators.Backprop(second_derivatives=True)
    carry = estimator.start(start_of(rule), weights)
    result = estimator.step(segment_of(rule, length), carry, weights, seed)
    c, x0 = problems.BOWL_CURVATURES, problems.BOWL_START
    t = np.arange(length + 1)[:, None]
    expected = np.sum(-(c**2) * x0**2 * t * (1 - rate * c) ** (2 * t - 1))
    np.testing.assert_allclose(result.gradient["learning_rate"], expected, rtol=1e-5)
