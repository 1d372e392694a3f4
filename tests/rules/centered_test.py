"""Rules whose updates are differences to what they do without a gradient."""

import numpy as np
import pytest
import tensorflow as tf

from l2o_tf import rules
from l2o_tf.core import seeds
from l2o_tf.evaluation import response


def make(name, **options):
    rule = rules.create(name, seed=seeds.make_seed(5, "rule"), units=(4, 3), **options)
    random = np.random.default_rng(1)
    rule.assign(
        {k: tf.constant(random.normal(size=w.shape), w.dtype) for k, w in rule.weights().items()}
    )
    return rule


@pytest.mark.parametrize("name", ["dm", "rnnprop"])
def test_updates_are_differences_to_those_of_a_coordinate_without_gradient(name):
    plain, centered = make(name), make(name, centered=True)
    random = np.random.default_rng(2)
    params = [tf.zeros([2, 3]), tf.zeros([4])]
    with_still = [*params, tf.zeros([1])]
    state, still_state = centered.init(params), plain.init(with_still)
    for _ in range(4):
        grads = [tf.constant(random.normal(size=p.shape), tf.float32) for p in params]
        updates, state = centered.update(grads, state, params)
        expected, still_state = plain.update([*grads, tf.zeros([1])], still_state, with_still)
        for update, one in zip(updates, expected):
            np.testing.assert_allclose(update, one - expected[-1], atol=1e-7)
        assert np.abs(expected[-1]) > 1e-4  # Or the difference would be nothing.


@pytest.mark.parametrize("name", ["dm", "rnnprop"])
def test_parameters_without_a_gradient_keep_their_state(name):
    rule, random = make(name, centered=True), np.random.default_rng(3)
    params = [tf.zeros([2]), tf.zeros([3])]
    before = rule.init(params)
    grads = [tf.constant(random.normal(size=p.shape), tf.float32) for p in params]
    _, before = rule.update(grads, before, params)
    _, after = rule.update([grads[0], tf.zeros([3])], before, params)
    held = rule.hold(before, after, params, [True, False])
    last_axes = 0
    for old, new, kept in zip(*map(tf.nest.flatten, (before, after, held))):
        if new.shape[-1:] == [6]:
            last_axes += 1
            expected = np.concatenate([new[..., :2], old[..., 2:5], new[..., 5:]], axis=-1)
            np.testing.assert_array_equal(kept, expected)
    assert last_axes >= 4


@pytest.mark.parametrize("name", ["dm", "rnnprop"])
def test_without_a_gradient_nothing_moves(name):
    assert response.measure(make(name), (1e-3,), 20).drift != 0
    assert response.measure(make(name, centered=True), (1e-3,), 20).drift == 0
