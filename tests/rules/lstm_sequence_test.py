"""The hand-written backward pass against automatic differentiation of the plain definition."""

import numpy as np
import pytest
import tensorflow as tf

from l2o_tf import rules
from l2o_tf.rules import base, lstm_sequence

CASES = [
    # rule, its options, coordinates, steps, coordinates x steps of a block
    ("dm", {"units": (3,)}, 1, 1, 1000),
    ("dm", {"units": (4, 5)}, 7, 6, 1000),
    ("dm", {"units": (2, 3, 4)}, 16, 3, 1000),
    ("dm", {"units": (20, 20)}, 37, 4, 1000),
    ("dm", {"units": (5, 2)}, 70, 5, 100),
    ("rnnprop", {"units": (3,), "num_projected": 2}, 5, 7, 1000),
    ("rnnprop", {"units": (4, 3), "num_projected": 6}, 23, 4, 1000),
    ("rnnprop", {"units": (5, 5, 5), "num_projected": 5}, 50, 6, 96),
]


def draw(random, shape, scale=1.0):
    return tf.constant(random.normal(scale=scale, size=shape))


def random_like(random, nest):
    return tf.nest.map_structure(
        lambda x: draw(random, x.shape) if x.dtype.is_floating else tf.constant(0), nest
    )


def inner_product(nest, other):
    pairs = zip(tf.nest.flatten(nest), tf.nest.flatten(other))
    return tf.add_n([tf.reduce_sum(a * b) for a, b in pairs if a.dtype.is_floating])


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_replay_and_its_gradients_equal_the_plain_ones(case, jit_compile, monkeypatch):
    name, options, num_coordinates, num_steps, block_size = case
    monkeypatch.setattr(lstm_sequence, "BLOCK_SIZE", block_size)
    random = np.random.default_rng(len(str(case)))
    rule = rules.create(name, **options)
    weights = {k: draw(random, w.shape, 0.5) for k, w in rule.weights().items()}
    params = [tf.zeros([num_coordinates], tf.float64)]
    # Gradients of every magnitude, some of them zero.
    grads = random.normal(size=(num_steps, num_coordinates))
    grads *= np.exp(random.uniform(-8, 2, size=grads.shape))
    grads = tf.constant(grads * (random.uniform(size=grads.shape) > 0.2))
    state = random_like(random, rule.init(params))
    if name == "rnnprop":
        moments = state.moments._replace(second=tf.abs(state.moments.second))
        state = state._replace(moments=moments)
    cotangents = random_like(random, ([grads], state))

    def differentiate(replay):
        @tf.function(jit_compile=jit_compile, autograph=False)
        def run(weights, state):
            with tf.GradientTape() as tape:
                tape.watch((weights, state))
                result = replay(rule, [grads], state, params, weights)
                objective = inner_product(result, cotangents)
            lstm = state.lstm if name == "rnnprop" else state
            return result, tape.gradient(objective, (weights, lstm))

        return run(weights, state)

    fast = differentiate(lambda rule, *args: rule.replay(*args))
    plain = differentiate(base.UpdateRule.replay)
    tf.nest.assert_same_structure(fast, plain)
    for actual, expected in zip(tf.nest.flatten(fast), tf.nest.flatten(plain)):
        np.testing.assert_allclose(
            actual, expected, rtol=0, atol=1e-10 * max(1.0, np.abs(expected).max())
        )


def test_blocks_hold_no_more_than_their_size_but_all_coordinates(monkeypatch):
    seen = []
    forward = lstm_sequence._forward

    def spy(kernels, features, states, keep):
        seen.append(features.shape)
        return forward(kernels, features, states, keep)

    monkeypatch.setattr(lstm_sequence, "_forward", spy)
    monkeypatch.setattr(lstm_sequence, "BLOCK_SIZE", 5 * 48)
    rule = rules.create("dm", units=(2,))
    params = [tf.zeros([100])]
    updates, _ = rule.replay([tf.ones([5, 100])], rule.init(params), params)
    assert seen == [(5, 2, 48)] * 3
    np.testing.assert_array_equal(updates[0], np.tile(updates[0][:, :1], 100))
