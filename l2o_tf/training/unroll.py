"""The unroll: a rule runs on an optimizee for some steps.

Meta-training differentiates what an unroll recorded, validation and evaluation run it as it is,
imitation runs it with a teacher.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

from l2o_tf import loops, seeds
from l2o_tf.optimizees.base import Batch, Optimizee, Params
from l2o_tf.rules.base import State, UpdateRule, Weights

Batches = Callable[[tf.Tensor], Batch]

_OPTIMIZEE, _RULE = range(2)  # What the seed of a trajectory is folded with.


class Trajectory(NamedTuple):
    """Where a rule stands on an optimizee: the parameters and the rule's state."""

    params: Params
    rule_state: State


class Unroll(NamedTuple):
    """What happened in an unroll of num_steps steps.

    Attributes:
        end: where the trajectory stands after the last step.
        losses: [num_steps], the loss before each step, on the batch of the step.
        gradients: tensors [num_steps, *shape_i], what the rule was given; () if not kept.
        updates: tensors [num_steps, *shape_i], what the rule returned; () if not kept.
        scores: [num_steps], the loss after each step, on another batch; () if not asked for.
        measured: [num_steps, ...], what was measured of the updates; () if not asked for.
    """

    end: Trajectory
    losses: tf.Tensor
    gradients: Any
    updates: Any
    scores: Any
    measured: Any


def start(
    optimizee: Optimizee, rule: UpdateRule, seed: seeds.Seed, weights: Weights | None = None
) -> Trajectory:
    """Draws the first point of a trajectory from `seed`, int32 [2]."""
    params = optimizee.init(seeds.fold(seed, _OPTIMIZEE))
    return Trajectory(params, first_state(rule, params, seed, weights))


def first_state(
    rule: UpdateRule, params: Params, seed: seeds.Seed, weights: Weights | None = None
) -> State:
    """The state of `rule` at the first point of the trajectory of `seed`, int32 [2]."""
    return rule.init(params, seeds.fold(seed, _RULE), weights)


def random_batches(optimizee: Optimizee, seed: seeds.Seed, first: int | tf.Tensor) -> Batches:
    """The batches of the trajectory of `seed`, counted from number `first` on."""
    optimizee_seed = seeds.fold(seed, _OPTIMIZEE)
    return lambda t: optimizee.batch(optimizee_seed, first + t)


def loss_and_gradients(
    optimizee: Optimizee, params: Params, batch: Batch
) -> tuple[tf.Tensor, Params]:
    """The loss, a scalar, and its gradients, shaped like `params`."""
    with tf.GradientTape() as tape:
        tape.watch(params)
        loss = optimizee.loss(params, batch)
    return loss, tape.gradient(loss, params, unconnected_gradients="zero")


def move(current: Trajectory, updates: Params, rule_state: State) -> Trajectory:
    """Adds the updates to the parameters."""
    return Trajectory([p + u for p, u in zip(current.params, updates)], rule_state)


def unroll(
    rule: UpdateRule,
    optimizee: Optimizee,
    trajectory: Trajectory,
    batches: Batches,
    num_steps: int,
    weights: Weights | None = None,
    keep_gradients: bool = False,
    keep_updates: bool = False,
    scoring_batches: Batches | None = None,
    measure: Callable[[Params], tf.Tensor] | None = None,
) -> Unroll:
    """Runs `rule` on `optimizee`.

    Args:
        rule: the update rule.
        optimizee: what it optimizes.
        trajectory: where to start from.
        batches: the batch of step t = 0, ..., num_steps - 1; its loss is recorded and its
            gradient is given to the rule.
        num_steps: the number of steps.
        weights: the rule's meta-parameters, its own by default.
        keep_gradients: whether to record the gradients.
        keep_updates: whether to record the updates.
        scoring_batches: the batch on which the parameters after step t are scored.
        measure: maps the updates of a step to a tensor that is recorded.
    """
    params = list(trajectory.params)

    def step(current, t):
        loss, grads = loss_and_gradients(optimizee, current.params, batches(t))
        updates, rule_state = rule.update(grads, current.rule_state, current.params, weights)
        moved = move(current, updates, rule_state)
        score = ()
        if scoring_batches is not None:
            score = optimizee.loss(moved.params, scoring_batches(t))
        measured = () if measure is None else measure(updates)
        record = (
            loss, grads if keep_gradients else (), updates if keep_updates else (), score, measured
        )  # fmt: skip
        return moved, record

    scalar = tf.TensorSpec([], params[0].dtype)
    like = (
        scalar,
        params if keep_gradients else (),
        params if keep_updates else (),
        () if scoring_batches is None else scalar,
        () if measure is None else measure(params),
    )
    end, records = loops.scan(
        step, Trajectory(params, trajectory.rule_state), num_steps, like
    )
    return Unroll(end, *records)
