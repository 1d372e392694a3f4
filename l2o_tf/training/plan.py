"""What meta-training does with an epoch: how long its unrolls are and what they are scored by."""

import dataclasses

import tensorflow as tf

from l2o_tf.core import seeds
from l2o_tf.optimizees.base import Optimizee, Params
from l2o_tf.rules.base import UpdateRule
from l2o_tf.training import meta_loss, unrolls
from l2o_tf.training.lengths import RandomLengths
from l2o_tf.training.objectives import Objective
from l2o_tf.training.regularizers import Regularizer

# What the seed of an epoch is folded with, beside the numbers of `unroll` and `epochs`.
_SCORING, _PENALTY, _LENGTHS = 6, 7, 8


@dataclasses.dataclass(frozen=True)
class Plan:
    """The parts of meta-training by backpropagation that can be exchanged.

    Attributes:
        objective: what is made of the losses of an unroll.
        scoring_examples: the number of examples, drawn for each unroll, on which all its points
            are scored, or all data if there are fewer; the problem must be one of L2O-Scale's. 0
            scores each point on the minibatch of its step.
        lengths: the lengths of epochs and unrolls if they are random.
        regularizer: what else is added to the objective.
        keep_state: whether a rule starts a normal epoch with the state that it had at the end of
            the one before, as the legacy L2O-Scale does, and not afresh.
    """

    objective: Objective = Objective()
    scoring_examples: int = 0
    lengths: RandomLengths | None = None
    regularizer: Regularizer | None = None
    keep_state: bool = False

    def max_length(self, unroll_length: int) -> int:
        """The number of steps of the longest unroll, given that of an unroll of fixed length."""
        return unroll_length if self.lengths is None else self.lengths.steps.maximum

    def num_unrolls(self, seed: seeds.Seed, fixed: tf.Tensor) -> tf.Tensor:
        """The number of unrolls of the epoch of `seed`, int32 [2]: `fixed` unless it is random."""
        if self.lengths is None:
            return fixed
        return self.lengths.num_unrolls(seeds.fold(seed, _LENGTHS))

    def num_steps(self, seed: seeds.Seed, fixed: int) -> int:
        """The number of steps of the epoch of `seed`: `fixed` unless it is random."""
        if self.lengths is None:
            return fixed
        return self.lengths.total_steps(seeds.fold(seed, _LENGTHS))

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
        batch = self._scoring_batch(optimizee, seed, 0)
        if batch is None:
            batch = unrolls.random_batches(optimizee, seed, 0)(tf.constant(0))
        return optimizee.loss(rule.true_params(start.params, start.rule_state), batch)

    def setting(
        self,
        rule: UpdateRule,
        optimizee: Optimizee,
        seed: seeds.Seed,
        unroll: tf.Tensor,
        num_unrolls: tf.Tensor,
        initial_loss: tf.Tensor,
        batches: unrolls.Batches,
    ) -> meta_loss.Setting:
        """The setting of one unroll, but for what a learned first state needs.

        Args:
            rule: the learned rule.
            optimizee: what it optimizes.
            seed: int32 [2], the seed of the epoch.
            unroll: int32 scalar, the number of the unroll.
            num_unrolls: int32 scalar, how many there are.
            initial_loss: as returned by `initial_loss`.
            batches: the batches of its steps.
        """
        setting = meta_loss.Setting(
            self.objective,
            initial_loss=initial_loss,
            scoring_batch=self._scoring_batch(optimizee, seed, unroll),
        )
        if self.lengths is not None:
            length = self.lengths.num_steps(seeds.fold(seed, _LENGTHS), unroll)
            setting = setting._replace(num_steps=length)
        if self.regularizer is not None:
            weight = self.regularizer.weight_in(unroll, num_unrolls)

            def penalty(params, t):
                step_seed = seeds.fold(seed, _PENALTY, unroll, t)
                loss = lambda points: optimizee.loss(points, batches(t))  # noqa: E731
                return weight * self.regularizer.penalty(loss, params, step_seed)

            setting = setting._replace(penalty=penalty)
        return setting

    def _scoring_batch(self, optimizee, seed, unroll):
        if not self.scoring_examples:
            return None
        return optimizee.scoring_batch(seeds.fold(seed, _SCORING, unroll), self.scoring_examples)


def first_state(
    rule: UpdateRule, params: Params, seed: seeds.Seed, unroll: tf.Tensor
) -> meta_loss.FirstState | None:
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
