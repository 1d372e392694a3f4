"""All coordinates of all parameter tensors as one flat tensor, and back.

Coordinate-wise rules treat each number alike, so one matrix product over the concatenation of
all tensors replaces one small product per tensor.
"""

import math
from collections.abc import Sequence

import tensorflow as tf

Params = Sequence[tf.Tensor]


def count(params: Params) -> int:
    """The number of coordinates of `params`, tensors of static shape."""
    return sum(math.prod(p.shape) for p in params)


def flatten(tensors: Params, leading: int = 0) -> tf.Tensor:
    """Concatenates tensors in C order.

    Args:
        tensors: a list of tensors [..., *shape_i] with the same `leading` first axes.
        leading: the number of axes that are kept in front, such as 1 for a time axis.

    Returns:
        A tensor [..., num_coordinates].
    """
    flat = [tf.reshape(t, [*t.shape[:leading], math.prod(t.shape[leading:])]) for t in tensors]
    return tf.concat(flat, axis=-1)


def unflatten(flat: tf.Tensor, like: Params) -> list[tf.Tensor]:
    """Splits [..., num_coordinates] into tensors [..., *shape_i] with the shapes of `like`."""
    parts = tf.split(flat, [math.prod(p.shape) for p in like], axis=-1)
    return [tf.reshape(part, [*flat.shape[:-1], *p.shape]) for part, p in zip(parts, like)]


def dense(grad: tf.Tensor | tf.IndexedSlices, param: tf.Tensor | tf.Variable) -> tf.Tensor:
    """A gradient as a tensor; rows that sparse ones have several times are summed up."""
    if isinstance(grad, tf.IndexedSlices):
        return tf.math.unsorted_segment_sum(grad.values, grad.indices, param.shape[0])
    return tf.convert_to_tensor(grad)
