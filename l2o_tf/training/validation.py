"""Validation: a rule runs on an optimizee without meta-steps."""

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from l2o_tf.core import coordinates, loops, seeds
from l2o_tf.optimizees.base import Optimizee
from l2o_tf.rules.base import UpdateRule, Weights
from l2o_tf.training import objectives, unrolls
from l2o_tf.training.plan import Plan

_DIVERGED = 10.0
_MAX_SIZES = 1000  # Coordinates whose updates a validation measures.


class Validation(NamedTuple):
    """The result of one validation trajectory.

    Attributes:
        losses: [num_unrolls], the mean of each unroll's losses.
        final_loss: scalar, the loss after the last step, on a batch of its own, or on the scoring
            examples of the last unroll where the plan has such.
        update_sizes: [num_unrolls, num_measured], for evenly spaced coordinates, at most 1,000,
            the mean of an unroll's absolute updates.
    """

    losses: tf.Tensor
    final_loss: tf.Tensor
    update_sizes: tf.Tensor


def validate(
    rule: UpdateRule,
    optimizee: Optimizee,
    weights: Weights,
    seed: seeds.Seed,
    num_unrolls: tf.Tensor,
    plan: Plan,
    relative: bool = False,
    function: Callable = loops.in_graph,
) -> Validation:
    """Runs a rule on one trajectory.

    Args:
        rule: the rule.
        optimizee: what it optimizes.
        weights: its meta-parameters by name.
        seed: int32 [2], the seed of the trajectory.
        num_unrolls: int32 scalar.
        plan: how long unrolls are and what points are scored on.
        relative: whether to report ln((f + 1e-6) / (f_0 + 1e-6)), at most 10 and 10 where it is
            not finite, so that different problems count alike.
        function: compiles the unroll.
    """

    def sizes(updates):
        flat = coordinates.flatten(updates)
        return tf.abs(flat[:: -(-flat.shape[0] // _MAX_SIZES)])

    def true_loss(point, batch):
        return optimizee.loss(rule.true_params(point.params, point.rule_state), batch)

    @function
    def unroll(trajectory, first_batch):
        batches = unrolls.random_batches(optimizee, seed, first_batch)

        def observe(point, loss, grads, t):
            return true_loss(point, batches(t))

        run = unrolls.unroll(
            rule,
            optimizee,
            trajectory,
            batches,
            plan.unroll_length,
            weights,
            unrolls.Watch(measure=sizes, observe=observe if rule.scores_elsewhere else None),
        )
        measured = tf.cast(tf.reduce_mean(run.measured, axis=0), tf.float32)
        return run.end, (tf.reduce_mean(run.losses), measured)

    def step(trajectory, k):
        return unroll(trajectory, k * plan.unroll_length)

    start = unrolls.start(optimizee, rule, seed, weights)
    like = (tf.TensorSpec([], tf.float32), sizes(start.params))
    end, (losses, update_sizes) = loops.scan(step, start, num_unrolls, like)
    last_step = num_unrolls * plan.unroll_length
    final_loss = true_loss(end, plan.point_batch(optimizee, seed, num_unrolls - 1, last_step))
    if relative:
        zero = tf.constant(0)
        first_loss = optimizee.loss(start.params, plan.point_batch(optimizee, seed, zero, zero))
        losses, final_loss = (_relative(x, first_loss) for x in (losses, final_loss))
    return Validation(losses, final_loss, update_sizes)


def _relative(losses: tf.Tensor, first_loss: tf.Tensor) -> tf.Tensor:
    ratio = objectives.log_ratio(losses, first_loss)
    return tf.where(tf.math.is_finite(ratio), tf.minimum(ratio, _DIVERGED), _DIVERGED)
