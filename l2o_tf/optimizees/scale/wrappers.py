"""Problems made of other problems: noise, sparse gradients, other scales, sums, logs.

What a wrapper does to the gradient alone it does inside `loss`, with random numbers from the
batch: an unroll differentiates the loss as ever and needs to know nothing of it.
"""

from collections.abc import Sequence
from typing import NamedTuple

import tensorflow as tf

from l2o_tf.core import errors, seeds
from l2o_tf.optimizees import base
from l2o_tf.optimizees.scale import problem


class _Wrapper(problem.Problem):
    """Another problem under a changed loss; all else is that of the inner problem."""

    def __init__(self, inner: problem.Problem):
        super().__init__(inner.param_shapes)
        self.inner = inner

    def init(self, seed):
        return self.inner.init(seed)

    def batch(self, seed, step):
        return self.inner.batch(seed, step)

    def full_batch(self):
        return self.inner.full_batch()

    def scoring_batch(self, seed, size):
        return self.inner.scoring_batch(seed, size)


class Rescale(_Wrapper):
    """f(x / scale), started at `scale` times the inner start."""

    def __init__(self, inner: problem.Problem, scale: float):
        if scale == 0:
            raise errors.InputError("a problem cannot be rescaled by 0")
        super().__init__(inner)
        self.scale = scale

    def init(self, seed):
        return [p * self.scale for p in self.inner.init(seed)]

    def loss(self, params, batch):
        return self.inner.loss([p / self.scale for p in params], batch)


class LogObjective(_Wrapper):
    """log(f(x) + 1e-6) - log(1e-6), which is 0 where f is 0."""

    def loss(self, params, batch):
        value = self.inner.loss(params, batch)
        epsilon = tf.constant(1e-6, value.dtype)
        return tf.math.log(value + epsilon) - tf.math.log(epsilon)


class PerturbedBatch(NamedTuple):
    """The batch of the inner problem and tensors shaped like the parameters."""

    inner: base.Batch
    perturbations: list[tf.Tensor]


class _Perturbed(_Wrapper):
    """A wrapper whose batch has a random tensor for every parameter tensor.

    Attributes:
        stream: folded into the seed, so that wrappers around each other draw different numbers.
    """

    stream: seeds.Stream

    def batch(self, seed, step):
        step_seed = seeds.fold(seed, self.stream, step)
        perturbations = [
            self.perturbation(seeds.fold(step_seed, i), shape)
            for i, shape in enumerate(self.param_shapes)
        ]
        return PerturbedBatch(self.inner.batch(seed, step), perturbations)

    def full_batch(self):
        return self._unperturbed(self.inner.full_batch())

    def scoring_batch(self, seed, size):
        return self._unperturbed(self.inner.scoring_batch(seed, size))

    def _unperturbed(self, batch):
        return PerturbedBatch(batch, [self.no_perturbation(s) for s in self.param_shapes])

    def perturbation(self, seed: seeds.Seed, shape: problem.Shape) -> tf.Tensor:
        """Draws what is done to the gradient of one parameter tensor."""
        raise NotImplementedError

    def no_perturbation(self, shape: problem.Shape) -> tf.Tensor:
        """What leaves the gradient of one parameter tensor as it is."""
        raise NotImplementedError


class GradientNoise(_Perturbed):
    """Adds N(0, stddev^2) to every gradient coordinate, new at every step; the loss is the same.

    Source: `noise_stdev` of the legacy `Problem.gradients`.
    """

    stream = seeds.Stream.GRADIENT_NOISE

    def __init__(self, inner: problem.Problem, stddev: float):
        super().__init__(inner)
        self.stddev = stddev

    def perturbation(self, seed, shape):
        return seeds.normal(seed, shape, self.stddev)

    def no_perturbation(self, shape):
        return tf.zeros(shape)

    def loss(self, params, batch):
        # Zero, with the noise as its gradient.
        tilt = tf.add_n(
            [
                tf.reduce_sum(tf.cast(noise, p.dtype) * (p - tf.stop_gradient(p)))
                for p, noise in zip(params, batch.perturbations)
            ]
        )
        return self.inner.loss(params, batch.inner) + tilt


class SparseProblem(_Perturbed):
    """Sets every gradient coordinate to 0 with some probability; the loss is the same.

    Second derivatives are exact: a kept gradient coordinate keeps its derivatives with respect
    to all parameters.
    """

    stream = seeds.Stream.SPARSITY

    def __init__(self, inner: problem.Problem, zero_probability: float = 0.99):
        if not 0 <= zero_probability <= 1:
            raise errors.InputError(f"zero_probability must be from 0 to 1, got {zero_probability}")
        super().__init__(inner)
        self.zero_probability = zero_probability

    def perturbation(self, seed, shape):
        return tf.cast(seeds.uniform(seed, shape) >= self.zero_probability, tf.float32)

    def no_perturbation(self, shape):
        return tf.ones(shape)

    def loss(self, params, batch):
        @tf.custom_gradient
        def masked_loss(*points):
            def gradient(upstream):
                # Computed here, where an outer tape records it, for the second derivatives.
                with tf.GradientTape() as tape:
                    tape.watch(points)
                    value = self.inner.loss(points, batch.inner)
                grads = tape.gradient(value, points, unconnected_gradients="zero")
                return [
                    upstream * tf.cast(mask, g.dtype) * g
                    for g, mask in zip(grads, batch.perturbations)
                ]

            return self.inner.loss(points, batch.inner), gradient

        return masked_loss(*params)


class SumTask(problem.Problem):
    """The sum of problems with parameters of their own, one after the other in one list."""

    def __init__(self, parts: Sequence[problem.Problem]):
        super().__init__([shape for part in parts for shape in part.param_shapes])
        self.parts = list(parts)

    def init(self, seed):
        starts = [part.init(seeds.fold(seed, j)) for j, part in enumerate(self.parts)]
        return [p for start in starts for p in start]

    def batch(self, seed, step):
        return [part.batch(seeds.fold(seed, j), step) for j, part in enumerate(self.parts)]

    def full_batch(self):
        return [part.full_batch() for part in self.parts]

    def scoring_batch(self, seed, size):
        return [part.scoring_batch(seeds.fold(seed, j), size) for j, part in enumerate(self.parts)]

    def loss(self, params, batch):
        losses, first = [], 0
        for part, part_batch in zip(self.parts, batch):
            last = first + len(part.param_shapes)
            losses.append(part.loss(params[first:last], part_batch))
            first = last
        return tf.add_n(losses)
