"""Random scaling of an optimizee's coordinates."""

from typing import NamedTuple

import tensorflow as tf

from l2o_tf.core import errors, seeds
from l2o_tf.optimizees import base

# What shares a scale: nothing, a parameter tensor, all of them, or one of these for a trajectory.
LEVELS = ("coordinate", "tensor", "global", "mixed")


class ScaledBatch(NamedTuple):
    """The batch of the inner optimizee, and the scales s, which broadcast to the parameters."""

    inner: base.Batch
    scales: list[tf.Tensor]


class RandomScaling(base.Optimizee):
    """f(s * theta) for an optimizee f, started at theta_0 / s, with s = exp(U(-bound, bound)).

    Each coordinate has its own s, or all of a tensor share one, or all of all tensors ("global"),
    or the trajectory draws one of these levels ("mixed"), all from the trajectory's seed; the start
    and the batches of f are those that f alone has for the seed. Source: RNNprop's paper (Lv et al.
    2017), "Random Scaling"; legacy `util.py`, rd_scale; the levels are the task augmentation of
    Celo2 (arXiv 2602.19142).
    """

    def __init__(self, inner: base.Optimizee, bound: float = 3.0, level: str = "coordinate"):
        """Wraps `inner`.

        Raises:
            InputError: if `bound` is not a positive number, or there is no such level.
        """
        if level not in LEVELS:
            raise errors.InputError(f"unknown level {level!r} of scaling: {', '.join(LEVELS)}")
        if not 0 < bound < float("inf"):
            raise errors.InputError(f"the bound of random scaling must be positive, got {bound}")
        self.inner, self.bound, self.level = inner, bound, level
        self.compiles = inner.compiles
        # Traced, not run: only the shapes are needed.
        trace = tf.function(inner.init).get_concrete_function(tf.TensorSpec([2], tf.int32))
        self._shapes = [p.shape for p in trace.structured_outputs]

    def init(self, seed):
        return [p / s for p, s in zip(self.inner.init(seed), self._scales(seed), strict=True)]

    def batch(self, seed, step):
        return self.batches(seed)(step)

    def batches(self, seed):
        inner, scales = self.inner.batches(seed), self._scales(seed)
        return lambda step: ScaledBatch(inner(step), scales)

    def loss(self, params, batch):
        scaled = [p * tf.cast(s, p.dtype) for p, s in zip(params, batch.scales, strict=True)]
        return self.inner.loss(scaled, batch.inner)

    def _scales(self, seed: seeds.Seed) -> list[tf.Tensor]:
        seed = seeds.fold(seed, seeds.Stream.SCALES)
        if self.level != "mixed":
            return [tf.exp(log) for log in self._logs(seed, self.level)]
        by_level = [self._logs(seed, level) for level in LEVELS[:-1]]
        drawn = seeds.uniform(seeds.fold(seed, len(self._shapes) + 1), [], 0, 3, tf.int32)
        return [
            tf.exp(tf.where(drawn == 0, own, tf.where(drawn == 1, tensors, shared)))
            for own, tensors, shared in zip(*by_level)
        ]

    def _logs(self, seed: seeds.Seed, level: str) -> list[tf.Tensor]:
        number = len(self._shapes)
        if level == "global":
            # No tensor has this index.
            log = seeds.uniform(seeds.fold(seed, number), [], -self.bound, self.bound)
            return [log] * number
        shapes = self._shapes if level == "coordinate" else [[]] * number
        return [
            seeds.uniform(seeds.fold(seed, i), shape, -self.bound, self.bound)
            for i, shape in enumerate(shapes)
        ]
