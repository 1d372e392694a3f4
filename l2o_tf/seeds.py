"""Explicit random seeds: every random number is a pure function of (run seed, purpose, indices).

A seed is an int32 tensor [2]. The Philox algorithm is named everywhere, because the default
algorithm of `tf.random.stateless_*` draws different numbers under XLA than outside it.
"""

import zlib

import tensorflow as tf

ALGORITHM = "philox"
Seed = tf.Tensor


def make_seed(run_seed: int, purpose: str) -> Seed:
    """Returns the seed [2] of everything drawn for `purpose` in the run `run_seed`."""
    return tf.constant([run_seed, zlib.crc32(purpose.encode()) & 0x7FFFFFFF], tf.int32)


def fold(seed: Seed, *indices: int | tf.Tensor) -> Seed:
    """Derives a seed [2] from `seed` for one combination of integer `indices`."""
    for index in indices:
        seed = tf.random.fold_in(seed, tf.cast(index, tf.int32), alg=ALGORITHM)
    return seed


def normal(seed: Seed, shape, stddev=1.0, dtype=tf.float32) -> tf.Tensor:
    """Draws N(0, stddev^2) of the given shape."""
    return tf.random.stateless_normal(shape, seed, stddev=stddev, dtype=dtype, alg=ALGORITHM)


def truncated_normal(seed: Seed, shape, stddev=1.0, dtype=tf.float32) -> tf.Tensor:
    """Draws a normal distribution cut at two standard deviations."""
    return tf.random.stateless_truncated_normal(
        shape, seed, stddev=stddev, dtype=dtype, alg=ALGORITHM
    )


def uniform(seed: Seed, shape, low=0.0, high=1.0, dtype=tf.float32) -> tf.Tensor:
    """Draws U(low, high), or integers in [low, high) for an integer dtype."""
    return tf.random.stateless_uniform(shape, seed, low, high, dtype=dtype, alg=ALGORITHM)
