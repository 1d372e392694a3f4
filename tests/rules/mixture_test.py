"""Rules drawn at random."""

import numpy as np
import tensorflow as tf

from l2o_tf import rules, seeds
from l2o_tf.rules import mixture


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
