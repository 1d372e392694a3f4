"""Sums of squares in one pass over memory."""

import functools
import operator
from collections.abc import Iterable

import tensorflow as tf

_MOST_PARTS = 8


def partial_sums(*factors: tf.Tensor, axis: int) -> tf.Tensor:
    """The squares of a product, summed over equal parts of an axis.

    What is left to sum up is a fraction of it. XLA writes what it is to sum up to memory first,
    on CPUs, but computes a sum of a few slices in the loop that reads them.

    Args:
        factors: tensors that broadcast to `[..., n, ...]`, the shape of the first one.
        axis: the axis of length n, counted from the end.

    Returns:
        A tensor [..., n / k, ...], k being at most 8.
    """
    n = factors[0].shape[axis]
    num_parts = next(k for k in range(_MOST_PARTS, 0, -1) if n % k == 0)
    parts = [
        [x] * num_parts if x.shape[axis] == 1 else tf.split(x, num_parts, axis=axis)
        for x in factors
    ]
    return tf.add_n([tf.square(product(part)) for part in zip(*parts)])


def total(x: tf.Tensor) -> tf.Tensor:
    """The sum of the squares of all numbers of a tensor, a scalar."""
    return tf.reduce_sum(partial_sums(tf.reshape(x, [-1]), axis=-1))


def product(factors: Iterable[tf.Tensor]) -> tf.Tensor:
    """The product of one or more tensors, from left to right."""
    return functools.reduce(operator.mul, factors)
