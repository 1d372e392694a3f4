"""Explicit random seeds: every random number is a pure function of (run seed, purpose, indices).

A seed is an int32 tensor [2]. Only integers are drawn from `tf.random.stateless_*`, with the
Philox algorithm named: its floats differ between XLA and other graphs (the two take their random
bits from different ends of a word), and so does all that its default algorithm draws.
"""

import enum
import math
import zlib
from typing import TypeAlias

import numpy as np
import tensorflow as tf

ALGORITHM = "philox"
Seed: TypeAlias = tf.Tensor


class Stream(enum.IntEnum):
    """What a seed is folded with, so that independent draws from it are independent.

    The numbers are part of every result: another one makes another run of the same flags.
    """

    # The seed of an epoch, a validation or an evaluation, one trajectory each.
    OPTIMIZEE = 0
    RULE = 1
    STUDENT = 3
    ESTIMATOR = 4
    CHOICES = 5  # Which unrolls imitate.
    SCORING = 6
    PENALTY = 7
    LENGTHS = 8
    TRAJECTORY = 9  # Of those of a meta-step all but the first.
    # The seed that an optimizee is given, which its parameter tensors fold with their indices: no
    # optimizee counts that far.
    MINIBATCHES = 1 << 20
    GRADIENT_NOISE = MINIBATCHES + 1
    # The same number, which is no harm: the noise folds the step and the tensor into it, the
    # scales the tensor alone.
    SCALES = GRADIENT_NOISE
    SPARSITY = MINIBATCHES + 2


def make_seed(run_seed: int, purpose: str) -> Seed:
    """Returns the seed [2] of everything drawn for `purpose` in the run `run_seed`."""
    return tf.constant([run_seed, zlib.crc32(purpose.encode()) & 0x7FFFFFFF], tf.int32)


def fold(seed: Seed, *indices: int | tf.Tensor) -> Seed:
    """Derives a seed [2] from `seed` for one combination of integer `indices`."""
    for index in indices:
        if isinstance(index, int):
            # TensorFlow keeps each Python number that it turns into a tensor for good, 600 bytes.
            index = np.asarray(index, np.int32)
        seed = tf.random.fold_in(seed, tf.cast(index, tf.int32), alg=ALGORITHM)
    return seed


def normal(seed: Seed, shape, stddev=1.0, dtype=tf.float32) -> tf.Tensor:
    """Draws N(0, stddev^2) of the given shape."""
    return normal_quantile(_unit_interval(seed, shape, dtype), stddev)


def truncated_normal(seed: Seed, shape, stddev=1.0, dtype=tf.float32) -> tf.Tensor:
    """Draws a normal distribution cut at two standard deviations."""
    outside = math.erfc(math.sqrt(2))  # The probability of more than two standard deviations.
    quantiles = outside / 2 + (1 - outside) * _unit_interval(seed, shape, dtype)
    return normal_quantile(quantiles, stddev)


def uniform(seed: Seed, shape, low=0.0, high=1.0, dtype=tf.float32) -> tf.Tensor:
    """Draws U(low, high), or integers in [low, high) for an integer dtype."""
    if dtype.is_integer:
        return tf.random.stateless_uniform(shape, seed, low, high, dtype=dtype, alg=ALGORITHM)
    return low + (high - low) * _unit_interval(seed, shape, dtype)


def _unit_interval(seed: Seed, shape, dtype: tf.DType) -> tf.Tensor:
    """Numbers strictly between 0 and 1: the middles of 2^23 equal intervals."""
    bits = tf.random.stateless_uniform(shape, seed, 0, 2**23, dtype=tf.int32, alg=ALGORITHM)
    return (tf.cast(bits, dtype) + 0.5) * 2.0**-23


def normal_quantile(probability: tf.Tensor, stddev: float) -> tf.Tensor:
    """Maps probabilities to quantiles of N(0, stddev^2)."""
    # One factor, because graph optimizers contract two and round differently.
    return tf.math.erfinv(2 * probability - 1) * (math.sqrt(2) * stddev)
