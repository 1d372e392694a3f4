"""Random scaling of an optimizee's coordinates."""

from typing import NamedTuple

import tensorflow as tf

from l2o_tf.core import errors, seeds
from l2o_tf.optimizees import base


class ScaledBatch(NamedTuple):
    """The batch of the inner optimizee, and the scales s, shaped like the parameters."""

    inner: base.Batch
    scales: list[tf.Tensor]


class RandomScaling(base.Optimizee):
    """f(s * theta) for an optimizee f, started at theta_0 / s, with s = exp(U(-bound, bound)).

    Each coordinate has its own s, drawn from the trajectory's seed; the start and the batches of
    f are those that f alone has for the seed. Source: RNNprop's paper (Lv et al. 2017),
    "Random Scaling"; legacy `util.py`, rd_scale.
    """

    def __init__(self, inner: base.Optimizee, bound: float = 3.0):
        """Wraps `inner`.

        Raises:
            InputError: if `bound` is not a positive number.
        """
        if not 0 < bound < float("inf"):
            raise errors.InputError(f"the bound of random scaling must be positive, got {bound}")
        self.inner, self.bound = inner, bound
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
        return [
            tf.exp(seeds.uniform(seeds.fold(seed, i), shape, -self.bound, self.bound))
            for i, shape in enumerate(self._shapes)
        ]
