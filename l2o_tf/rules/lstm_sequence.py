"""The network of L2O-DM and RNNprop on a known sequence of inputs, with its backward pass by hand.

`recurrent` says what the network is; this module computes the same faster. What makes it fast on
CPUs (measured in docs/performance.md): the loop over time is a TensorFlow loop, in which a tensor
is recorded and read back without a copy, and its body is one XLA call; inside an XLA loop the
slices of recorded tensors keep the compiler from vectorising all that reads them. The gates are
recorded, so that the backward pass computes no transcendental function; a sigmoid is a tanh,
sigmoid(x) = (1 + tanh(x / 2)) / 2, so that with scaled weights one pass computes all gates; a row
of ones under the inputs makes biases part of the products.

Shapes: N coordinates, H units of a layer, I its inputs; everything is features-major.
"""

import math
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from l2o_tf.core import loops
from l2o_tf.rules import base, recurrent

# Coordinates x steps of one block. With 2 layers of 20 units its record takes 1.3 kB for each.
BLOCK_SIZE = 2**19
_ALIGNMENT = 16  # Rows that start on a cache line save 7 % of the time.

States = tuple[recurrent.LSTMState, ...]


class LayerRecord(NamedTuple):
    """What the backward pass needs of one layer and step.

    Attributes:
        inputs: [I + H + 1, N], the layer's inputs, its hidden state before the step, ones.
        tanh: [4 H, N], the tanh of the scaled gates i, j, f, o.
        squashed: [H, N], tanh of the cell state after the step.
    """

    inputs: tf.Tensor
    tanh: tf.Tensor
    squashed: tf.Tensor


class StepRecord(NamedTuple):
    """What the backward pass needs of one step.

    Attributes:
        features: [num_features, N]; () without input projection.
        layers: a record for each layer.
    """

    features: tf.Tensor
    layers: tuple[LayerRecord, ...]


class Kernels(NamedTuple):
    """The weights as the steps use them: outputs first, biases in the last column.

    Attributes:
        projection: of the input projection, [num_projected, num_features + 1]; () without one.
        gates: for each layer, [4 H, I + H + 1], the rows of i, f and o halved, the forget bias
            added.
        output: [1, H + 1].
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
    blocks = num_blocks(num_coordinates, num_steps)

    def to_blocks(x):
        x = pad(x, blocks)
        x = tf.reshape(x, [*x.shape[:-1], blocks, x.shape[-1] // blocks])
        return tf.transpose(x, [x.shape.rank - 2, *range(x.shape.rank - 2), x.shape.rank - 1])

    def from_blocks(x):
        x = tf.transpose(x, [*range(1, x.shape.rank - 1), 0, x.shape.rank - 1])
        x = tf.reshape(x, [*x.shape[:-2], x.shape[-2] * x.shape[-1]])
        return x[..., :num_coordinates]

    states = tf.nest.map_structure(to_blocks, states)
    outputs, states = _run_blocks(to_kernels(weights), to_blocks(features), states)
    return from_blocks(outputs), tf.nest.map_structure(from_blocks, states)


def pad(x: tf.Tensor, blocks: int = 1) -> tf.Tensor:
    """Appends zeros to [..., N] up to `blocks` aligned blocks of the same size.

    Coordinates that are zeros and have zero cotangents add nothing to any gradient.
    """
    padding = -x.shape[-1] % (blocks * _ALIGNMENT)
    return tf.pad(x, [[0, 0]] * (x.shape.rank - 1) + [[0, padding]])


def num_blocks(num_coordinates: int, num_steps: int) -> int:
    """The number of blocks in which coordinates are differentiated over a sequence of steps."""
    return math.ceil(num_coordinates * num_steps / BLOCK_SIZE)


def to_kernels(weights: base.Weights) -> Kernels:
    """Prepares weights, named as by `recurrent.initial_weights`."""

    def kernel(module, w="w", b="b"):
        columns = [tf.transpose(weights[f"{module}/{w}"]), weights[f"{module}/{b}"][:, None]]
        return tf.concat(columns, axis=1)

    def gate_kernel(module):
        plain = kernel(module, "w_gates", "b_gates")
        bias = _for_gates(plain, 0, 0, recurrent.FORGET_BIAS, 0)
        return tf.concat([plain[:, :-1], plain[:, -1:] + bias], axis=1) * _scale(plain)

    num_layers = sum(name.startswith("lstm_") for name in weights) // 2
    return Kernels(
        (kernel("input_projection"),) if "input_projection/w" in weights else (),
        tuple(gate_kernel(f"lstm_{i}") for i in range(1, num_layers + 1)),
        kernel("linear"),
    )


def to_gradient(kernels: Kernels) -> base.Weights:
    """Maps the gradient with respect to `to_kernels(weights)` to that of the weights."""
    gradient = {}

    def split(kernel, module, w="w", b="b"):
        gradient[f"{module}/{w}"] = tf.transpose(kernel[:, :-1])
        gradient[f"{module}/{b}"] = kernel[:, -1]

    for kernel in kernels.projection:
        split(kernel, "input_projection")
    for i, kernel in enumerate(kernels.gates, 1):
        split(kernel * _scale(kernel), f"lstm_{i}", "w_gates", "b_gates")
    split(kernels.output, "linear")
    return gradient


def _scale(kernel):
    return _for_gates(kernel, 0.5, 1, 0.5, 0.5)


def _for_gates(kernel, *numbers):
    """One number for each gate i, j, f, o, repeated for the units of a layer: [4 units, 1]."""
    return tf.constant(np.repeat(numbers, kernel.shape[0] // 4)[:, None], kernel.dtype)


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
                record = (
                    records[0] if keep else _forward(kernels, features[b], _at(states, b), True)[2]
                )
                return backward(kernels, record, output_cotangents[b], _at(end_cotangents, b))

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


def _for_blocks(function, count, like):
    """Stacks function(b) over the blocks, one after the other for the sake of memory."""
    if count == 1:
        return tf.nest.map_structure(lambda x: x[None], function(0))
    return loops.scan(lambda carry, b: (carry, function(b)), (), count, like)[1]


def _forward(kernels, features, states, keep):
    """Runs one block.

    Returns:
        The outputs [num_steps, N], the states after the last step and, to `keep` them, what
        `backward` takes as records.
    """

    def run_step(states, t):
        output, after, record = _compiled_step(kernels, features[t], states)
        return after, (output, (kept(states), record) if keep else ())

    output, _, record = loops.output_specs(_compiled_step, kernels, features[0], states)
    like = (output, (kept(states), record) if keep else ())
    states, (outputs, records) = loops.record(run_step, states, features.shape[0], like)
    return outputs.stack(), states, records


def kept(states: States) -> tuple[tf.Tensor, ...]:
    """What `backward` needs of the states before a step."""
    # Not in the record that the compiled step returns, because it would have to be copied.
    return tuple(state.cell for state in states)


def backward(
    kernels: Kernels,
    records: tuple[tuple[tf.Tensor, ...], StepRecord],
    output_cotangents: tf.Tensor,
    end_cotangents: States | None = None,
) -> tuple[Kernels, States]:
    """Differentiates a sequence of steps.

    Args:
        kernels: what the steps were run with.
        records: what `kept` and `step` returned for each step, with tensor arrays in place of
            tensors.
        output_cotangents: [num_steps, N].
        end_cotangents: the cotangents of the states after the last step, 0 by default.

    Returns:
        The cotangents of the kernels and of the states before the first step.
    """
    num_steps = output_cotangents.shape[0]
    cotangents = tf.TensorArray(output_cotangents.dtype, num_steps).unstack(output_cotangents)

    def one_back(carry, recorded):
        (cells, record), cotangent = recorded
        return _compiled_step_back(kernels.output, transposed, record, cells, cotangent, *carry)

    # Transposed once and not in each step, where XLA would fold it into a slower product.
    transposed = [tf.transpose(kernel[:, :-1]) for kernel in kernels.gates]
    zeros = tf.nest.map_structure(tf.zeros_like, kernels)
    if end_cotangents is None:
        units = tuple(kernel.shape[0] // 4 for kernel in kernels.gates)
        end_cotangents = recurrent.initial_state(
            units, output_cotangents.shape[1], output_cotangents.dtype
        )
    return loops.reverse(one_back, (zeros, end_cotangents), num_steps, (records, cotangents))


def step(
    kernels: Kernels, features: tf.Tensor, states: States
) -> tuple[tf.Tensor, States, StepRecord]:
    """Computes one step.

    Args:
        kernels: the weights.
        features: [num_features, N].
        states: the states before the step.

    Returns:
        The outputs [N], the states after the step and what `backward` needs of it.
    """
    ones = tf.ones_like(features[:1])
    inputs = _projected(kernels.projection[0], features) if kernels.projection else features
    next_states, records = [], []
    for kernel, state in zip(kernels.gates, states):
        stacked = tf.concat([inputs, state.hidden, ones], axis=0)
        tanh = tf.tanh(kernel @ stacked)
        i, j, f, o = _activations(tanh)
        cell = state.cell * f + i * j
        squashed = tf.tanh(cell)
        inputs = squashed * o
        next_states.append(recurrent.LSTMState(inputs, cell))
        records.append(LayerRecord(stacked, tanh, squashed))
    output = (kernels.output[:, :-1] @ inputs)[0] + kernels.output[0, -1]
    record = StepRecord(features if kernels.projection else (), tuple(records))
    return output, tuple(next_states), record


_compiled_step = loops.compiled(step)


def _projected(kernel, features):
    return tf.nn.elu(kernel[:, :-1] @ features + kernel[:, -1:])


def _activations(tanh):
    i, j, f, o = tf.split(tanh, 4, axis=0)
    return 0.5 + 0.5 * i, j, 0.5 + 0.5 * f, 0.5 + 0.5 * o


def step_back(output_kernel, transposed, record, cells, output_cotangent, sums, states):
    """Backpropagates through one step.

    Args:
        output_kernel: [1, H + 1].
        transposed: for each layer, the kernel of the gates without biases, [I + H, 4 H].
        record: what `step` recorded.
        cells: for each layer, the cell state before the step.
        output_cotangent: [N].
        sums: cotangents of the kernels from the later steps.
        states: cotangents of the states after the step.

    Returns:
        The sums with this step's share, and the cotangents of the states before the step.
    """
    features, records = record
    top = records[-1]
    hidden = top.squashed * _activations(top.tanh)[3]
    # With a second row this is a matrix product; XLA computes one with a vector far slower.
    rows = tf.stack([output_cotangent, tf.zeros_like(output_cotangent)])
    share = tf.linalg.matmul(rows, hidden, transpose_b=True)[:1]
    bias_share = tf.reduce_sum(output_cotangent)[None, None]
    output_sum = sums.output + tf.concat([share, bias_share], axis=1)
    from_above = tf.transpose(output_kernel[:, :-1]) * output_cotangent
    gate_sums, before = list(sums.gates), list(states)
    for layer in reversed(range(len(records))):
        kernel = transposed[layer]
        gates, cell = _layer_back(records[layer], cells[layer], states[layer], from_above)
        gate_sums[layer] += tf.linalg.matmul(gates, records[layer].inputs, transpose_b=True)
        num_inputs = kernel.shape[0] - cell.shape[0]
        before[layer] = recurrent.LSTMState(kernel[num_inputs:] @ gates, cell)
        if layer > 0 or sums.projection:
            from_above = kernel[:num_inputs] @ gates
    projection_sums = sums.projection
    if projection_sums:
        projected = records[0].inputs[: from_above.shape[0]]
        # The derivative of elu(x) is 1 for x > 0 and exp(x) = elu(x) + 1 elsewhere.
        linear = from_above * tf.minimum(projected + 1, 1)
        stacked = tf.concat([features, tf.ones_like(features[:1])], axis=0)
        share = tf.linalg.matmul(linear, stacked, transpose_b=True)
        projection_sums = (projection_sums[0] + share,)
    return Kernels(projection_sums, tuple(gate_sums), output_sum), tuple(before)


_compiled_step_back = loops.compiled(step_back)


def _layer_back(record, cell_before, state, from_above):
    """Cotangents of the scaled gates [4 H, N] and of the cell state before the step."""
    i, j, f, o = _activations(record.tanh)
    tanh_i, tanh_j, tanh_f, tanh_o = tf.split(record.tanh, 4, axis=0)
    hidden = state.hidden + from_above
    cell = state.cell + hidden * o * (1 - tf.square(record.squashed))
    half = 0.5 * cell
    gates = [
        half * j * (1 - tf.square(tanh_i)),
        cell * i * (1 - tf.square(tanh_j)),
        half * cell_before * (1 - tf.square(tanh_f)),
        0.5 * hidden * record.squashed * (1 - tf.square(tanh_o)),
    ]
    return tf.concat(gates, axis=0), cell * f
