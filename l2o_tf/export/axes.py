"""Functions of one lane over the first axes of tensors, which are lanes."""

from typing import Any

import tensorflow as tf

from l2o_tf.core import loops
from l2o_tf.rules import base


def mapped(function, *arguments):
    """`function` of one lane, over the first axes of all tensors in `arguments`."""
    if not tf.nest.flatten(arguments):
        return function(*arguments)
    return tf.vectorized_map(
        lambda packed: function(*packed), arguments, fallback_to_while_loop=False
    )


def specs(function, *arguments):
    """What a function returns for `arguments`, as specifications."""
    specs = tf.nest.map_structure(lambda x: tf.TensorSpec(x.shape, x.dtype), arguments)
    return loops.in_graph(function).get_concrete_function(*specs).structured_outputs


def repeat(nest: Any, count: int) -> Any:
    """Copies of a nest of tensors [...] as [count, ...]."""
    return tf.nest.map_structure(
        lambda x: tf.repeat(tf.convert_to_tensor(x)[None], count, axis=0), nest
    )


def norms(gradient: base.Weights) -> tf.Tensor:
    """The norms [K] of gradients [K, ...] by name."""
    squares = [tf.square(tf.reshape(g, [g.shape[0], -1])) for g in gradient.values()]
    return tf.sqrt(tf.reduce_sum(tf.concat(squares, axis=1), axis=1))


def along(mask: tf.Tensor, x: tf.Tensor) -> tf.Tensor:
    """A tensor [K] with as many axes as `x`, [K, ...], so that the two broadcast."""
    return tf.reshape(mask, [-1, *[1] * (x.shape.rank - 1)])


def where(mask: tf.Tensor, new: Any, old: Any) -> Any:
    """Nests of tensors [K, ...]: those of `new` in the lanes of `mask`, bool [K]."""
    return tf.nest.map_structure(lambda n, o: tf.where(along(mask, o), n, o), new, old)
