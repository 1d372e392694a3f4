"""How long epochs and unrolls are, where that is random."""

import math
from typing import NamedTuple

import tensorflow as tf

from l2o_tf.core import errors, seeds

_UNLIMITED = 1 << 20
_COUNT, _LENGTH = range(2)  # What the seed of an epoch is folded with.


class RandomLength(NamedTuple):
    """A number of steps or unrolls, min(round(Exp(mean scale)) + minimum, maximum).

    Source: legacy L2O-Scale `metaopt.py`: minimum 50 and scale 200 for the steps of an unroll, 1
    and 40 for the unrolls of an epoch; the paper's own training code has 10 and 20, and 10 and
    40, both with a maximum of 30.
    """

    minimum: int
    scale: float
    maximum: int = _UNLIMITED

    def draw(self, seed: seeds.Seed) -> tf.Tensor:
        """Draws an int32 scalar from `seed`, int32 [2]."""
        exponential = -self.scale * tf.math.log(seeds.uniform(seed, []))
        number = tf.cast(tf.round(exponential), tf.int32) + self.minimum
        return tf.minimum(number, self.maximum)


class RandomLengths(NamedTuple):
    """The lengths of epochs: `unrolls` of them, of `steps` each: the recipe of L2O-Scale-Meta."""

    unrolls: RandomLength
    steps: RandomLength

    def num_unrolls(self, seed: seeds.Seed) -> tf.Tensor:
        """The number of unrolls of the epoch of `seed`, an int32 scalar."""
        return self.unrolls.draw(seeds.fold(seed, _COUNT))

    def num_steps(self, seed: seeds.Seed, unroll: int | tf.Tensor) -> tf.Tensor:
        """The number of steps of one unroll of the epoch of `seed`, an int32 scalar."""
        return self.steps.draw(seeds.fold(seed, _LENGTH, unroll))


class LogUniformSteps(NamedTuple):
    """Epochs of exp(U(ln minimum, ln maximum)) steps, in unrolls of a fixed length.

    Source: Celo2 (arXiv 2602.19142), which trains on 100 to 2,000 steps.
    """

    minimum: int
    maximum: int

    def num_unrolls(self, seed: seeds.Seed, unroll_length: int) -> tf.Tensor:
        """The number of unrolls of the epoch of `seed`, an int32 scalar, at least 1."""
        low, high = (math.log(number / unroll_length) for number in self)
        drawn = tf.exp(seeds.uniform(seeds.fold(seed, _COUNT), [], low, high))
        return tf.maximum(tf.cast(tf.round(drawn), tf.int32), 1)


def parse(numbers: tuple[float, ...], what: str) -> RandomLength:
    """Reads "minimum,scale,maximum" or "minimum,scale".

    Raises:
        InputError: unless they are whole positive numbers and a positive scale, in this order.
    """
    valid = len(numbers) in (2, 3) and numbers[0] >= 1 and numbers[1] > 0
    valid = valid and max(numbers) <= _UNLIMITED
    valid = valid and all(number == int(number) for number in (numbers[0], *numbers[2:]))
    if not valid or (len(numbers) == 3 and numbers[2] < numbers[0]):
        raise errors.InputError(
            f"--{what}={','.join(map(str, numbers))} must be minimum,scale or "
            "minimum,scale,maximum, with whole numbers for minimum <= maximum, none of them "
            f"above {_UNLIMITED}"
        )
    return RandomLength(int(numbers[0]), numbers[1], *map(int, numbers[2:]))
