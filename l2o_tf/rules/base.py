"""What every update rule is: analytical, learned, or a mixture of both."""

from typing import Any

import sonnet as snt
import tensorflow as tf

from l2o_tf import coordinates, registry, seeds

Params = coordinates.Params
State = Any  # A nest of tensors whose structure never changes.
Weights = dict[str, tf.Tensor]

RULES: registry.Registry["UpdateRule"] = registry.Registry("update rule")
register = RULES.register


class UpdateRule(snt.Module):
    """Turns gradients into parameter updates; `params + updates` are the next parameters.

    `init` and `update` are pure functions of their arguments: they create and assign no
    variables, so that a rule can run inside a compiled loop and be differentiated through.
    """

    def weights(self) -> Weights:
        """The current values of the meta-parameters by name; empty for analytical rules."""
        return {}

    def assign(self, weights: Weights) -> None:
        """Sets the meta-parameters to values as returned by `weights`."""
        if weights:
            raise ValueError(f"{self.name} has no meta-parameters, got {sorted(weights)}")

    def init(self, params: Params, seed: seeds.Seed | None = None) -> State:
        """Returns the state before the first step of a trajectory.

        Args:
            params: the optimizee's parameters, a list of tensors of static shape.
            seed: int32 [2], for rules with a random initial state or random steps.
        """
        raise NotImplementedError

    def update(
        self, grads: Params, state: State, params: Params, weights: Weights | None = None
    ) -> tuple[Params, State]:
        """Computes one step.

        Args:
            grads: the gradients of the loss at `params`, shaped like `params`.
            state: the state before the step.
            params: the optimizee's parameters before the step.
            weights: values for the meta-parameters, to differentiate or to perturb; the rule's
                own by default.

        Returns:
            The updates, shaped like `params`, and the state after the step.
        """
        raise NotImplementedError


class CoordinatewiseRule(UpdateRule):
    """A rule that treats every coordinate alike: all of them are one batch of one call."""

    def init(self, params: Params, seed: seeds.Seed | None = None) -> State:
        return self.init_coordinates(coordinates.count(params), params[0].dtype)

    def update(self, grads, state, params, weights=None):
        flat, state = self.update_coordinates(coordinates.flatten(grads), state, weights)
        return coordinates.unflatten(flat, params), state

    def init_coordinates(self, num_coordinates: int, dtype: tf.DType) -> State:
        """Returns the initial state of `num_coordinates` coordinates."""
        raise NotImplementedError

    def update_coordinates(
        self, grads: tf.Tensor, state: State, weights: Weights | None = None
    ) -> tuple[tf.Tensor, State]:
        """Maps gradients [num_coordinates] to updates [num_coordinates] and the next state."""
        raise NotImplementedError
