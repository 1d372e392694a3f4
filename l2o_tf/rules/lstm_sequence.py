"""The network of L2O-DM and RNNprop on a known sequence of inputs, with its backward pass by hand.

`recurrent` says what the network is; this module computes the same faster. What makes it fast on
CPUs (measured in docs/performance.md): the loop over time is a TensorFlow loop, in which a tensor
is recorded and read back without a copy, and its body is one XLA call; inside an XLA loop the
slices of recorded tensors keep the compiler from vectorising all that reads them. The gates are
recorded, so that the backward pass computes no transcendental function; a sigmoid is a tanh, so
that one pass computes all gates; a row of ones under the inputs makes biases part of the products.

Shapes: N coordinates, H units of a layer, I its inputs; everything is features-major.
"""

import math
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from l2o_tf import loops
from l2o_tf.rules import base, recurrent

# Coordinates x steps of one block. With 2 layers of 20 units its record takes 1.3 kB for each.
BLOCK_SIZE = 2**19
_ALIGNMENT = 16  # Rows that start on a cache line are read faster and need not be copied for XLA.

States = tuple[recurrent.LSTMState, ...]


class LayerRecord(NamedTuple):
    """What the backward pass needs of one layer and step.

    Attributes:
        inputs: [I + H + 1, N], the layer's inputs, its hidden state before the step, ones.
        gates: [4 H, N], the activations of the gates i, j, f, o.
        cell: [H, N], the cell state before the step.
        squashed: [H, N], tanh of the cell state after the step.
    """

    inputs: tf.Tensor
    gates: tf.Tensor
    cell: tf.Tensor
    squashed: tf.Tensor


class Kernels(NamedTuple):
    """The weights of one linear map each, the biases in the last row, or their gradients.

    Attributes:
        projection: of the input projection, [num_features + 1, num_projected]; () without one.
        gates: for each layer, [I + H + 1, 4 H].
        output: [H + 1, 1].
    """

    projection: tuple[tf.Tensor, ...]
    gates: tuple[tf.Tensor, ...]
    output: tf.Tensor


def run(weights: base.Weights, features: tf.Tensor, states: States) -> tuple[tf.Tensor, States]:
    """Runs the network, without its output activation, over a sequence.

    Differentiable with respect to the weights and the states; the features are constants. The
    memory that the gradient takes is that of the features and of one block of coordinates.

    Args:
        weights: as `recurrent.initial_weights` names them, with or without `input_projection`.
        features: [num_steps, num_features, N].
        states: the states before the first step.

    Returns:
        The outputs [num_steps, N] and the states after the last step.
    """
    num_steps, _, num_coordinates = features.shape
    num_blocks = math.ceil(num_coordinates * num_steps / BLOCK_SIZE)
    padding = -num_coordinates % (num_blocks * _ALIGNMENT)

    def to_blocks(x):
        # Coordinates that are zeros and have zero cotangents add nothing to any gradient.
        x = tf.pad(x, [[0, 0]] * (x.shape.rank - 1) + [[0, padding]])
        x = tf.reshape(x, [*x.shape[:-1], num_blocks, x.shape[-1] // num_blocks])
        return tf.transpose(x, [x.shape.rank - 2, *range(x.shape.rank - 2), x.shape.rank - 1])

    def from_blocks(x):
        x = tf.transpose(x, [*range(1, x.shape.rank - 1), 0, x.shape.rank - 1])
        x = tf.reshape(x, [*x.shape[:-2], num_coordinates + padding])
        return x[..., :num_coordinates]

    blocks = tf.nest.map_structure(to_blocks, states)
    outputs, blocks = _run_blocks(_kernels(weights), to_blocks(features), blocks)
    return from_blocks(outputs), tf.nest.map_structure(from_blocks, blocks)


def _kernels(weights):
    def kernel(module, w="w", b="b"):
        return tf.concat([weights[f"{module}/{w}"], weights[f"{module}/{b}"][None]], axis=0)

    num_layers = sum(name.startswith("lstm_") for name in weights) // 2
    return Kernels(
        (kernel("input_projection"),) if "input_projection/w" in weights else (),
        tuple(kernel(f"lstm_{i}", "w_gates", "b_gates") for i in range(1, num_layers + 1)),
        kernel("linear"),
    )


def _run_blocks(kernels, features, states):
    """`run` for features [num_blocks, num_steps, num_features, N] and states [num_blocks, H, N]."""
    structure = (kernels, states)

    @tf.custom_gradient
    def differentiable(*flat):
        kernels, states = tf.nest.pack_sequence_as(structure, flat)
        # With one block, what the backward pass needs is kept; with more it is computed again.
        keep = features.shape[0] == 1
        records = []

        def run_block(b):
            outputs, end, record = _forward(kernels, features[b], _at(states, b), keep)
            records.append(record)
            return outputs, end

        like = (features[0][:, 0], _at(states, 0))
        outputs, ends = _for_blocks(run_block, features.shape[0], like)

        def gradient(output_cotangents, *end_cotangents):
            end_cotangents = tf.nest.pack_sequence_as(states, end_cotangents)

            def differentiate_block(b):
                record = records[0] if keep else _forward(
                    kernels, features[b], _at(states, b), True
                )[2]
                return _backward(
                    kernels, features[b], record, output_cotangents[b], _at(end_cotangents, b)
                )

            kernel_cotangents, start_cotangents = _for_blocks(
                differentiate_block, features.shape[0], (kernels, _at(states, 0))
            )
            summed = tf.nest.map_structure(lambda g: tf.reduce_sum(g, axis=0), kernel_cotangents)
            return tf.nest.flatten((summed, start_cotangents))

        return (outputs, *tf.nest.flatten(ends)), gradient

    outputs, *ends = differentiable(*tf.nest.flatten(structure))
    return outputs, tf.nest.pack_sequence_as(states, ends)


def _at(states, b):
    return tf.nest.map_structure(lambda x: x[b], states)


def _for_blocks(function, num_blocks, like):
    """Stacks function(b) over the blocks, one after the other for the sake of memory."""
    if num_blocks == 1:
        return tf.nest.map_structure(lambda x: x[None], function(0))
    return loops.scan(lambda carry, b: (carry, function(b)), (), num_blocks, like)[1]


def _forward(kernels, features, states, keep):
    """Runs one block.

    Returns:
        The outputs [num_steps, N], the states after the last step and, to `keep` them, the
        records of the layers with tensor arrays in place of tensors.
    """
    num_steps, _, num_coordinates = features.shape

    def array(*rows):
        return tf.TensorArray(
            features.dtype,
            size=num_steps,
            element_shape=[*rows, num_coordinates],
            clear_after_read=False,
        )

    def layer_arrays(kernel):
        units = kernel.shape[1] // 4
        return LayerRecord(array(kernel.shape[0]), array(4 * units), array(units), array(units))

    def body(t, states, outputs, records):
        output, states, record = _step(kernels, features[t], states)
        if keep:
            records = _write(records, t, record)
        return t + 1, states, outputs.write(t, output), records

    records = tuple(layer_arrays(k) for k in kernels.gates) if keep else ()
    _, states, outputs, records = tf.while_loop(
        lambda t, *_: t < num_steps,
        body,
        (tf.constant(0), states, array(), records),
        maximum_iterations=num_steps,
    )
    return outputs.stack(), states, records


def _backward(kernels, features, records, output_cotangents, end_cotangents):
    """Differentiates one block; returns the cotangents of its kernels and start states."""
    num_steps = features.shape[0]

    def body(t, *carry):
        record = tf.nest.map_structure(lambda array: array.read(t), records)
        return t - 1, *_step_back(kernels, features[t], record, output_cotangents[t], *carry)

    zeros = tf.nest.map_structure(lambda k: tf.zeros(k.shape[::-1], k.dtype), kernels)
    _, transposed, states = tf.while_loop(
        lambda t, *_: t >= 0,
        body,
        (tf.constant(num_steps - 1), zeros, end_cotangents),
        maximum_iterations=num_steps,
    )
    return tf.nest.map_structure(tf.transpose, transposed), states


@loops.compiled
def _step(kernels, features, states):
    """One step: outputs [N], the next states, and a LayerRecord for each layer."""
    ones = tf.ones_like(features[:1])
    inputs = _projected(*kernels.projection, features) if kernels.projection else features
    next_states, records = [], []
    for kernel, state in zip(kernels.gates, states):
        # sigmoid(x) = (1 + tanh(x / 2)) / 2: with scaled rows one tanh serves all gates.
        units = state.cell.shape[0]
        scale = _rows(units, kernel.dtype, 0.5, 1.0, 0.5, 0.5)
        bias = _rows(units, kernel.dtype, 0.0, 0.0, recurrent.FORGET_BIAS, 0.0)
        stacked = tf.concat([inputs, state.hidden, ones], axis=0)
        scaled = tf.concat([kernel[:-1], kernel[-1:] + bias], axis=0) * scale
        shift = _rows(units, kernel.dtype, 0.5, 0.0, 0.5, 0.5)[:, None]
        gates = scale[:, None] * tf.tanh(tf.linalg.matmul(scaled, stacked, transpose_a=True))
        gates += shift
        i, j, f, o = tf.split(gates, 4, axis=0)
        cell = state.cell * f + i * j
        squashed = tf.tanh(cell)
        inputs = squashed * o
        next_states.append(recurrent.LSTMState(inputs, cell))
        records.append(LayerRecord(stacked, gates, state.cell, squashed))
    output = tf.linalg.matvec(inputs, kernels.output[:-1, 0], transpose_a=True)
    return output + kernels.output[-1, 0], tuple(next_states), tuple(records)


def _projected(kernel, features):
    return tf.nn.elu(tf.linalg.matmul(kernel[:-1], features, transpose_a=True) + kernel[-1][:, None])


def _rows(units, dtype, *gates):
    """One number for each gate i, j, f, o, repeated for the units of a layer: [4 units]."""
    return tf.constant(np.repeat(gates, units), dtype)


@loops.compiled
def _step_back(kernels, features, records, output_cotangent, sums, states):
    """Backpropagates through one step.

    Args:
        kernels: the weights.
        features: [num_features, N].
        records: what `_step` recorded.
        output_cotangent: [N].
        sums: transposed cotangents of the kernels from the later steps.
        states: cotangents of the states after the step.

    Returns:
        The sums with this step's share, and the cotangents of the states before the step.
    """
    top = records[-1]
    hidden = top.squashed * tf.split(top.gates, 4, axis=0)[3]
    share = tf.concat(
        [tf.linalg.matvec(hidden, output_cotangent), tf.reduce_sum(output_cotangent)[None]], axis=0
    )
    output_sum = sums.output + share[None]
    from_above = kernels.output[:-1] * output_cotangent
    gate_sums, before = list(sums.gates), list(states)
    for layer in reversed(range(len(records))):
        kernel = kernels.gates[layer]
        gates, cell = _layer_back(records[layer], states[layer], from_above)
        gate_sums[layer] += tf.linalg.matmul(gates, records[layer].inputs, transpose_b=True)
        num_inputs = kernel.shape[0] - 1 - cell.shape[0]
        hidden = kernel[num_inputs:-1] @ gates
        before[layer] = recurrent.LSTMState(hidden, cell)
        if layer > 0 or kernels.projection:
            from_above = kernel[:num_inputs] @ gates
    projection_sums = sums.projection
    if kernels.projection:
        projected = records[0].inputs[: from_above.shape[0]]
        # The derivative of elu(x) is 1 for x > 0 and exp(x) = elu(x) + 1 elsewhere.
        linear = from_above * tf.minimum(projected + 1, 1)
        stacked = tf.concat([features, tf.ones_like(features[:1])], axis=0)
        share = tf.linalg.matmul(linear, stacked, transpose_b=True)
        projection_sums = (projection_sums[0] + share,)
    return Kernels(projection_sums, tuple(gate_sums), output_sum), tuple(before)


def _layer_back(record, state, from_above):
    """Cotangents of the gates before their activations [4 H, N] and of the last cell state."""
    i, j, f, o = tf.split(record.gates, 4, axis=0)
    squashed = record.squashed
    hidden = state.hidden + from_above
    cell = state.cell + hidden * o * (1 - squashed * squashed)
    gates = [
        cell * j * i * (1 - i),
        cell * i * (1 - j * j),
        cell * record.cell * f * (1 - f),
        hidden * squashed * o * (1 - o),
    ]
    return tf.concat(gates, axis=0), cell * f


def _write(arrays, t, values):
    written = [
        a.write(t, v) for a, v in zip(tf.nest.flatten(arrays), tf.nest.flatten(values))
    ]
    return tf.nest.pack_sequence_as(arrays, written)
