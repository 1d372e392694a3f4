"""How the gradient of an unroll's meta-loss is estimated, and its default: backpropagation.

An estimator is pure: what it carries along a trajectory is its argument and its result.
"""

import dataclasses
from typing import Any

from l2o_tf.core import seeds
from l2o_tf.optimizees.base import Optimizee
from l2o_tf.rules.base import UpdateRule, Weights
from l2o_tf.training import meta_loss, unrolls

Carry = Any  # A nest of tensors whose structure never changes.


class Estimator:
    """Estimates the meta-gradients of the unrolls of one trajectory after the other."""

    def compiles_itself(self, rule: UpdateRule) -> bool:
        """Whether `step` is fastest outside of XLA, in which it compiles its parts."""
        return False

    def start(self, trajectory: unrolls.Trajectory, weights: Weights) -> Carry:
        """What the estimator carries before the first unroll of `trajectory`.

        Args:
            trajectory: the first point.
            weights: the rule's meta-parameters by name; only their shapes matter.
        """
        raise NotImplementedError

    def step(
        self,
        rule: UpdateRule,
        optimizee: Optimizee,
        carry: Carry,
        batches: unrolls.Batches,
        unroll_length: int,
        weights: Weights,
        setting: meta_loss.Setting,
        seed: seeds.Seed,
    ) -> meta_loss.MetaGradient:
        """Estimates the meta-gradient of one unroll.

        Args:
            rule: the learned rule.
            optimizee: what it optimizes.
            carry: what `start` or the step before returned.
            batches: the batch of t = 0, ..., unroll_length; the last one only scores the end.
            unroll_length: the number of steps, T.
            weights: the rule's meta-parameters by name.
            setting: the objective, and what else there is to the unroll.
            seed: int32 [2], of what is drawn in this unroll.

        Returns:
            Losses [T + 1] that belong to the weights, the estimate by name, and as `end` what
            the estimator carries to the next unroll.
        """
        raise NotImplementedError


@dataclasses.dataclass(frozen=True)
class Backprop(Estimator):
    """Truncated backpropagation through time: the exact gradient of each unroll by itself.

    Attributes:
        second_derivatives: see `meta_loss.Setting`.
    """

    second_derivatives: bool = False

    def compiles_itself(self, rule):
        return rule.compiles_itself

    def start(self, trajectory, weights):
        return trajectory

    def step(self, rule, optimizee, carry, batches, unroll_length, weights, setting, seed):
        setting = setting._replace(second_derivatives=self.second_derivatives)
        return meta_loss.meta_gradient(
            rule, optimizee, carry, batches, unroll_length, weights, setting
        )
