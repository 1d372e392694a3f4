"""How the gradient of an unroll's meta-loss is estimated, and its default: backpropagation.

An estimator is pure: what it carries along a trajectory is its argument and its result.
"""

import dataclasses
from typing import Any

from l2o_tf.core import registry, seeds
from l2o_tf.rules.base import UpdateRule, Weights
from l2o_tf.training import meta_loss, unrolls
from l2o_tf.training.segment import Segment

Carry = Any  # A nest of tensors whose structure never changes.

# `flags` has, by the name of a constructor's argument, the flag of a run that sets it.
ESTIMATORS: registry.Registry["Estimator"] = registry.Registry("estimator", flags={})
register = ESTIMATORS.register


class Estimator:
    """Estimates the meta-gradients of the segments of one trajectory after the other."""

    def compiles_itself(self, rule: UpdateRule) -> bool:
        """Whether `step` is fastest outside of XLA, in which it compiles its parts."""
        return False

    def start(self, trajectory: unrolls.Trajectory, weights: Weights) -> Carry:
        """What the estimator carries before the first segment of `trajectory`.

        Args:
            trajectory: the first point.
            weights: the rule's meta-parameters by name; only their shapes matter.
        """
        return trajectory

    def step(
        self, segment: Segment, carry: Carry, weights: Weights, seed: seeds.Seed
    ) -> meta_loss.MetaGradient:
        """Estimates the meta-gradient of one segment.

        Args:
            segment: the unroll and what it is scored by.
            carry: what `start` or the step before returned.
            weights: the rule's meta-parameters by name.
            seed: int32 [2], of what is drawn in this unroll.

        Returns:
            Losses [max_steps + 1] that belong to the weights, or means over the particles of an
            estimator that perturbs them; the estimate by name; the objective, a scalar, and as
            `taken` the steps that it is of; as `end` what is carried to the next segment.
        """
        raise NotImplementedError


@register("bptt", flags={"second_derivatives": "second_derivatives"})
@dataclasses.dataclass(frozen=True)
class Backprop(Estimator):
    """Truncated backpropagation through time: the exact gradient of each unroll by itself.

    Attributes:
        second_derivatives: whether the gradients given to the rule depend on the weights.
    """

    second_derivatives: bool = False

    def compiles_itself(self, rule):
        return rule.differentiator is not None

    def step(self, segment, carry, weights, seed):
        return meta_loss.meta_gradient(segment, carry, weights, self.second_derivatives)
