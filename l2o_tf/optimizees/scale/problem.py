"""What the problems of L2O-Scale share: known shapes, random starts, and all data at once."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from l2o_tf.core import errors, seeds
from l2o_tf.optimizees import base
from l2o_tf.optimizees.scale import datasets

Shape = tuple[int, ...]


class ExampleBatch(NamedTuple):
    """Data float32 [batch_size, *shape] and labels int32 [batch_size]."""

    data: tf.Tensor
    labels: tf.Tensor


class Problem(base.Optimizee):
    """An optimizee of L2O-Scale's ensemble; parameters start at N(0, 1) unless noted.

    Source: "Learned Optimizers that Scale and Generalize", Wichrowska et al. 2017; legacy
    `problems/problem_generator.py`.

    Attributes:
        param_shapes: the shapes of the parameter tensors.
    """

    def __init__(self, param_shapes: Sequence[Shape]):
        self.param_shapes = [tuple(shape) for shape in param_shapes]

    def init(self, seed: seeds.Seed) -> list[tf.Tensor]:
        return [
            self.initial(seeds.fold(seed, i), shape) for i, shape in enumerate(self.param_shapes)
        ]

    def initial(self, seed: seeds.Seed, shape: Shape) -> tf.Tensor:
        """Draws the start of one parameter tensor."""
        return seeds.normal(seed, shape)

    def batch(self, seed: seeds.Seed, step: int | tf.Tensor) -> base.Batch:
        """Draws the batch number `step` of the trajectory of `seed`."""
        return ()

    def full_batch(self) -> base.Batch:
        """The batch of the objective: all data, once, and no noise in the gradient."""
        return ()

    def scoring_batch(self, seed: seeds.Seed, size: int) -> base.Batch:
        """Like `full_batch`, but on `size` examples drawn from `seed` if there are more."""
        return self.full_batch()


class DataProblem(Problem):
    """A problem with a data set, held in memory and gathered inside the compiled loop."""

    def __init__(self, param_shapes: Sequence[Shape], examples: datasets.Examples, batch_size: int):
        """Keeps the data.

        Args:
            param_shapes: the shapes of the parameter tensors.
            examples: data [num_examples, *shape] and labels [num_examples].
            batch_size: the number of examples in a batch.

        Raises:
            InputError: if there are no data, labels do not match, or the batch is empty.
        """
        super().__init__(param_shapes)
        self.num_examples = len(examples.data)
        if self.num_examples == 0 or examples.labels.shape != (self.num_examples,):
            raise errors.InputError(
                f"labels of shape {examples.labels.shape} for {self.num_examples} examples;"
                " give one label an example"
            )
        if batch_size < 1:
            raise errors.InputError(f"batch_size must be at least 1, got {batch_size}")
        self.batch_size = batch_size
        self._scale = np.float32(examples.scale)
        with tf.init_scope():
            self._data = tf.constant(examples.data)
            self._labels = tf.constant(examples.labels, tf.int32)

    def batch(self, seed: seeds.Seed, step: int | tf.Tensor) -> ExampleBatch:
        return self.sample(seeds.fold(seed, seeds.Stream.MINIBATCHES, step), self.batch_size)

    def sample(self, seed: seeds.Seed, size: int) -> ExampleBatch:
        """Draws `size` examples uniformly, with replacement."""
        return self.gather(seeds.uniform(seed, [size], 0, self.num_examples, tf.int32))

    def gather(self, indices: tf.Tensor) -> ExampleBatch:
        """Returns the examples of the given indices [batch_size]."""
        return self._inputs(tf.gather(self._data, indices), tf.gather(self._labels, indices))

    def full_batch(self) -> ExampleBatch:
        return self._inputs(self._data, self._labels)

    def scoring_batch(self, seed: seeds.Seed, size: int) -> ExampleBatch:
        return self.full_batch() if size >= self.num_examples else self.sample(seed, size)

    def _inputs(self, data: tf.Tensor, labels: tf.Tensor) -> ExampleBatch:
        # Identity: gradients of gradients inside loops cannot capture a tensor from outside of all
        # graphs (TensorFlow 2.21).
        return ExampleBatch(tf.cast(data, tf.float32) * self._scale, tf.identity(labels))


def num_features(examples: datasets.Examples) -> int:
    """The number of features of one example."""
    return math.prod(examples.data.shape[1:])


def gaussian_system(num_dims: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draws w [num_dims, num_dims] and y [num_dims, 1], float32, from N(0, 1).

    The numbers are those of the legacy code for the same `random_seed`.
    """
    rng = np.random.RandomState(seed)
    w = rng.randn(num_dims, num_dims).astype(np.float32)
    return w, rng.randn(num_dims, 1).astype(np.float32)
