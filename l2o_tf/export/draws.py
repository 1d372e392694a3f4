"""The draws of `seeds` for many seeds at once: the same bits, from one Philox over all of them.

`tf.random.stateless_*` takes one seed, and does not vectorise over several. Source: Salmon et al.
2011, "Parallel random numbers: as easy as 1, 2, 3"; TensorFlow `random_ops_util.h`, GenerateKey.
"""

import math
from collections.abc import Sequence

import tensorflow as tf

from l2o_tf.core import seeds

_MULTIPLIERS = 0xD2511F53, 0xCD9E8D57
_WEYL = 0x9E3779B9, 0xBB67AE85
_KEY_OF_SEEDS = 0x3EC8F720, 0x02461E29
_ROUNDS = 10


def fold(seed: tf.Tensor, *indices: int | tf.Tensor) -> tf.Tensor:
    """`seeds.fold` for seeds int32 [..., 2] and indices that broadcast against [...].

    Seeds that are the same for several indices are not to be repeated before: XLA's simplifier
    goes round in circles on slices of what is broadcast.
    """
    for index in indices:
        word, index = tf.bitcast(_words(seed, 1)[..., 0], tf.int32), tf.cast(index, tf.int32)
        shape = tf.broadcast_static_shape(word.shape, index.shape)
        seed = tf.stack([tf.broadcast_to(word, shape), tf.broadcast_to(index, shape)], axis=-1)
    return seed


def integers(seed: tf.Tensor, count: int, limit: int) -> tf.Tensor:
    """`seeds.uniform(seed, [count], 0, limit, tf.int32)` for seeds [..., 2]: [..., count]."""
    words = _words(seed, count)
    return tf.bitcast(words % tf.constant(limit, tf.uint32), tf.int32)


def unit_interval(seed: tf.Tensor, count: int) -> tf.Tensor:
    """`seeds.uniform(seed, [count])` for seeds [..., 2]: [..., count]."""
    return (tf.cast(integers(seed, count, 2**23), tf.float32) + 0.5) * 2.0**-23


def choice(seed: tf.Tensor, probabilities: Sequence[float]) -> tf.Tensor:
    """`mixture.draw(seed, probabilities)` for seeds [K, 2]: int32 [K]."""
    limits = tf.cumsum(tf.constant(probabilities, tf.float32))
    index = tf.reduce_sum(tf.cast(unit_interval(seed, 1) >= limits, tf.int32), axis=1)
    return tf.minimum(index, len(probabilities) - 1)


def uniform(seed: tf.Tensor, shape: list[int], low: float, high: float) -> tf.Tensor:
    """`seeds.uniform(seed, shape, low, high)` for seeds [K, 2]: [K, *shape]."""
    unit = tf.reshape(unit_interval(seed, math.prod(shape)), [seed.shape[0], *shape])
    return low + (high - low) * unit


def normal(seed: tf.Tensor, shape: list[int], stddev: float) -> tf.Tensor:
    """`seeds.normal(seed, shape, stddev)` for seeds [K, 2]: [K, *shape]."""
    probability = tf.reshape(unit_interval(seed, math.prod(shape)), [seed.shape[0], *shape])
    return seeds.normal_quantile(probability, stddev)


def _words(seed: tf.Tensor, count: int) -> tf.Tensor:
    """The first `count` random words, uint32 [..., count], of seeds [..., 2]."""
    low = tf.bitcast(seed, tf.uint32)
    # Seeds are widened to 64 bits with their sign.
    high = tf.bitcast(tf.bitwise.right_shift(seed, 31), tf.uint32)
    counter = [low[..., 0], high[..., 0], low[..., 1], high[..., 1]]
    key = [tf.constant(word, tf.uint32) for word in _KEY_OF_SEEDS]
    mixed = [word[..., None] for word in _philox(counter, key)]
    groups = tf.cast(tf.range(-(-count // 4)), tf.uint32)
    groups = groups + tf.zeros_like(mixed[0])
    zeros = tf.zeros_like(groups)
    counter = [groups, zeros, mixed[2] + zeros, mixed[3] + zeros]
    words = tf.stack(_philox(counter, mixed[:2]), axis=-1)
    return tf.reshape(words, [*seed.shape[:-1], 4 * groups.shape[-1]])[..., :count]


def _philox(counter, key):
    a, b, c, d = counter
    for i in range(_ROUNDS):
        key = [k + tf.constant(w, tf.uint32) for k, w in zip(key, _WEYL)] if i else key
        high_a, low_a = _product(_MULTIPLIERS[0], a)
        high_c, low_c = _product(_MULTIPLIERS[1], c)
        xor = tf.bitwise.bitwise_xor
        a, b, c, d = xor(xor(high_c, b), key[0]), low_c, xor(xor(high_a, d), key[1]), low_a
    return a, b, c, d


def _product(multiplier: int, word: tf.Tensor):
    """The upper and the lower 32 bits of a product of words."""
    product = tf.cast(word, tf.uint64) * tf.constant(multiplier, tf.uint64)
    upper = tf.bitwise.right_shift(product, tf.constant(32, tf.uint64))
    return tf.cast(upper, tf.uint32), tf.cast(product, tf.uint32)
