"""The meta-loss of a truncated unroll and its gradient with respect to the rule's weights.

The meta-loss is L = sum_{t=0}^{T} f_t(theta_t), all weights 1 (paper section 3; the legacy code
scores the parameters after the last step too).

Without second derivatives the gradients g_t that the rule is given are constants, so that
dL/du_s = sum_{t > s} g_t for the update u_s: the reverse cumulative sum of gradients that the
unroll has computed anyway. The optimizee is differentiated once per step, and what remains to be
differentiated is the rule alone, replayed on known gradients, exactly as in imitation.
"""

from typing import NamedTuple

import tensorflow as tf

from l2o_tf import loops
from l2o_tf.optimizees.base import Optimizee
from l2o_tf.rules.base import UpdateRule, Weights
from l2o_tf.training import unroll as unrolls


class MetaGradient(NamedTuple):
    """The result of one unroll.

    Attributes:
        losses: [unroll_length + 1] for the meta-loss, [unroll_length] for imitation; the
            objective is their sum.
        gradient: the gradient of the objective with respect to the weights, by name.
        end: where the trajectory stands after the last step.
    """

    losses: tf.Tensor
    gradient: Weights
    end: unrolls.Trajectory


def meta_gradient(
    rule: UpdateRule,
    optimizee: Optimizee,
    trajectory: unrolls.Trajectory,
    batches: unrolls.Batches,
    unroll_length: int,
    weights: Weights,
    second_derivatives: bool = False,
) -> MetaGradient:
    """Unrolls a rule and differentiates the meta-loss.

    To be called in a graph without XLA: what pays is compiled here.

    Args:
        rule: the learned rule.
        optimizee: what it optimizes.
        trajectory: the start of the unroll; no gradient flows into it.
        batches: the batch of t = 0, ..., unroll_length; the last one only scores the end.
        unroll_length: the number of steps, T.
        weights: the rule's meta-parameters by name.
        second_derivatives: whether the gradients given to the rule depend on the weights.
    """
    if second_derivatives:
        return _through_the_optimizee(
            rule, optimizee, trajectory, batches, unroll_length, weights
        )

    @loops.compiled
    def forward(trajectory, weights):
        run = unrolls.unroll(
            rule, optimizee, trajectory, batches, unroll_length, weights, keep_gradients=True
        )
        final_loss, final_grads = unrolls.loss_and_gradients(
            optimizee, run.end.params, batches(tf.constant(unroll_length))
        )
        cotangents = [
            tf.cumsum(tf.concat([g[1:], final[None]], axis=0), reverse=True)
            for g, final in zip(run.gradients, final_grads)
        ]
        return run, tf.concat([run.losses, final_loss[None]], axis=0), cotangents

    run, losses, cotangents = forward(trajectory, weights)
    with tf.GradientTape() as tape:
        tape.watch(weights)
        updates, _ = rule.replay(
            run.gradients, trajectory.rule_state, trajectory.params, weights
        )
        surrogate = tf.add_n([tf.reduce_sum(c * u) for c, u in zip(cotangents, updates)])
    return MetaGradient(losses, _gradient(tape, surrogate, weights), run.end)


def _through_the_optimizee(rule, optimizee, trajectory, batches, unroll_length, weights):
    @loops.compiled
    def differentiate(trajectory, weights):
        with tf.GradientTape() as tape:
            tape.watch(weights)
            run = unrolls.unroll(rule, optimizee, trajectory, batches, unroll_length, weights)
            final_loss = optimizee.loss(run.end.params, batches(tf.constant(unroll_length)))
            losses = tf.concat([run.losses, final_loss[None]], axis=0)
            meta_loss = tf.reduce_sum(losses)
        return MetaGradient(losses, _gradient(tape, meta_loss, weights), run.end)

    return differentiate(trajectory, weights)


def _gradient(tape, objective, weights):
    return tape.gradient(objective, weights, unconnected_gradients="zero")
