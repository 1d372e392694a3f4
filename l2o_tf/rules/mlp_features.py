"""What the rule `mlp` sees of a tensor: moments of its gradient, full and factored."""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from l2o_tf.core import squares

EPSILON = 1e-9  # Of all means of squares by whose root something is scaled.
NUM_FEATURES = 30
NORMALISED_MOMENTUM = 7  # Where m / sqrt(v) with the first of the decays is.
_DECAYS = (0.9, 0.99, 0.999)  # Of momenta and of factored and unfactored second moments.
_SECOND_DECAY = 0.95
_MAX_GRADIENT = 1000.0
_MAX_SMALL = 0.1


class MatrixState(NamedTuple):
    """Accumulators of a tensor of rank 2 and more, d0 and d1 being its longest axes.

    Attributes:
        momenta: [3, *shape], of the gradient.
        second: [*shape], of its square.
        rows: [3, *shape] but for 1 in axis d0, of the square's mean over d0.
        columns: [3, *shape] but for 1 in axis d1, of the square's mean over d1.
    """

    momenta: tf.Tensor
    second: tf.Tensor
    rows: tf.Tensor
    columns: tf.Tensor


class VectorState(NamedTuple):
    """Accumulators of n coordinates without an axis to factor: [3, n], [n] and [3, n]."""

    momenta: tf.Tensor
    second: tf.Tensor
    squares: tf.Tensor


class Seen(NamedTuple):
    """The features of a tensor.

    Attributes:
        full: those that differ in all coordinates, 15 or 18, each shaped like the tensor.
        scales: [len(full), ...], what each is multiplied with to have a root mean square of 1
            over the last two axes.
        lines: those of a matrix that are constant along d0, and along d1, scaled: [6, ...] each.
    """

    full: list[tf.Tensor]
    scales: tf.Tensor
    lines: list[tf.Tensor]


def factored_axes(shape: tf.TensorShape) -> tuple[int, int]:
    """The longest axis of a tensor of rank 2 and more, d0, and the second longest, d1."""
    order = np.argsort(shape, kind="stable")
    return int(order[-1]), int(order[-2])


def initial(p: tf.Tensor) -> MatrixState | VectorState:
    """The accumulators before the first step."""

    def zeros(*shape):
        return tf.zeros(shape, p.dtype)

    shape = tuple(p.shape)
    if len(shape) < 2:
        n = shape[0] if shape else 1
        return VectorState(zeros(3, n), zeros(n), zeros(3, n))
    without = [
        tuple(1 if axis == d else n for axis, n in enumerate(shape)) for d in factored_axes(p.shape)
    ]
    return MatrixState(
        zeros(3, *shape), zeros(*shape), zeros(3, *without[0]), zeros(3, *without[1])
    )


def see(
    grad: tf.Tensor, state: MatrixState | VectorState, p: tf.Tensor
) -> tuple[Seen, MatrixState | VectorState]:
    """Updates the accumulators with a gradient and makes features of them.

    Args:
        grad: the gradient, shaped like the tensor.
        state: the accumulators before the step.
        p: the tensor.

    Returns:
        The features, where a scalar counts as a vector of one, and the accumulators after the
        step.
    """
    if isinstance(state, VectorState):
        n = state.second.shape[0]
        return _see_vector(tf.reshape(grad, [n]), state, tf.reshape(p, [n]))
    return _see_matrix(grad, state, p)


def parts(kernel: tf.Tensor, seen: Seen) -> tuple[tf.Tensor, list[tf.Tensor]]:
    """The weights [NUM_FEATURES, units] of the features `seen.full`, and of each of `seen.lines`.

    The published order: what all tensors have, r, c, their inverse roots, m f_row f_col.
    """
    common, rows, columns, row_roots, column_roots, factored = tf.split(
        kernel, [NUM_FEATURES - 15, 3, 3, 3, 3, 3]
    )
    if not seen.lines:
        return common, []
    lines = [tf.concat(pair, axis=0) for pair in ((rows, row_roots), (columns, column_roots))]
    return tf.concat([common, factored], axis=0), lines


def mean_square(*factors: tf.Tensor) -> tf.Tensor:
    """The mean of the square of a product over the last two axes, or the only one; kept as 1."""
    return tf.reduce_mean(_mean_square_of_rows(*factors), axis=-1, keepdims=True)


def _mean_square_of_rows(*factors):
    """`mean_square` over the last axis but one, or the only one; kept as 1."""
    shape = factors[0].shape
    axis = -2 if shape.rank >= 2 else -1
    sums = squares.partial_sums(*factors, axis=axis)
    # One axis after the other: XLA's loops over several have no vector instructions on CPUs.
    return tf.reduce_sum(sums, axis=axis, keepdims=True) / max(shape[axis], 1)


def _see_vector(grad, state, p):
    grad, square, momenta, second = _moments(grad, state)
    unfactored = _averaged(state.squares, square)
    factors = tf.math.rsqrt(tf.maximum(unfactored + EPSILON, EPSILON))
    factored = [(grad, factor) for factor in tf.unstack(factors)]
    full = _common(grad, p, tf.unstack(momenta), second, factored)
    return _seen(full, []), VectorState(momenta, second, unfactored)


def _see_matrix(grad, state, p):
    d0, d1 = factored_axes(p.shape)
    grad, square, momenta, second = _moments(grad, state)
    rows = _averaged(state.rows, tf.reduce_mean(square, axis=d0, keepdims=True))
    columns = _averaged(state.columns, tf.reduce_mean(square, axis=d1, keepdims=True))
    mean = tf.reduce_mean(rows, axis=d1 + 1, keepdims=True)
    row_factors = tf.math.rsqrt(tf.maximum(rows / (mean + EPSILON), EPSILON))
    column_factors = tf.math.rsqrt(tf.maximum(columns, EPSILON))
    factors = list(zip(tf.unstack(row_factors), tf.unstack(column_factors)))
    each = tf.unstack(momenta)
    full = _common(grad, p, each, second, [(grad, *pair) for pair in factors])
    full += [(m, *pair) for m, pair in zip(each, factors)]
    lines = [tf.concat([line, tf.math.rsqrt(line + 1e-8)], axis=0) for line in (rows, columns)]
    return _seen(full, lines), MatrixState(momenta, second, rows, columns)


def _moments(grad, state):
    grad = tf.clip_by_value(grad, -_MAX_GRADIENT, _MAX_GRADIENT)
    square = tf.square(grad)
    second = _SECOND_DECAY * state.second + (1 - _SECOND_DECAY) * square
    return grad, square + 1e-30, _averaged(state.momenta, grad), second


def _averaged(average, x):
    """Moves averages [3, ...] towards x [...]."""
    decays = tf.reshape(tf.constant(_DECAYS, x.dtype), [3, *[1] * x.shape.rank])
    return decays * average + (1 - decays) * x


def _common(grad, p, momenta, second, factored):
    """The features that tensors of any rank have, 15, each the factors of a product."""
    small = tf.clip_by_value(grad, -_MAX_SMALL, _MAX_SMALL)
    root = tf.math.rsqrt(second + 1e-8)
    alone = [(x,) for x in (grad, small, p, *momenta, second)]
    return [*alone, *((m, root) for m in momenta), (root,), *factored, (grad, root)]


def _seen(full, lines):
    # The products are computed twice, as XLA else keeps each in memory; but one sum for all.
    means = tf.stack([_mean_square_of_rows(*factors) for factors in full])
    scales = tf.math.rsqrt(tf.reduce_mean(means, axis=-1, keepdims=True) + EPSILON)
    scaled = [line * tf.math.rsqrt(mean_square(line) + EPSILON) for line in lines]
    return Seen([squares.product(factors) for factors in full], scales, scaled)
