"""What meta-training does with an epoch: how long its unrolls are and what they are scored by."""

import dataclasses
from collections.abc import Callable

import tensorflow as tf

from l2o_tf import seeds
from l2o_tf.optimizees.base import Optimizee, Params
from l2o_tf.rules.base import State, UpdateRule, Weights
from l2o_tf.training import meta_loss
from l2o_tf.training import unroll as unrolls
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
        second_derivatives: whether to differentiate through the gradients that a rule is given.
        scoring_examples: the number of examples, drawn for each unroll, on which all its points
            are scored, or all data if there are fewer; the problem must be one of L2O-Scale's. 0
            scores each point on the minibatch of its step.
        lengths: the lengths of epochs and unrolls if they are random.
        regularizer: what else is added to the objective.
    """

    objective: Objective = Objective()
    second_derivatives: bool = False
    scoring_examples: int = 0
    lengths: RandomLengths | None = None
    regularizer: Regularizer | None = None

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
        trajectory: unrolls.Trajectory,
        batches: unrolls.Batches,
    ) -> meta_loss.Setting:
        """The setting of one unroll.

        Args:
            rule: the learned rule.
            optimizee: what it optimizes.
            seed: int32 [2], the seed of the epoch.
            unroll: int32 scalar, the number of the unroll.
            num_unrolls: int32 scalar, how many there are.
            initial_loss: as returned by `initial_loss`.
            trajectory: the start of the unroll.
            batches: the batches of its steps.
        """
        setting = meta_loss.Setting(
            self.objective,
            self.second_derivatives,
            initial_loss,
            self._scoring_batch(optimizee, seed, unroll),
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
        start = first_state(
            rule, unrolls.rule_seed(seed), unroll, trajectory.params, trajectory.rule_state
        )
        return setting._replace(first_state=start)

    def _scoring_batch(self, optimizee, seed, unroll):
        if not self.scoring_examples:
            return None
        return optimizee.scoring_batch(seeds.fold(seed, _SCORING, unroll), self.scoring_examples)


def first_state(
    rule: UpdateRule, rule_seed: seeds.Seed, unroll: tf.Tensor, params: Params, carried: State
) -> Callable[[Weights], State] | None:
    """The state before an unroll as a function of the weights, which it is in the first unroll.

    Args:
        rule: the learned rule.
        rule_seed: int32 [2], what its state was drawn from.
        unroll: int32 scalar, the number of the unroll.
        params: the optimizee's parameters; only their shapes matter.
        carried: the state before the unroll as a constant.

    Returns:
        None for a rule whose state does not start from its weights.
    """
    if not rule.learned_start:
        return None

    def state(weights):
        fresh = rule.init(params, rule_seed, weights)
        return tf.nest.map_structure(
            lambda new, old: tf.where(tf.equal(unroll, 0), new, old), fresh, carried
        )

    return state
