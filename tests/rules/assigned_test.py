"""A rule made of two rules does what each of them does alone."""

import numpy as np
import pytest
import tensorflow as tf

from l2o_tf import optimizees, rules
from l2o_tf.core import errors, seeds
from l2o_tf.rules import assigned
from l2o_tf.training import meta_loss, unrolls
from l2o_tf.training.segment import Segment
from tests import small_images
from tests.training import problems

SEED = seeds.make_seed(0, "test")


def two_rules():
    return {"cw": rules.create("dm"), "adam": rules.from_spec("adam:0.01")}


def test_simple_multi_moves_each_coordinate_by_its_own_rule():
    optimizee, single = optimizees.create("simple_multi"), optimizees.create("simple")
    parts = two_rules()
    combined = assigned.Assigned(parts, optimizee.assignment)
    start = unrolls.start(optimizee, combined, SEED)
    watch = unrolls.Watch(updates=True)
    run = unrolls.unroll(combined, optimizee, start, lambda t: (), 12, watch=watch)
    for rule, updates, end in zip(parts.values(), run.updates, run.end.params, strict=True):
        start = unrolls.start(single, rule, SEED)
        alone = unrolls.unroll(rule, single, start, lambda t: (), 12, watch=watch)
        np.testing.assert_allclose(updates, alone.updates[0], rtol=1e-6)
        np.testing.assert_allclose(end, alone.end.params[0], rtol=1e-6)
    assert not np.allclose(*run.updates)


def mixed_case():
    """Interleaved tensors of two learned rules."""
    parts = {"b": rules.create("rnnprop"), "a": rules.create("dm")}
    combined = assigned.Assigned(parts, ["a", "b", "b", "a"])
    rng = np.random.default_rng(0)
    shapes = [[2, 3], [4], [], [3]]
    params = [tf.constant(rng.normal(size=s).astype(np.float32)) for s in shapes]
    grads = [tf.constant(rng.normal(size=[5, *s]).astype(np.float32)) for s in shapes]
    return parts, combined, params, grads


def test_replay_and_updates_agree_with_the_rules_alone():
    parts, combined, params, grads = mixed_case()
    updates, state = combined.replay(grads, combined.init(params), params)
    for name, indices in {"a": [0, 3], "b": [1, 2]}.items():
        own = [params[i] for i in indices]
        expected, end = parts[name].replay([grads[i] for i in indices], parts[name].init(own), own)
        for i, e in zip(indices, expected, strict=True):
            np.testing.assert_allclose(updates[i], e, rtol=1e-6)
        tf.nest.map_structure(np.testing.assert_array_equal, state[list(parts).index(name)], end)
    step_state = combined.init(params)
    for t in range(5):
        step, step_state = combined.update([g[t] for g in grads], step_state, params)
        for u, s in zip(updates, step, strict=True):
            np.testing.assert_allclose(u[t], s, rtol=1e-5, atol=1e-9)


def test_weights_are_named_after_the_rules_and_can_be_assigned_and_passed():
    parts, combined, params, grads = mixed_case()
    weights = combined.weights()
    assert set(weights) == {
        f"{name}/{key}" for name, rule in parts.items() for key in rule.weights()
    }
    assert len(combined.trainable_variables) == len(weights)
    doubled = {name: 2 * w for name, w in weights.items()}
    passed, _ = combined.replay(grads, combined.init(params), params, doubled)
    combined.assign(doubled)
    np.testing.assert_array_equal(parts["a"].weights()["linear/w"], doubled["a/linear/w"])
    assigned_values, _ = combined.replay(grads, combined.init(params), params)
    for p, a in zip(passed, assigned_values, strict=True):
        np.testing.assert_array_equal(p, a)


class TwoBowls(problems.Bowl):
    """A bowl, and another one that has nothing to do with it."""

    def init(self, seed):
        return 2 * super().init(seed)

    def loss(self, params, batch):
        return sum(super(TwoBowls, self).loss([p], batch) for p in params)


class Shrinking(rules.UpdateRule):
    """u = -rate p, whatever the gradient is."""

    learned = True

    def __init__(self):
        super().__init__({"rate": tf.constant(0.1)})

    def init_tensors(self, params, seed, weights):
        return ()

    def update_tensors(self, grads, state, params, weights):
        return [-weights["rate"] * p for p in params], state


def test_the_meta_gradient_passes_through_parameters_that_a_part_looks_at():
    parts = {"dm": rules.create("dm"), "shrinking": Shrinking()}
    pair, optimizee = assigned.Assigned(parts, ["dm", "shrinking"]), TwoBowls()
    segment = Segment(pair, optimizee, lambda t: (), 6)
    start = unrolls.start(optimizee, pair, SEED)
    run = meta_loss.meta_gradient(segment, start, pair.weights())
    # The loss of the second bowl after t steps is (1 - rate)^2t / 2 of sum_i c_i x_i^2.
    at_start = (problems.BOWL_CURVATURES * problems.BOWL_START**2).sum()
    expected = sum(-t * 0.9 ** (2 * t - 1) for t in range(7)) * at_start
    np.testing.assert_allclose(run.gradient["shrinking/rate"], expected, rtol=1e-6)
    assert np.linalg.norm(run.gradient["dm/linear/w"]) > 0


@pytest.mark.slow
def test_meta_gradients_reach_both_rules_of_cifar_multi():
    data = small_images.dataset((32, 32, 3))
    optimizee = optimizees.create("cifar_multi", data, batch_size=2)
    names = {p.shape.rank: name for p, name in zip(optimizee.init(SEED), optimizee.assignment)}
    assert names == {4: "conv", 2: "fc", 1: "fc"}
    rule = assigned.Assigned(
        {"conv": rules.create("dm"), "fc": rules.create("dm")}, optimizee.assignment
    )
    segment = Segment(rule, optimizee, unrolls.random_batches(optimizee, SEED, 0), 2)
    run = meta_loss.meta_gradient(segment, unrolls.start(optimizee, rule, SEED), rule.weights())
    for name in ("conv/linear/w", "fc/linear/w"):
        assert np.linalg.norm(run.gradient[name]) > 0
    assert not np.allclose(run.gradient["conv/linear/w"], run.gradient["fc/linear/w"])


def attending_rule():
    return rules.create(
        "scale", seed=SEED, use_attention=True, level_sizes=(3, 2), init_lr_range=(0.1, 0.1)
    )


def test_a_rule_with_attention_is_scored_where_it_is_scored_alone():
    alone, optimizee = attending_rule(), problems.SmallQuadratic(tf.float32)
    combined = assigned.Assigned({"only": alone}, ["only"] * len(optimizee.init(SEED)))
    assert combined.scores_elsewhere and combined.learned and combined.learned_start

    def run(rule):
        params = optimizee.init(SEED)
        start = unrolls.Trajectory(params, rule.init(params, SEED))
        segment = Segment(rule, optimizee, lambda t: optimizee.batch(None, t), 4)
        return meta_loss.meta_gradient(segment, start, rule.weights())

    expected, actual = run(alone), run(combined)
    np.testing.assert_allclose(actual.losses, expected.losses, rtol=1e-6)
    for name, gradient in expected.gradient.items():
        np.testing.assert_allclose(actual.gradient[f"only/{name}"], gradient, rtol=1e-4, atol=1e-6)


def test_only_the_tensors_of_a_rule_with_attention_are_scored_elsewhere():
    parts = {"plain": rules.from_spec("sgd:0.1"), "attending": attending_rule()}
    combined = assigned.Assigned(parts, ["attending", "plain", "attending"])
    params = [tf.constant([1.0, -2.0]), tf.constant(3.0), tf.constant([[0.5]])]
    grads = [tf.constant([0.3, -1.0]), tf.constant(2.0), tf.constant([[-0.7]])]
    updates, state = combined.update(grads, combined.init(params, SEED), params)
    points = [p + u for p, u in zip(params, updates)]
    first, last = parts["attending"].true_params([points[0], points[2]], state[1])
    for actual, expected in zip(combined.true_params(points, state), [first, points[1], last]):
        np.testing.assert_array_equal(actual, expected)
    assert np.all(np.asarray(first) != points[0])


@pytest.mark.slow
def test_a_recorded_unroll_of_two_lstms_has_the_gradient_of_plain_differentiation():
    optimizee = problems.SmallQuadratic(tf.float32)
    params = optimizee.init(SEED)
    parts = {"a": rules.create("dm", units=(3,)), "b": rules.create("rnnprop", units=(2,))}
    combined = assigned.Assigned(parts, ["a", "b"])
    assert combined.differentiator is not None
    start = unrolls.Trajectory(params, combined.init(params, SEED))
    segment = Segment(combined, optimizee, lambda t: optimizee.batch(None, t), 6)
    actual = meta_loss.meta_gradient(segment, start, combined.weights())
    # An objective of a part of the losses needs the general way; here it leaves out none.
    part = segment._replace(num_steps=tf.constant(6))
    expected = meta_loss.meta_gradient(part, start, combined.weights())
    np.testing.assert_allclose(actual.losses, expected.losses, rtol=1e-5)
    for name, gradient in expected.gradient.items():
        scale = np.abs(gradient).max()
        np.testing.assert_allclose(actual.gradient[name], gradient, rtol=1e-3, atol=1e-4 * scale)


def test_each_rule_gets_its_own_seed():
    class Recorder(rules.UpdateRule):
        def init(self, params, seed=None, weights=None):
            return seed

    rule = assigned.Assigned({"a": Recorder(), "b": Recorder()}, "ab")
    a, b = rule.init([tf.ones([]), tf.ones([])], SEED)
    assert not np.array_equal(a, b)


def test_names_and_numbers_must_match():
    with pytest.raises(errors.InputError, match=r"\['cw', 'other'\], but the rules are"):
        assigned.Assigned(two_rules(), ["cw", "other"])
    with pytest.raises(errors.InputError, match="give exactly one rule for each name"):
        assigned.Assigned(two_rules(), ["cw", "cw"])
    rule = assigned.Assigned(two_rules(), ["cw", "adam"])
    with pytest.raises(errors.InputError, match="2 parameter tensors.*has 3"):
        rule.init([tf.ones([])] * 3)
