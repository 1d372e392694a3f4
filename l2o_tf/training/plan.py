"""What meta-training does with an epoch: how long its unrolls are and what they are scored by."""

import dataclasses

import tensorflow as tf

from l2o_tf.core import seeds
from l2o_tf.core.seeds import Stream
from l2o_tf.optimizees.base import Batch, Optimizee, Params
from l2o_tf.rules.base import UpdateRule
from l2o_tf.training import unrolls
from l2o_tf.training.lengths import LogUniformSteps, RandomLengths
from l2o_tf.training.objectives import Objective, SumOfLosses
from l2o_tf.training.regularizers import Regularizer
from l2o_tf.training.segment import FirstState, Segment


@dataclasses.dataclass(frozen=True)
class Plan:
    """How an epoch of meta-training is cut into segments, whatever the estimator.

    Attributes:
        unroll_length: optimizee steps per meta-step, where lengths are not random.
        objective: what is made of the losses of an unroll.
        scoring_examples: the number of examples, drawn for each unroll, on which all its points
            are scored, or all data if there are fewer; the problem must be one of L2O-Scale's. 0
            scores each point on the minibatch of its step.
        lengths: the lengths of epochs and unrolls if they are random.
        regularizer: what else is added to the objective.
        keep_state: whether a rule starts a normal epoch with the state that it had at the end of
            the one before, as the legacy L2O-Scale does, and not afresh.
        log_uniform: the number of steps of epochs if that alone is random.
    """

    unroll_length: int = 20
    objective: Objective = SumOfLosses()
    scoring_examples: int = 0
    lengths: RandomLengths | None = None
    regularizer: Regularizer | None = None
    keep_state: bool = False
    log_uniform: LogUniformSteps | None = None

    @property
    def max_steps(self) -> int:
        """The number of steps of the longest unroll."""
        return self.unroll_length if self.lengths is None else self.lengths.steps.maximum

    def num_unrolls(self, seed: seeds.Seed, fixed: tf.Tensor) -> tf.Tensor:
        """The number of unrolls of the epoch of `seed`, int32 [2]: `fixed` unless it is random."""
        if self.log_uniform is not None:
            drawn = seeds.fold(seed, Stream.LENGTHS)
            return self.log_uniform.num_unrolls(drawn, self.unroll_length)
        if self.lengths is None:
            return fixed
        return self.lengths.num_unrolls(seeds.fold(seed, Stream.LENGTHS))

    def num_steps(self, seed: seeds.Seed, unroll: tf.Tensor) -> tf.Tensor | None:
        """The number of steps of an unroll of the epoch of `seed`; None if it is not random."""
        if self.lengths is None:
            return None
        return self.lengths.num_steps(seeds.fold(seed, Stream.LENGTHS), unroll)

    def initial_loss(
        self,
        rule: UpdateRule,
        optimizee: Optimizee,
        seed: seeds.Seed,
        start: unrolls.Trajectory,
    ) -> tf.Tensor:
        """What the objective of the epoch of `seed` is relative to; 1 if to nothing."""
        if not self.objective.is_relative:
            return tf.constant(1.0)
        batch = self.point_batch(optimizee, seed, tf.constant(0), tf.constant(0))
        return optimizee.loss(rule.true_params(start.params, start.rule_state), batch)

    def segment(
        self,
        rule: UpdateRule,
        optimizee: Optimizee,
        seed: seeds.Seed,
        unroll: tf.Tensor,
        num_unrolls: tf.Tensor,
        initial_loss: tf.Tensor,
        first_state: FirstState | None = None,
        num_steps: tf.Tensor | None = None,
    ) -> Segment:
        """One unroll of the trajectory of `seed` with what it is scored by.

        Args:
            rule: the learned rule.
            optimizee: what it optimizes.
            seed: int32 [2], the seed of the trajectory.
            unroll: int32 scalar, the number of the unroll.
            num_unrolls: int32 scalar, how many there are.
            initial_loss: as returned by `initial_loss`.
            first_state: as returned by `first_state`.
            num_steps: as returned by `num_steps`.
        """
        batches = unrolls.random_batches(optimizee, seed, unroll * (self.max_steps + 1))
        return Segment(
            rule,
            optimizee,
            batches,
            self.max_steps,
            self.objective,
            initial_loss,
            self._scoring_batch(optimizee, seed, unroll),
            num_steps,
            self._penalty(optimizee, seed, unroll, num_unrolls, batches),
            first_state,
        )

    def point_batch(
        self, optimizee: Optimizee, seed: seeds.Seed, unroll: tf.Tensor, step: tf.Tensor
    ) -> Batch:
        """What one point of the trajectory of `seed` is scored on.

        Args:
            optimizee: what is optimized.
            seed: int32 [2], the seed of the epoch or validation.
            unroll: int32 scalar, the unroll whose scoring examples count where there are such.
            step: int32 scalar, the step whose minibatch counts where there are none.
        """
        batch = self._scoring_batch(optimizee, seed, unroll)
        return unrolls.random_batches(optimizee, seed, 0)(step) if batch is None else batch

    def _penalty(self, optimizee, seed, unroll, num_unrolls, batches):
        regularizer = self.regularizer
        if regularizer is None:
            return None
        weight = regularizer.weight_in(unroll, num_unrolls)

        def penalty(params, t):
            def loss(points):
                return optimizee.loss(points, batches(t))

            return weight * regularizer.penalty(
                loss, params, seeds.fold(seed, Stream.PENALTY, unroll, t)
            )

        return penalty

    def _scoring_batch(self, optimizee, seed, unroll):
        if not self.scoring_examples:
            return None
        return optimizee.scoring_batch(
            seeds.fold(seed, Stream.SCORING, unroll), self.scoring_examples
        )


def first_state(
    rule: UpdateRule, params: Params, seed: seeds.Seed, unroll: tf.Tensor
) -> FirstState | None:
    """How the state before an unroll depends on the weights: in the first unroll as `init` does.

    Args:
        rule: the learned rule.
        params: the optimizee's parameters; only their shapes matter.
        seed: int32 [2], what the state was drawn from.
        unroll: int32 scalar, the number of the unroll.

    Returns:
        None for a rule whose state does not start from its weights.
    """
    if not rule.learned_start:
        return None

    def state(weights, carried):
        fresh = rule.init(params, seed, weights)
        return tf.nest.map_structure(
            lambda new, old: tf.where(tf.equal(unroll, 0), new, old), fresh, carried
        )

    return state
