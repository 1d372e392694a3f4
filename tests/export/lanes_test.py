"""Lanes do what single runs do, to rounding."""

import numpy as np
import pytest
import tensorflow as tf

from l2o_tf import optimizees, rules
from l2o_tf.core import errors, loops, seeds
from l2o_tf.data import datasets
from l2o_tf.export import carried, classifiers, lanes
from l2o_tf.optimizees import conv, scaling
from l2o_tf.rules import mixture
from l2o_tf.training import epochs, meta_optimizers
from l2o_tf.training.plan import Plan

DIGITS = datasets.load("digits")
MLP = optimizees.create("mlp", DIGITS, batch_size=16)
CONVOLUTIONS = conv.ConvNet(DIGITS, (8, 8, 1), (3,), (3,), batch_size=16, bias_stddev=0.01)
IMAGES = carried.Images(tf.constant(DIGITS.images), tf.constant(DIGITS.labels))
SCALE = tf.constant(np.float32(DIGITS.scale))
NUM_LANES, LENGTH, NUM_UNROLLS = 3, 4, 3
IMITATES = tf.constant([False, True, False])
# The last lane stands still in the last unroll.
ACTIVE = tf.constant([[True] * 3] * 2 + [[True, True, False]])
EPOCH_SEEDS = tf.stack([seeds.fold(seeds.make_seed(s, "epoch"), 3) for s in range(NUM_LANES)])


def make(rule_name, scaling_bound=0.0, optimizee=MLP, rule_options=None, **options):
    rule_options = rule_options or {}
    learned = [
        rules.create_learned(rule_name, seeds.make_seed(s, "rule"), units=(5, 4), **rule_options)
        for s in range(NUM_LANES)
    ]
    teachers = mixture.OneOf([rules.from_spec(s) for s in ("adam:0.01", "sgd:0.1", "adagrad:0.01")])
    adam = meta_optimizers.create("adam", 1e-2)
    scaled = scaling.RandomScaling(optimizee, scaling_bound) if scaling_bound else optimizee
    single = epochs.Epochs(learned[0], scaled, adam, teachers, plan=Plan(LENGTH))
    programs = lanes.Programs(
        learned[0],
        optimizee,
        adam,
        teachers,
        NUM_LANES,
        LENGTH,
        scaling_bound=scaling_bound,
        **options,
    )
    return [rule.weights() for rule in learned], single, programs


def stack(weights):
    return {name: tf.stack([w[name] for w in weights]) for name in weights[0]}


def run(programs, weights):
    lanes_now = programs.initial_lanes(stack(weights))
    train = loops.compiled(programs.train)
    for k in range(NUM_UNROLLS):
        control = carried.Control(
            EPOCH_SEEDS,
            tf.fill([NUM_LANES], k),
            ACTIVE[k],
            IMITATES,
            tf.fill([NUM_LANES], k == NUM_UNROLLS - 1),
            tf.constant([[0, 1], [0.9, 0.1], [0.9, 0.1]], tf.float32),
            tf.constant(k),
        )
        lanes_now = train(lanes_now, control, IMAGES, SCALE)
    return lanes_now


@pytest.mark.slow
@pytest.mark.parametrize(
    "rule_name, num_blocks, scaling_bound, rule_options",
    [
        ("dm", 3, 0, {}),
        ("rnnprop", 2, 0, {}),
        ("rnnprop", 1, 1.0, {}),
        ("dm", 3, 0, {"centered": True, "drift": 1e-3}),
        ("dm", 2, 0, {"centered": True, "drift": 1e-2, "drift_of": "units"}),
    ],
)
def test_lanes_train_like_single_epochs(rule_name, num_blocks, scaling_bound, rule_options):
    weights, single, programs = make(
        rule_name, scaling_bound, rule_options=rule_options, num_blocks=num_blocks
    )
    after = run(programs, weights)
    for k in range(NUM_LANES):
        count = int(tf.reduce_sum(tf.cast(ACTIVE[:, k], tf.int32)))
        one_epoch = single.imitate if IMITATES[k] else single.train
        before = single.initial_state(weights[k])
        expected = one_epoch(before, EPOCH_SEEDS[k], tf.constant(count))
        np.testing.assert_allclose(after.log[:count, 0, k], expected.losses, rtol=5e-7)
        np.testing.assert_allclose(after.log[:count, 1, k], expected.gradient_norms, rtol=1e-5)
        compared = dict(expected.meta.weights)
        if rule_options:  # What is subtracted has the output's bias too: its gradient is rounding.
            del compared["linear/b"]
        for name, value in compared.items():
            np.testing.assert_allclose(after.meta.weights[name][k], value, atol=1e-5)
        moments = zip(
            tf.nest.flatten(expected.meta.imitation_optimizer),
            tf.nest.flatten(after.meta.imitation_optimizer),
        )
        for value, found in moments:
            np.testing.assert_allclose(found[k], value, rtol=1e-4, atol=1e-9)
    for name, average in after.average.items():
        initial, end = weights[1][name], after.meta.weights[name][1]
        np.testing.assert_array_equal(average[0], after.meta.weights[name][0])
        np.testing.assert_allclose(average[1], 0.9 * initial + 0.1 * end, atol=1e-7)
        np.testing.assert_array_equal(average[2], weights[2][name])
        np.testing.assert_array_equal(after.boundary[0].weights[name], stack(weights)[name])


@pytest.mark.slow
def test_lanes_train_on_convolutions_like_single_epochs():
    weights, single, programs = make("dm", optimizee=CONVOLUTIONS)
    log = run(programs, weights).log
    for k in range(NUM_LANES):
        count = int(tf.reduce_sum(tf.cast(ACTIVE[:, k], tf.int32)))
        one_epoch = single.imitate if IMITATES[k] else single.train
        expected = one_epoch(single.initial_state(weights[k]), EPOCH_SEEDS[k], tf.constant(count))
        np.testing.assert_allclose(log[:count, 0, k], expected.losses, rtol=1e-5)
        np.testing.assert_allclose(log[:count, 1, k], expected.gradient_norms, rtol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("rule_options", [{}, {"centered": True, "drift": 1e-3}])
def test_lanes_validate_like_single_runs(rule_options):
    weights, single, programs = make("dm", rule_options=rule_options, num_blocks=2)
    slots, validate = programs.initial_slots(), loops.compiled(programs.validate)
    for k in range(NUM_UNROLLS):
        slots, losses = validate(slots, stack(weights), EPOCH_SEEDS, tf.constant(k), IMAGES, SCALE)
    for k in range(NUM_LANES):
        expected = single.validate(weights[k], EPOCH_SEEDS[k], tf.constant(NUM_UNROLLS))
        np.testing.assert_allclose(losses[k], expected.losses[-1], rtol=5e-7)


@pytest.mark.slow
def test_a_meta_step_that_is_not_finite_is_skipped_in_its_lane():
    weights, _, programs = make("dm")
    weights[0] = {name: value * np.nan for name, value in weights[0].items()}
    after = run(programs, weights)
    np.testing.assert_array_equal(after.meta.skipped, [NUM_UNROLLS, 0, 0])


def test_what_cannot_run_in_lanes_is_refused():
    rule = rules.create_learned("scale", seeds.make_seed(0, "rule"))
    with pytest.raises(errors.InputError, match="lanes need the rule dm or rnnprop"):
        lanes.Programs(rule, MLP, None, None, 2)


def test_optimizees_that_do_not_vectorise_are_refused():
    with pytest.raises(errors.InputError, match="Quadratic cannot run in lanes"):
        classifiers.vectorizable(optimizees.create("quadratic"))


@pytest.mark.parametrize("optimizee", [MLP, CONVOLUTIONS])
def test_lanes_start_where_single_trajectories_start(optimizee):
    found = classifiers.init(optimizee, EPOCH_SEEDS)
    for k, seed in enumerate(EPOCH_SEEDS):
        for tensors, expected in zip(found, optimizee.init(seed), strict=True):
            np.testing.assert_allclose(tensors[k], expected, atol=1e-8)
