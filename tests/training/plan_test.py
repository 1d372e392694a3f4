"""Unrolls with all the parts of L2O-Scale at once, and epochs of random lengths."""

import numpy as np
import pytest
import tensorflow as tf

from l2o_tf import rules
from l2o_tf.core import seeds
from l2o_tf.optimizees.scale import classifiers, datasets, quadratics
from l2o_tf.rules import hierarchical_rnn, mixture
from l2o_tf.training import (
    epochs,
    estimators,
    evolution,
    meta_loss,
    meta_optimizers,
    objectives,
    plan,
    regularizers,
    unrolls,
)
from l2o_tf.training.lengths import LogUniformSteps, RandomLength, RandomLengths
from l2o_tf.training.segment import Segment
from tests.training import problems

SEED = seeds.make_seed(0, "test")
SMALL = {"level_sizes": (3, 2, 2), "num_gradient_scales": 2, "init_lr_range": (0.1, 0.1)}
LENGTH = 5


@pytest.fixture(scope="module")
def everything():
    """An unroll of 4 of 5 steps with attention, a learned start, a penalty and an early stop."""
    rule = hierarchical_rnn.HierarchicalRNN(use_attention=True, **SMALL)
    optimizee = problems.SmallQuadratic()
    params = optimizee.init(None)
    weights = problems.cast(rule.weights())
    start = unrolls.Trajectory(params, rule.init(params, SEED, weights))
    batches = lambda t: optimizee.batch(None, t)
    segment = Segment(
        rule,
        optimizee,
        batches,
        LENGTH,
        objectives.MeanOfLogs(early_stop=100.0),
        initial_loss=optimizee.loss(params, batches(0)),
        scoring_batch=batches(9),
        num_steps=tf.constant(4),
        penalty=lambda points, t: (
            0.1 * regularizers.mean_square_gradient(lambda p: optimizee.loss(p, batches(t)), points)
        ),
        first_state=plan.first_state(rule, params, SEED, tf.constant(0)),
    )
    return segment, start, weights


@pytest.mark.slow
def test_the_meta_gradient_agrees_with_finite_differences(everything):
    segment, start, weights = everything
    gradient = tf.function(
        lambda w: meta_loss.meta_gradient(segment, start, w, True), jit_compile=True
    )(weights)
    value = tf.function(lambda w: meta_loss.evaluate(segment, start, w, True).objective)
    assert int(gradient.taken) == 4
    np.testing.assert_allclose(gradient.objective, value(weights), rtol=1e-10)
    epsilon, rng, checked = 1e-5, np.random.default_rng(0), 0
    for name, weight in weights.items():
        direction = tf.constant(rng.normal(size=weight.shape))
        above, below = (
            value({**weights, name: weight + s * direction}) for s in (epsilon, -epsilon)
        )
        slope = tf.reduce_sum(gradient.gradient[name] * direction)
        expected = float(above - below) / (2 * epsilon)
        np.testing.assert_allclose(slope, expected, rtol=1e-4, atol=2e-8, err_msg=name)
        checked += abs(expected) > 1e-6
    assert checked > 20 and np.any(gradient.gradient["level0/init"])


def test_the_start_is_learned_in_the_first_unroll_only():
    rule = hierarchical_rnn.HierarchicalRNN(**SMALL)
    params = [tf.zeros([3])]
    weights = rule.weights()
    carried = tf.nest.map_structure(lambda x: x + 1, rule.init(params, SEED))
    for unroll in (0, 1):
        state = plan.first_state(rule, params, SEED, tf.constant(unroll))(weights, carried)
        expected = carried if unroll else rule.init(params, SEED, weights)
        for actual, value in zip(tf.nest.flatten(state), tf.nest.flatten(expected)):
            np.testing.assert_array_equal(actual, value)
    assert plan.first_state(rules.create("dm"), params, SEED, tf.constant(0)) is None


def test_a_mixture_starts_from_the_share_of_its_epoch():
    mixed = mixture.PerStep(hierarchical_rnn.HierarchicalRNN(**SMALL), [rules.from_spec("sgd:0.1")])
    assert mixed.learned_start and mixed.share is None
    shared = mixed.with_share(tf.constant(0.25))
    params = [tf.zeros([3])]
    assert float(shared.init(params, SEED).share) == 0.25
    assert float(mixed.init(params, SEED).share) == 0.5


def test_a_random_epoch_takes_the_steps_that_are_drawn():
    lengths = RandomLengths(RandomLength(2, 2.0, 6), RandomLength(2, 3.0, 7))
    parts = plan.Plan(4, objectives.MeanOfLosses(), lengths=lengths)
    rule = rules.create("global_learning_rate", initial_rate=0.01)
    bowl = quadratics.Bowl(2.0)
    rate = 1e-30  # Too small for the weights to change.
    adam = meta_optimizers.create("adam", rate)
    compiled = epochs.Epochs(rule, bowl, adam, plan=parts, with_xla=False)
    result = compiled.train(compiled.initial_state(rule.weights()), SEED, tf.constant(1))
    length_seed = seeds.fold(SEED, 8)
    steps = [int(lengths.num_steps(length_seed, k)) for k in range(len(result.losses))]
    assert len(steps) == int(lengths.num_unrolls(length_seed)) and len(set(steps)) > 1
    np.testing.assert_array_equal(result.num_steps, steps)
    # The same trajectory without a break.
    start = unrolls.start(bowl, rule, SEED)
    whole = unrolls.unroll(rule, bowl, start, lambda t: (), sum(steps)).losses.numpy()
    cuts = np.split(whole, np.cumsum(steps)[:-1])
    expected = [cut.mean() / (whole[0] + 1e-6) for cut in cuts]
    np.testing.assert_allclose(result.losses, expected, rtol=1e-5)


@pytest.mark.parametrize("estimator", [estimators.Backprop(), evolution.PersistentES(2, 1e-3)])
def test_an_epoch_has_a_log_uniform_number_of_steps(estimator):
    drawn = LogUniformSteps(6, 60)
    rule = rules.create("global_learning_rate", initial_rate=0.01)
    compiled = epochs.Epochs(
        rule,
        quadratics.Bowl(2.0),
        meta_optimizers.create("adam", 1e-30),
        estimator=estimator,
        plan=plan.Plan(3, log_uniform=drawn),
        with_xla=False,
    )
    meta, counts = compiled.initial_state(rule.weights()), []
    for epoch in range(4):
        seed = seeds.fold(SEED, epoch)
        result = compiled.train(meta, seed, tf.constant(1))
        counts.append(len(result.losses))
        np.testing.assert_array_equal(result.num_steps, [3] * counts[-1])
        assert counts[-1] == int(drawn.num_unrolls(seeds.fold(seed, 8), 3))
    assert len(set(counts)) > 1


def test_a_kept_state_goes_on_from_epoch_to_epoch():
    rule, bowl = rules.create("learning_rate_schedule", num_steps=20), quadratics.Bowl(2.0)
    adam = meta_optimizers.create("adam", 1e-30)
    for keep in (False, True):
        compiled = epochs.Epochs(
            rule,
            bowl,
            adam,
            plan=plan.Plan(3, objectives.MeanOfLosses(), keep_state=keep),
            with_xla=False,
        )
        meta = compiled.initial_state(rule.weights())
        for epoch in (1, 2):
            meta = compiled.train(meta, seeds.fold(SEED, epoch), tf.constant(2)).meta
            # The state of this rule is the number of its steps.
            kept = int(meta.rule_state) if keep else meta.rule_state
            assert kept == (6 * epoch if keep else ())


def test_points_are_scored_on_examples_drawn_for_each_unroll():
    rng = np.random.default_rng(0)
    examples = datasets.Examples(
        rng.normal(size=(40, 3)).astype(np.float32), rng.integers(0, 2, 40).astype(np.int32)
    )
    problem = classifiers.SoftmaxRegression(examples, 4, num_classes=2)
    rule = rules.create("global_learning_rate")
    arguments = rule, problem, SEED

    def batch(count, k):
        segment = plan.Plan(scoring_examples=count).segment(
            *arguments, tf.constant(k), tf.constant(2), tf.constant(1.0)
        )
        return segment.scoring_batch

    assert batch(0, 0) is None
    np.testing.assert_array_equal(batch(40, 0).data, problem.full_batch().data)
    assert batch(30, 0).data.shape == (30, 3)
    assert not np.array_equal(batch(30, 0).data, batch(30, 1).data)


@pytest.mark.parametrize(
    "time, weights",
    [
        ("always", [2, 2, 2, 2, 2, 2]),
        ("prior", [2, 2, 2, 0, 0, 0]),
        ("posterior", [0, 0, 0, 0, 2, 2]),
    ],
)
def test_a_penalty_applies_before_or_after_a_part_of_the_unrolls(time, weights):
    """int(5 * 0.5 + 1) = 3."""
    regularizer = regularizers.Regularizer("jacob", 2.0, time=time)
    actual = [float(regularizer.weight_in(tf.constant(k), tf.constant(5))) for k in range(6)]
    assert actual == weights


@pytest.mark.parametrize("num_iterations", [2, 10])
def test_lanczos_makes_no_more_directions_than_there_are(num_iterations):
    """Rosenbrock's trace in two dimensions: 1200 x^2 - 400 y + 2 + 200."""
    params = [tf.constant([-0.7, 1.3])]

    def loss(points):
        x, y = tf.unstack(points[0])
        return (1 - x) ** 2 + 100 * (y - x**2) ** 2

    first = [tf.constant([1.0, -1.0])]
    trace = regularizers.lanczos_trace(loss, params, first, num_iterations)
    expected = 1200 * 0.49 - 400 * 1.3 + 202
    np.testing.assert_allclose(trace, expected, rtol=1e-4)


@pytest.mark.slow
def test_training_lowers_the_objective_of_the_hierarchical_rnn():
    rule = hierarchical_rnn.HierarchicalRNN(SEED, init_lr_range=(1e-3, 1e-1))
    compiled = epochs.Epochs(
        rule,
        quadratics.Quadratic.random(5, 1),
        meta_optimizers.create("adam", 1e-2),
        plan=plan.Plan(10, objectives.MeanOfLogs()),
    )
    meta, reported = compiled.initial_state(rule.weights()), []
    for epoch in range(120):
        result = compiled.train(meta, seeds.fold(SEED, epoch), tf.constant(2))
        meta = result.meta
        reported.append(result.losses.numpy().mean())
    assert np.mean(reported[-20:]) < np.mean(reported[:20]) - 0.3
