"""The unroll: a rule runs on an optimizee for some steps.

Meta-training differentiates what an unroll recorded, validation and evaluation run it as it is,
imitation runs it with a teacher.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

from l2o_tf.core import coordinates, loops, seeds
from l2o_tf.optimizees.base import Batch, Batches, Optimizee, Params
from l2o_tf.rules.base import State, UpdateRule, Weights

Observe = Callable[["Trajectory", tf.Tensor, Params, tf.Tensor], tf.Tensor]
Penalty = Callable[[Params, tf.Tensor], tf.Tensor]


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
        penalties: [num_steps], what was charged for the parameters before each step; () if nothing.
        taken: the number of steps taken, at most num_steps; what was recorded of others is 0.
    """

    end: Trajectory
    losses: tf.Tensor
    gradients: Any
    updates: Any
    scores: Any
    measured: Any
    penalties: Any
    taken: int | tf.Tensor


class Watch(NamedTuple):
    """What to record of the steps of an unroll beside their losses; nothing by default.

    Attributes:
        gradients: whether to record what the rule was given.
        updates: whether to record what the rule returned.
        scoring_batches: the batch on which the parameters after step t are scored.
        measure: maps the updates of a step to a tensor that is recorded.
        observe: maps the trajectory before a step, the loss and the gradients of the step and t
            to what is recorded as its loss.
        penalty: maps the parameters before step t, and t, to what is charged for them.
    """

    gradients: bool = False
    updates: bool = False
    scoring_batches: Batches | None = None
    measure: Callable[[Params], tf.Tensor] | None = None
    observe: Observe | None = None
    penalty: Penalty | None = None


def start(
    optimizee: Optimizee, rule: UpdateRule, seed: seeds.Seed, weights: Weights | None = None
) -> Trajectory:
    """Draws the first point of a trajectory from `seed`, int32 [2]."""
    params = optimizee.init(seeds.fold(seed, seeds.Stream.OPTIMIZEE))
    return Trajectory(params, rule.init(params, rule_seed(seed), weights))


def rule_seed(seed: seeds.Seed) -> seeds.Seed:
    """What a rule is given on the trajectory of `seed`, int32 [2]."""
    return seeds.fold(seed, seeds.Stream.RULE)


def random_batches(optimizee: Optimizee, seed: seeds.Seed, first: int | tf.Tensor) -> Batches:
    """The batches of the trajectory of `seed`, counted from number `first` on."""
    batches = optimizee.batches(seeds.fold(seed, seeds.Stream.OPTIMIZEE))
    return lambda t: batches(first + t)


def loss_and_gradients(
    optimizee: Optimizee, params: Params, batch: Batch
) -> tuple[tf.Tensor, Params]:
    """The loss, a scalar, and its gradients, shaped like `params`."""
    with tf.GradientTape() as tape:
        tape.watch(params)
        loss = optimizee.loss(params, batch)
    grads = tape.gradient(loss, params, unconnected_gradients="zero")
    return loss, [coordinates.dense(g, p) for g, p in zip(grads, params)]


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
    watch: Watch = Watch(),
    constant_gradients: bool = False,
    goes_on: Callable[[tf.Tensor, tf.Tensor], tf.Tensor] | None = None,
    vectorizable: bool = False,
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
        watch: what else to record.
        constant_gradients: whether the gradients that the rule is given are constants to
            whoever differentiates the unroll.
        goes_on: maps the last recorded loss (0 before the first) and t to whether to take step
            t; all by default.
        vectorizable: see `loops.scan`.
    """
    params = list(trajectory.params)

    def step(current, t):
        loss, grads = loss_and_gradients(optimizee, current.params, batches(t))
        if constant_gradients:
            grads = [tf.stop_gradient(g) for g in grads]
        if watch.observe is not None:
            loss = watch.observe(current, loss, grads, t)
        updates, rule_state = rule.update(grads, current.rule_state, current.params, weights)
        moved = move(current, updates, rule_state)
        score = ()
        if watch.scoring_batches is not None:
            points = rule.true_params(moved.params, rule_state)
            score = optimizee.loss(points, watch.scoring_batches(t))
        record = (
            loss,
            grads if watch.gradients else (),
            updates if watch.updates else (),
            score,
            () if watch.measure is None else watch.measure(updates),
            () if watch.penalty is None else watch.penalty(current.params, t),
        )
        return moved, record

    scalar = tf.TensorSpec([], params[0].dtype)
    like = (
        scalar,
        params if watch.gradients else (),
        params if watch.updates else (),
        () if watch.scoring_batches is None else scalar,
        () if watch.measure is None else watch.measure(params),
        () if watch.penalty is None else scalar,
    )
    first = Trajectory(params, trajectory.rule_state)
    if goes_on is None:
        end, records = loops.scan(step, first, num_steps, like, vectorizable=vectorizable)
        return Unroll._make((end, *records, num_steps))

    def counted(carry, t):
        moved, record = step(carry[0], t)
        return (moved, record[0], t + 1), record

    carry = (first, tf.zeros([], params[0].dtype), tf.constant(0))
    (end, _, taken), records = loops.scan(
        counted, carry, num_steps, like, lambda carry, t: goes_on(carry[1], t), vectorizable
    )
    return Unroll._make((end, *records, taken))
