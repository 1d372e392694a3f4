"""The smaller rules of L2O-Scale against the legacy classes and closed forms."""

import math

import numpy as np
import pytest
import tensorflow as tf

from l2o_tf.core import errors, loops, seeds
from l2o_tf.rules import recurrent, scale_small
from tests import reference
from tests.rules import scale_reference

FILE = "golden/scale/small_optimizers.npz"
NUM_STEPS = 20


def follow(rule, params, state, grads):
    """Feeds given gradients; returns the parameters and the states after each step."""
    update = tf.function(rule.update)
    trajectory, states = [], []
    for step in range(NUM_STEPS):
        updates, state = update([g[step] for g in grads], state, params)
        params = [p + u for p, u in zip(params, updates)]
        trajectory.append(params)
        states.append(state)
    return trajectory, states


def check_params(golden, prefix, trajectory):
    for index in range(2):
        moved = np.stack([params[index] for params in trajectory]) - golden[f"x0|{index}"]
        expected = golden[f"{prefix}|params|{index}"][1:] - golden[f"x0|{index}"]
        assert scale_reference.relative_error(moved, expected) < 1e-5


def check_states(golden, prefix, key, values):
    """Compares [num_steps, features, num_coordinates] with the slots of both tensors."""
    expected = np.concatenate([golden[f"{prefix}|states|{i}|{key}"] for i in range(2)], axis=1)
    assert scale_reference.relative_error(np.moveaxis(values, 1, 2), expected) < 1e-5, key


def legacy_rnn(state):
    """The LSTM state in the legacy layout: cell and hidden of layer 1, then of layer 2."""
    return tf.concat([part for layer in state.lstm for part in (layer.cell, layer.hidden)], 0)


@pytest.mark.parametrize(
    ("prefix", "options"),
    [
        ("crnn_lstm", {"units": (6, 8), "init_lr_range": (1e-4, 1e-1)}),
        (
            "crnn_lstm_fixed",
            {"units": (6,), "dynamic_output_scale": False, "learnable_decay": False},
        ),
    ],
)
def test_coordinatewise_rnn_equals_the_legacy_class(prefix, options):
    golden = reference.arrays(FILE)
    rule = scale_small.CoordinatewiseRNN(**options)
    rule.assign(scale_reference.weights(rule, golden, f"{prefix}|meta|"))
    params = scale_reference.tensors(golden, "x0|")
    state = rule.init(params, seeds.make_seed(1, "test"))
    rates = scale_reference.log_lr(golden, f"{prefix}|init_state|", "|learning_rate")
    if prefix == "crnn_lstm_fixed":
        np.testing.assert_array_equal(state.learning_rate, rates)
    state = state._replace(learning_rate=rates)
    initial = np.concatenate([golden[f"{prefix}|init_state|{i}|rnn"] for i in range(2)])
    np.testing.assert_array_equal(legacy_rnn(state), initial.T)

    grads = scale_reference.tensors(golden, "grads|")
    trajectory, states = follow(rule, params, state, grads)
    check_params(golden, prefix, trajectory)
    check_states(golden, prefix, "rnn", np.stack([legacy_rnn(s) for s in states]))
    for key, name in (("rms", "mean_square"), ("decay", "decay"), ("learning_rate",) * 2):
        check_states(golden, prefix, key, np.stack([getattr(s, name)[None] for s in states]))


@pytest.mark.parametrize(
    ("prefix", "rule"),
    [
        ("glr", scale_small.GlobalLearningRate(initial_rate=0.03)),
        ("lrs", scale_small.LearningRateSchedule(initial_rate=0.02, num_steps=10)),
    ],
)
def test_learned_rates_equal_the_legacy_classes(prefix, rule):
    golden = reference.arrays(FILE)
    default = scale_reference.weights(rule, golden, f"{prefix}|meta_default_init|")
    for name, value in rule.weights().items():
        np.testing.assert_array_equal(value, default[name])
    rule.assign(scale_reference.weights(rule, golden, f"{prefix}|meta|"))
    params = scale_reference.tensors(golden, "x0|")
    grads = scale_reference.tensors(golden, "grads|")
    trajectory, states = follow(rule, params, rule.init(params), grads)
    check_params(golden, prefix, trajectory)
    if prefix == "lrs":
        np.testing.assert_array_equal(states, golden["lrs|states|0|itr"])


def test_trainable_adam_equals_adam():
    golden = reference.arrays(FILE)
    rule = scale_small.TrainableAdam(learning_rate=0.01)
    default = scale_reference.weights(rule, golden, "adam|meta|")
    for name, value in rule.weights().items():
        np.testing.assert_allclose(value, default[name], rtol=1e-7)
    params = scale_reference.tensors(golden, "x0|")
    grads = scale_reference.tensors(golden, "grads|")
    trajectory, states = follow(rule, params, rule.init(params), grads)
    # The legacy code's second moment and its parameters are those of a bug.
    check_states(golden, "adam", "m", np.stack([s.first[None] for s in states]))

    flat = np.concatenate([g.numpy().reshape(NUM_STEPS, -1) for g in grads], axis=1, dtype=float)
    x = np.concatenate([p.numpy().ravel() for p in params], dtype=float)
    first = second = np.zeros_like(x)
    for step in range(NUM_STEPS):
        first = 0.9 * first + 0.1 * flat[step]
        second = 0.999 * second + 0.001 * flat[step] ** 2
        corrected = first / (1 - 0.9 ** (step + 1)), second / (1 - 0.999 ** (step + 1))
        x = x - 0.01 * corrected[0] / (np.sqrt(corrected[1]) + 1e-8)
        value = np.concatenate([p.numpy().ravel() for p in trajectory[step]])
        np.testing.assert_allclose(value, x, rtol=0, atol=2e-6)


def test_trainable_adam_is_differentiable_where_a_gradient_is_zero():
    rule = scale_small.TrainableAdam()
    weights = rule.weights()
    params = [tf.zeros([3])]
    with tf.GradientTape() as tape:
        tape.watch(weights)
        state = rule.init(params)
        for _ in range(3):
            updates, state = rule.update([tf.constant([0.0, 1.0, -2.0])], state, params, weights)
        total = tf.reduce_sum(updates[0])
    gradient = tape.gradient(total, weights)
    # u = -lr (0 + 1 - 1): the derivative by log lr is the update itself.
    np.testing.assert_allclose(gradient["log_learning_rate"], total, atol=1e-9)
    assert all(np.isfinite(value) for value in gradient.values())


def test_coordinatewise_rnn_draws_initial_rates_log_uniformly():
    rule = scale_small.CoordinatewiseRNN(init_lr_range=(1e-4, 1e-1))
    params = [tf.zeros([4000])]
    rates = np.log(rule.init(params, seeds.make_seed(1, "test")).learning_rate)
    low, high = math.log(1e-4), math.log(1e-1)
    assert low <= rates.min() < low + 0.02 and high - 0.02 < rates.max() <= high
    assert abs(rates.mean() - (low + high) / 2) < 4 * (high - low) / math.sqrt(12 * 4000)
    with pytest.raises(errors.InputError, match="give init a seed"):
        rule.init(params)


def test_coordinatewise_rnn_starts_with_the_legacy_distributions():
    weights = scale_small.CoordinatewiseRNN(units=(40, 50)).weights()
    limit = math.sqrt(6 / (90 + 200))
    kernel = weights["lstm_2/w_gates"].numpy()
    assert kernel.shape == (90, 200) and 0.99 * limit < np.abs(kernel).max() <= limit
    np.testing.assert_array_equal(weights["lstm_2/b_gates"], np.zeros(200))
    np.testing.assert_array_equal(weights["decay/b"], np.float32([2.2]))
    assert weights["init"].shape == (1, 180) and 0.9 < np.abs(weights["init"]).max() < 1
    for name in ("update/w", "decay/w", "lr/w"):
        scaled = weights[name].numpy() * math.sqrt(50) / 0.5
        assert abs(scaled.std() - 1) < 4 / math.sqrt(2 * 50), name


def test_coordinatewise_rnn_compiles_in_a_loop():
    rule = scale_small.CoordinatewiseRNN(units=(3, 4))
    params = [tf.constant([0.5, -1.0]), tf.constant([[2.0]])]
    weights = rule.weights()

    def objective(weights):
        def step(carry, _):
            params, state = carry
            updates, state = rule.update([tf.sin(p) for p in params], state, params, weights)
            params = [p + u for p, u in zip(params, updates)]
            return (params, state), tf.add_n([tf.reduce_sum(tf.cos(p)) for p in params])

        start = (params, rule.init(params, weights=weights))
        return tf.reduce_sum(loops.scan(step, start, 4, tf.TensorSpec([]))[1])

    def differentiate(weights):
        with tf.GradientTape() as tape:
            tape.watch(weights)
            value = objective(weights)
        return value, tape.gradient(value, weights)

    value, gradient = differentiate(weights)
    compiled, compiled_gradient = tf.function(differentiate, jit_compile=True)(weights)
    np.testing.assert_allclose(compiled, value, rtol=1e-6)
    for name, expected in gradient.items():
        assert scale_reference.relative_error(compiled_gradient[name], expected) < 1e-5, name


def test_a_reset_lstm_state_has_one_entry_per_layer():
    state = scale_small.CoordinatewiseRNN(units=(3, 4)).init([tf.zeros([5])])
    assert [layer.cell.shape for layer in state.lstm] == [(3, 5), (4, 5)]
    assert all(isinstance(layer, recurrent.LSTMState) for layer in state.lstm)


@pytest.mark.parametrize(
    "build",
    [
        lambda: scale_small.TrainableAdam(learning_rate=0.0),
        lambda: scale_small.TrainableAdam(beta1=1.0),
        lambda: scale_small.TrainableAdam(epsilon=-1.0),
        lambda: scale_small.LearningRateSchedule(num_steps=0),
        lambda: scale_small.CoordinatewiseRNN(init_lr_range=(0.1, 0.01)),
    ],
)
def test_impossible_values_are_input_errors(build):
    with pytest.raises(errors.InputError):
        build()
