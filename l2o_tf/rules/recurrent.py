"""The stacked LSTM that L2O-DM and RNNprop share.

Everything is features-major, [features, num_coordinates]: the matrix products then have the
many coordinates in the fastest axis, which XLA turns into the fastest code on CPUs.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import tensorflow as tf

from l2o_tf.core import errors, seeds
from l2o_tf.rules import base

FORGET_BIAS = 1.0


class LSTMState(NamedTuple):
    """One layer's state [units, num_coordinates]."""

    hidden: tf.Tensor
    cell: tf.Tensor


def check_units(units: Sequence[int], fewest_layers: int = 0) -> None:
    """Raises InputError unless there are so many layers and each has at least one unit."""
    if len(units) < fewest_layers or min(units, default=1) < 1:
        expected = "one or more positive integers" if fewest_layers else "positive integers"
        raise errors.InputError(f"units must be {expected}, got {list(units)}")


def initial_weights(
    seed: seeds.Seed, num_features: int, units: tuple[int, ...], num_projected: int | None = None
) -> base.Weights:
    """Draws weights as Sonnet 1.11 does, with the names of the legacy `.l2l` files.

    Truncated normal with standard deviation 1 / sqrt(fan-in), biases of the gates included;
    the biases of linear layers are zero.

    Args:
        seed: int32 [2].
        num_features: features per coordinate.
        units: hidden units of each LSTM layer, of which legacy files may have none.
        num_projected: units of a linear layer before the LSTM; none for no such layer.

    Returns:
        `lstm_i/w_gates` [inputs_i + units_i, 4 units_i], `lstm_i/b_gates` [4 units_i] for
        i = 1, 2, ..., `linear/w` [units, 1], `linear/b` [1] and, with `num_projected`,
        `input_projection/w` [num_features, num_projected], `input_projection/b`.

    Raises:
        InputError: if a number of units is not positive.
    """
    check_units(units)
    if num_projected is not None and num_projected < 1:
        raise errors.InputError(f"num_projected must be at least 1, got {num_projected}")
    shapes: dict[str, tuple[int, ...]] = {}
    fan_in: dict[str, int] = {}

    def add(module: str, w: str, b: str, inputs: int, outputs: int):
        shapes[f"{module}/{w}"], shapes[f"{module}/{b}"] = (inputs, outputs), (outputs,)
        fan_in[f"{module}/{w}"] = inputs

    num_inputs = num_features
    if num_projected is not None:
        add("input_projection", "w", "b", num_inputs, num_projected)
        num_inputs = num_projected
    for layer, n in enumerate(units, 1):
        add(f"lstm_{layer}", "w_gates", "b_gates", num_inputs + n, 4 * n)
        fan_in[f"lstm_{layer}/b_gates"] = num_inputs + n
        num_inputs = n
    add("linear", "w", "b", num_inputs, 1)
    return {
        name: seeds.truncated_normal(seeds.fold(seed, index), shape, 1 / math.sqrt(fan_in[name]))
        if name in fan_in
        else tf.zeros(shape)
        for index, (name, shape) in enumerate(shapes.items())
    }


def initial_state(
    units: tuple[int, ...], num_coordinates: int, dtype: tf.DType
) -> tuple[LSTMState, ...]:
    """Zeros for every layer."""
    zeros = [tf.zeros([n, num_coordinates], dtype) for n in units]
    return tuple(LSTMState(z, z) for z in zeros)


def linear(weights: base.Weights, module: str, inputs: tf.Tensor) -> tf.Tensor:
    """Maps [inputs, num_coordinates] to [outputs, num_coordinates]."""
    return _affine(weights[f"{module}/w"], weights[f"{module}/b"], inputs)


def _affine(w: tf.Tensor, b: tf.Tensor, inputs: tf.Tensor) -> tf.Tensor:
    return tf.linalg.matmul(w, inputs, transpose_a=True) + b[:, None]


def lstm_layer(
    w_gates: tf.Tensor, b_gates: tf.Tensor, inputs: tf.Tensor, state: LSTMState
) -> LSTMState:
    """One step of one layer; gates in Sonnet 1's order: input, candidate, forget, output.

    Args:
        w_gates: [num_inputs + units, 4 units], for [inputs, hidden].
        b_gates: [4 units], without the forget bias of 1 that is added here.
        inputs: [num_inputs, num_coordinates].
        state: the layer's state before the step.
    """
    gates = _affine(w_gates, b_gates, tf.concat([inputs, state.hidden], axis=0))
    i, j, f, o = tf.split(gates, 4, axis=0)
    cell = state.cell * tf.sigmoid(f + FORGET_BIAS) + tf.sigmoid(i) * tf.tanh(j)
    return LSTMState(tf.tanh(cell) * tf.sigmoid(o), cell)


def lstm_stack(
    weights: base.Weights, inputs: tf.Tensor, states: tuple[LSTMState, ...]
) -> tuple[tf.Tensor, tuple[LSTMState, ...]]:
    """One step of all layers: returns the top layer's output [units, num_coordinates]."""
    next_states = []
    for layer, state in enumerate(states, 1):
        state = lstm_layer(
            weights[f"lstm_{layer}/w_gates"], weights[f"lstm_{layer}/b_gates"], inputs, state
        )
        inputs = state.hidden
        next_states.append(state)
    return inputs, tuple(next_states)


def network(
    weights: base.Weights, features: tf.Tensor, states: tuple[LSTMState, ...]
) -> tuple[tf.Tensor, tuple[LSTMState, ...]]:
    """One step of the whole network, with an elu after the input projection if there is one.

    Args:
        weights: as `initial_weights` names them.
        features: [num_features, num_coordinates].
        states: the states before the step.

    Returns:
        The outputs [num_coordinates], without activation, and the states after the step.
    """
    inputs = features
    if "input_projection/w" in weights:
        inputs = tf.nn.elu(linear(weights, "input_projection", features))
    hidden, states = lstm_stack(weights, inputs, states)
    return linear(weights, "linear", hidden)[0], states
