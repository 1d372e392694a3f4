"""One step of an update rule on the variables of a Keras model, compiled and guarded."""

import functools
import math
from collections.abc import Sequence
from typing import NamedTuple

import tensorflow as tf

from l2o_tf import keras_routing
from l2o_tf.core import loops, seeds, squares
from l2o_tf.rules.base import State, UpdateRule, Weights

Tensors = Sequence[tf.Tensor]

# The root mean square below which a tensor counts as if it had this one, so that biases, which
# start at zero, move.
SMALLEST_SIZE = 1.0


class Guard(NamedTuple):
    """What keeps a step from ruining a model.

    Attributes:
        max_relative_update: the largest ratio of the root mean square of a tensor's update to the
            one of the tensor itself, or to `SMALLEST_SIZE` if that is larger; None for no limit.
    """

    max_relative_update: float | None = None


class Result(NamedTuple):
    """What a step gives.

    Attributes:
        updates: tensors shaped like the parameters, times the learning rate.
        state: the flat state after the step.
        skipped: int32 scalar, 1 if the guard left everything as it was, else 0.
    """

    updates: list[tf.Tensor]
    state: list[tf.Tensor]
    skipped: tf.Tensor


class RuleStep:
    """A rule, its compiled step and the structure of its state.

    Keras and tf.train.Checkpoint look for variables in the attributes of an optimizer, but not in
    an object of this class. It is the place of what must not be saved: the rule's own variables,
    which are not the ones in use.

    Attributes:
        rule: the rule.
        num_skipped: int64 variable, the skipped steps, which the caller counts.
    """

    def __init__(self, rule: UpdateRule, guard: Guard | None):
        """Prepares the step of `rule`; without a `guard`, nothing is skipped or made smaller."""
        self.rule = rule
        self._guard = guard
        self._router: keras_routing.Router | None = None
        self._acting = rule
        self._is_formulas: list[bool] = []  # Empty where no variable is a formula's.
        self._structure: State = ()
        self.num_skipped = tf.Variable(
            0,
            trainable=False,
            dtype=tf.int64,
            aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
            name="skipped",
        )
        # XLA takes a third of an LSTM's time away and adds to that of a formula. A partial,
        # because TensorFlow takes functions with the same code for one that is traced too often.
        compile_step = loops.compiled if rule.learned else loops.in_graph
        self._program = compile_step(functools.partial(self._attempt))

    def route(self, router: keras_routing.Router, variables: Sequence) -> None:
        """Leaves some of the variables, of which `init` is then called, to formulas."""
        is_formulas = [name != keras_routing.MAIN for name in router.assignment(variables)]
        if any(is_formulas):
            self._router, self._acting = router, router.routed(self.rule, variables)
            self._is_formulas = is_formulas

    def init(
        self, shapes: Sequence[tf.TensorShape], dtype: tf.DType, seed: seeds.Seed, weights: Weights
    ) -> list[tf.Tensor]:
        """`UpdateRule.init` with a flat state, for parameters that need not have values yet."""
        params = [tf.zeros(shape, dtype) for shape in shapes]
        state = self._acting.init(params, seed, self._known(weights))
        self._structure = tf.nest.map_structure(lambda _: 0, state)
        return tf.nest.flatten(state)

    def step(
        self,
        grads: Tensors,
        state: Tensors,
        params: Tensors,
        weights: Weights,
        learning_rate: tf.Tensor,
        given: tuple[bool, ...],
    ) -> Result:
        """`UpdateRule.update` with a flat state, where the parameters that are not `given` rest."""
        result = self._program(grads, state, params, weights, learning_rate, given)
        if self._guard is None or not self.rule.learned:
            return result
        # Outside of the program a branch hands tensors on, inside it would copy them.
        after = tf.cond(result.skipped > 0, lambda: list(state), lambda: list(result.state))
        return result._replace(state=after)

    def _attempt(self, grads, state, params, weights, learning_rate, given) -> Result:
        """`step`, but if a learned rule's step is to be skipped, the state is still the next."""

        def update():
            updates, after = self._update(grads, state, params, weights, given)
            return [learning_rate * u for u in updates], after

        if self._guard is None:
            updates, after = update()
            return Result(updates, after, tf.constant(0))
        if not self.rule.learned:
            usable = _are_finite([tf.nn.l2_loss(t) for t in [*grads, learning_rate]])
            # A formula's updates are finite if its gradients and the rate are; a branch costs it
            # less than passes over its state.
            rest = [tf.zeros_like(p) for p in params], list(state)
            updates, after = tf.cond(usable, update, lambda: rest)
            return Result(updates, after, 1 - tf.cast(usable, tf.int32))
        updates, after = update()
        usable = _are_finite([squares.total(t) for t in [*grads, *updates]])
        if self._guard.max_relative_update is not None:
            limit = self._guard.max_relative_update
            exempt = self._is_formulas or [False] * len(updates)
            updates = [
                u if free else u * _shrinking(u, p, limit)
                for u, p, free in zip(updates, params, exempt, strict=True)
            ]
        updates = [tf.where(usable, u, tf.zeros_like(u)) for u in updates]
        return Result(updates, after, 1 - tf.cast(usable, tf.int32))

    def _update(self, grads, state, params, weights, given):
        before = tf.nest.pack_sequence_as(self._structure, state)
        updates, after = self._acting.update(grads, before, params, self._known(weights))
        if not all(given):
            after = self._acting.hold(before, after, params, given)
        return updates, tf.nest.flatten(after)

    def _known(self, weights):
        return weights if self._router is None else keras_routing.own_weights(weights)


def _are_finite(sums_of_squares: Tensors) -> tf.Tensor:
    """Whether all numbers are finite whose squares were summed up, and the sum of them is."""
    # The sum, because rules keep squares: gradients of 1e20 would leave an infinite state.
    return tf.math.is_finite(tf.add_n(list(sums_of_squares)))


def _shrinking(update: tf.Tensor, param: tf.Tensor, limit: float) -> tf.Tensor:
    """The factor, 1 or less, that keeps an update within `Guard.max_relative_update`."""
    size = max(math.prod(param.shape), 1)
    smallest = size * SMALLEST_SIZE**2
    allowed = limit * tf.sqrt(tf.maximum(squares.total(param), smallest))
    norm = tf.sqrt(squares.total(update))
    return tf.where(norm > allowed, allowed / norm, 1.0)
