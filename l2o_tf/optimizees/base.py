"""What every optimizee is: something with parameters, a loss and random batches."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from l2o_tf.core import coordinates, registry, seeds

Params = coordinates.Params
Batch = Any  # A nest of tensors, () where the loss needs no data.
Batches = Callable[[tf.Tensor], Batch]  # The batch of each step of a trajectory.

# `dataset` is the one of the paper's experiments; None where the loss needs no data. `options`
# are the factory's further arguments that a command line can give, with their types.
OPTIMIZEES: registry.Registry["Optimizee"] = registry.Registry(
    "optimizee", dataset="mnist", options={}
)
register = OPTIMIZEES.register


class Optimizee:
    """A function to minimise. All methods are pure functions of their arguments.

    `init` and `batch` of one trajectory get the same seed, so that both know what is drawn for
    the trajectory; independent draws fold different numbers into it. A wrapper gives both methods
    of what it wraps the same seed as well.
    """

    # Whether the constructor calls `checks.check`, so that nobody has to.
    checks_itself = False
    # Whether XLA can compile the loss and its gradient; what cannot runs as a graph, slower.
    compiles = True

    def init(self, seed: seeds.Seed) -> list[tf.Tensor]:
        """Draws initial parameters: a list of tensors of static shape, in a fixed order.

        Args:
            seed: int32 [2], the seed of the trajectory.
        """
        raise NotImplementedError

    def loss(self, params: Params, batch: Batch) -> tf.Tensor:
        """The scalar loss of `params` on a batch."""
        raise NotImplementedError

    def batch(self, seed: seeds.Seed, step: tf.Tensor) -> Batch:
        """Draws the batch of one step; what is the same for all steps is drawn with each of them.

        Args:
            seed: int32 [2], the seed of the trajectory: a random problem draws what stays fixed
                along a trajectory from it.
            step: int32 scalar, different for every batch of the trajectory.
        """
        return ()

    def batches(self, seed: seeds.Seed) -> Batches:
        """The batches of a trajectory as a function of the step.

        Equal to `batch`, but a wrapper may draw here what stays fixed along the trajectory: outside
        of the loop over its steps.
        """
        return lambda step: self.batch(seed, step)

    def scoring_batch(self, seed: seeds.Seed, size: int) -> Batch:
        """Draws what all points of an unroll are scored on; only L2O-Scale's problems have it.

        Args:
            seed: int32 [2].
            size: the number of examples, or all data if there are fewer.
        """
        raise NotImplementedError
