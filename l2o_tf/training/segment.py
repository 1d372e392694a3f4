"""A segment: one unroll of meta-training and what it is scored by, as one value."""

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from l2o_tf.optimizees.base import Batch, Optimizee
from l2o_tf.rules.base import State, UpdateRule, Weights
from l2o_tf.training import unrolls
from l2o_tf.training.objectives import Objective, SumOfLosses

FirstState = Callable[[Weights, State], State]


class Segment(NamedTuple):
    """Who runs on what, for how long, and what is made of the losses.

    A plan makes the segments of an epoch, an estimator finds their meta-gradients.

    Attributes:
        rule: the learned rule.
        optimizee: what it optimizes.
        batches: the batch of t = 0, ..., max_steps; the last one only scores the end.
        max_steps: the number of steps, T, for which the unroll is compiled.
        objective: what is made of the losses.
        initial_loss: scalar, the loss of the trajectory's first point, for objectives that are
            relative to it.
        scoring_batch: what all points are scored on; None for the batch of each step.
        num_steps: int32 scalar, the number of steps, at most `max_steps`; None for all of them.
        penalty: maps the parameters before step t, and t, to what is added to the objective.
        first_state: maps the weights and the rule's state at the start to that state as a
            function of the weights, where it is one; no gradient flows into the start otherwise.
    """

    rule: UpdateRule
    optimizee: Optimizee
    batches: unrolls.Batches
    max_steps: int
    objective: Objective = SumOfLosses()
    initial_loss: tf.Tensor | None = None
    scoring_batch: Batch | None = None
    num_steps: tf.Tensor | None = None
    penalty: unrolls.Penalty | None = None
    first_state: FirstState | None = None

    @property
    def planned_steps(self) -> int | tf.Tensor:
        """The number of steps that are taken unless the objective ends the unroll early."""
        return self.max_steps if self.num_steps is None else self.num_steps

    @property
    def is_plain(self) -> bool:
        """Whether all steps are taken and scored on their own batches, and on nothing else."""
        return (
            self.scoring_batch is None
            and self.num_steps is None
            and self.penalty is None
            and self.first_state is None
            and self.objective.early_stop is None
            and not self.rule.scores_elsewhere
        )
