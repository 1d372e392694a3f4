"""Rules drawn at random."""

import numpy as np
import pytest
import tensorflow as tf

from l2o_tf import rules
from l2o_tf.core import seeds
from l2o_tf.rules import mixture
from l2o_tf.training import meta_loss, unrolls
from l2o_tf.training.segment import Segment
from tests.training import problems


def test_draws_have_the_given_probabilities():
    probabilities = np.array([0.2, 0.5, 0.0, 0.3])
    num_draws = 10000
    seed = seeds.make_seed(0, "test")

    @tf.function
    def draw_all():
        return tf.map_fn(
            lambda i: mixture.draw(seeds.fold(seed, i), probabilities), tf.range(num_draws)
        )

    counts = np.bincount(draw_all(), minlength=4)
    standard_error = np.sqrt(probabilities * (1 - probabilities) * num_draws)
    assert np.all(np.abs(counts - probabilities * num_draws) <= 3 * standard_error)


def test_teachers_are_equally_likely():
    teachers = mixture.OneOf([rules.from_spec(s) for s in ("adam:0.01", "sgd:0.1", "adagrad:0.01")])
    seed, num_draws = seeds.make_seed(0, "test"), 10000

    @tf.function
    def draw_all():
        def choice(i):
            return teachers.init([tf.ones([1])], seeds.fold(seed, i)).choice

        return tf.map_fn(choice, tf.range(num_draws))

    counts = np.bincount(draw_all(), minlength=3)
    assert np.all(np.abs(counts - num_draws / 3) <= 3 * np.sqrt(num_draws * 2 / 9))


def test_a_trajectory_follows_the_drawn_rule_to_its_end():
    specs = ["adam:0.01", "sgd:0.1", "adagrad:0.01"]
    mixed = mixture.OneOf([rules.from_spec(spec) for spec in specs])
    params = [tf.ones([3])]
    seen = set()
    for i in range(12):
        state = mixed.init(params, seeds.make_seed(i, "test"))
        chosen = rules.from_spec(specs[int(state.choice)])
        seen.add(int(state.choice))
        expected_state = chosen.init(params)
        for t in range(3):
            grads = [tf.constant([1.0, -2.0, 0.5]) * (t + 1)]
            updates, state = mixed.update(grads, state, params)
            expected, expected_state = chosen.update(grads, expected_state, params)
            np.testing.assert_array_equal(updates[0], expected[0])
    assert seen == {0, 1, 2}


def test_one_of_runs_under_xla():
    mixed = mixture.OneOf([rules.from_spec("adam"), rules.from_spec("sgd")], [0.0, 1.0])
    params = [tf.ones([3])]
    state = mixed.init(params, seeds.make_seed(0, "test"))
    updates, _ = tf.function(mixed.update, jit_compile=True)([tf.ones([3])], state, params)
    np.testing.assert_allclose(updates[0], -0.1 * np.ones(3), rtol=1e-6)


def per_step_mixture():
    learned = rules.create("dm", seed=tf.constant([5, 6]), units=(4, 3), output_scale=0.1)
    return mixture.PerStep(learned, [rules.from_spec(s) for s in ("adam:0.05", "sgd:0.1")])


def gradients_over_time(num_steps):
    rng = np.random.default_rng(0)
    return [tf.constant(rng.normal(size=[num_steps, 3]), tf.float32)]


def test_each_step_applies_the_update_of_the_drawn_rule_and_all_states_go_on():
    mixed = per_step_mixture()
    parts = [mixed.learned_rule, rules.from_spec("adam:0.05"), rules.from_spec("sgd:0.1")]
    params, grads = [tf.ones([3])], gradients_over_time(30)[0]
    state = mixed.init(params, seeds.make_seed(0, "test"))
    states = [rule.init(params) for rule in parts]
    seen = []
    for t in range(30):
        seen.append(int(mixed.choice(state, state.step)))
        updates, state = mixed.update([grads[t]], state, params)
        for i, rule in enumerate(parts):
            own, states[i] = rule.update([grads[t]], states[i], params)
            if i == seen[-1]:
                np.testing.assert_array_equal(updates[0], own[0])
    assert set(seen) == {0, 1, 2}


def test_the_shares_are_the_probabilities_of_the_steps():
    mixed = mixture.PerStep(
        rules.create("dm", units=(2,)), [rules.from_spec(s) for s in ("adam", "sgd")], [3, 1]
    )
    state = mixed.init([tf.ones([1])], seeds.make_seed(0, "test"))
    state = state._replace(share=tf.constant(0.4))
    num_draws = 10000
    draw_all = tf.function(lambda: tf.map_fn(lambda t: mixed.choice(state, t), tf.range(num_draws)))
    rates = np.bincount(draw_all(), minlength=3) / num_draws
    expected = np.array([0.6, 0.3, 0.1])
    standard_error = np.sqrt(expected * (1 - expected) / num_draws)
    assert np.all(np.abs(rates - expected) <= 3 * standard_error)


def test_second_derivatives_are_finite_where_a_gradient_is_zero():
    mixed = mixture.PerStep(rules.create("global_learning_rate"), [rules.from_spec("adam:0.01")])
    params = [tf.constant([1.0, 2.0])]
    weights = mixed.weights()
    for share in (0.0, 1.0):
        state = mixed.with_share(tf.constant(share)).init(params, tf.constant([1, 2]))
        with tf.GradientTape() as tape:
            tape.watch(weights)
            grads = [weights["learning_rate"] * tf.constant([3.0, 0.0])]
            updates, _ = mixed.update(grads, state, params, weights)
            value = tf.reduce_sum(updates[0])
        slope = tape.gradient(value, weights, unconnected_gradients="zero")["learning_rate"]
        # The derivative of -rate * (3 rate); an analytical rule's update is a constant.
        np.testing.assert_allclose(slope, 0.0 if share else -6e-3, rtol=1e-5)


@pytest.mark.parametrize("share, is_learned", [(0.0, True), (1.0, False)])
def test_shares_of_zero_and_one_are_one_rule_alone(share, is_learned):
    mixed = mixture.PerStep(rules.create("dm", units=(2,)), [rules.from_spec("sgd:0.1")])
    params, grads = [tf.ones([3])], gradients_over_time(5)[0]
    state = mixed.init(params)._replace(share=tf.constant(share))
    alone = mixed.learned_rule if is_learned else rules.from_spec("sgd:0.1")
    alone_state = alone.init(params)
    for t in range(5):
        updates, state = mixed.update([grads[t]], state, params)
        expected, alone_state = alone.update([grads[t]], alone_state, params)
        np.testing.assert_array_equal(updates[0], expected[0])


def test_a_replay_of_a_mixture_equals_its_steps():
    mixed, params = per_step_mixture(), [tf.ones([3])]
    grads = gradients_over_time(12)
    state = mixed.init(params, seeds.make_seed(1, "test"))
    _, state = mixed.update([grads[0][0]], state, params)  # It does not start at step 0.
    replayed, end = tf.function(mixed.replay)(grads, state, params)
    for t in range(12):
        updates, state = mixed.update([grads[0][t]], state, params)
        np.testing.assert_allclose(replayed[0][t], updates[0], rtol=1e-5, atol=1e-8)
    for a, b in zip(tf.nest.flatten(end), tf.nest.flatten(state)):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_the_recorded_meta_gradient_of_a_mixture_is_that_of_plain_differentiation():
    mixed, optimizee = per_step_mixture(), problems.SmallQuadratic(tf.float32)
    num_steps = 12
    params = optimizee.init(None)
    start = unrolls.Trajectory(params, mixed.init(params, seeds.make_seed(2, "test")))
    weights = mixed.weights()
    drawn = [int(mixed.choice(start.rule_state, tf.constant(t))) for t in range(num_steps)]
    assert set(drawn) == {0, 1, 2}
    assert mixed.differentiator.recorder(params, num_steps, weights) is not None
    with tf.GradientTape() as tape:
        tape.watch(weights)
        current, losses = start, []
        for t in range(num_steps):
            batch = optimizee.batch(None, t)
            loss, grads = unrolls.loss_and_gradients(optimizee, current.params, batch)
            losses.append(loss)
            grads = [tf.stop_gradient(g) for g in grads]
            updates, state = mixed.update(grads, current.rule_state, current.params, weights)
            current = unrolls.move(current, updates, state)
        losses.append(optimizee.loss(current.params, optimizee.batch(None, num_steps)))
        total = tf.add_n(losses)
    expected = tape.gradient(total, weights)
    segment = Segment(mixed, optimizee, lambda t: optimizee.batch(None, t), num_steps)
    result = tf.function(lambda w: meta_loss.meta_gradient(segment, start, w))(weights)
    np.testing.assert_allclose(result.losses, losses, rtol=1e-5)
    for name, gradient in expected.items():
        scale = np.abs(gradient).max()
        np.testing.assert_allclose(result.gradient[name], gradient, rtol=1e-3, atol=1e-4 * scale)


def test_a_trajectory_is_scored_where_the_drawn_rule_is():
    attending = rules.create(
        "scale", seed=tf.constant([1, 2]), use_attention=True, init_lr_range=(0.1, 0.1)
    )
    mixed = mixture.OneOf([rules.from_spec("sgd:0.1"), attending])
    taught = mixture.PerStep(attending, [rules.from_spec("sgd:0.1")])
    assert mixed.scores_elsewhere and taught.scores_elsewhere and taught.learned_start
    assert not mixture.OneOf([rules.from_spec("sgd:0.1")]).scores_elsewhere
    params, grads = [tf.ones([3])], [tf.constant([1.0, -2.0, 0.5])]
    for choice in (0, 1):
        state = mixed.init(params, tf.constant([3, 4]))._replace(choice=tf.constant(choice))
        updates, state = mixed.update(grads, state, params)
        moved = [params[0] + updates[0]]
        expected = mixed.parts[choice].true_params(moved, state.states[choice])
        np.testing.assert_array_equal(mixed.true_params(moved, state)[0], expected[0])
        assert np.array_equal(expected[0], moved[0]) == (choice == 0)
    _, state = taught.update(grads, taught.init(params, tf.constant([3, 4])), params)
    expected = attending.true_params(params, state.learned)
    np.testing.assert_array_equal(taught.true_params(params, state)[0], expected[0])


def test_a_teacher_that_looks_at_the_parameters_needs_the_general_way(monkeypatch):
    learned, teachers = rules.create("dm"), [rules.from_spec("adam:0.01")]
    assert mixture.PerStep(learned, teachers).differentiator is not None
    monkeypatch.setattr(teachers[0], "looks_at_params", True)  # Such as by a weight decay.
    assert mixture.PerStep(learned, teachers).differentiator is None
