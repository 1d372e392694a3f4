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

from l2o_tf import coordinates, loops
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

    A rule that compiles itself is fastest outside of XLA, any other inside.

    Args:
        rule: the learned rule.
        optimizee: what it optimizes.
        trajectory: the start of the unroll; no gradient flows into it.
        batches: the batch of t = 0, ..., unroll_length; the last one only scores the end.
        unroll_length: the number of steps, T.
        weights: the rule's meta-parameters by name.
        second_derivatives: whether the gradients given to the rule depend on the weights.
    """
    arguments = (rule, optimizee, trajectory, batches, unroll_length, weights)
    if second_derivatives:
        return _through_the_optimizee(*arguments)
    recorder = rule.recorder(trajectory.params, unroll_length, weights)
    if recorder is None:
        return _replayed(*arguments)
    return _recorded(recorder, optimizee, trajectory, batches, unroll_length)


def unroll_losses(
    rule: UpdateRule,
    optimizee: Optimizee,
    trajectory: unrolls.Trajectory,
    batches: unrolls.Batches,
    unroll_length: int,
    weights: Weights,
) -> tuple[tf.Tensor, unrolls.Trajectory]:
    """The losses of an unroll, [unroll_length + 1], and its end; arguments as in `meta_gradient`."""
    run = unrolls.unroll(rule, optimizee, trajectory, batches, unroll_length, weights)
    final_loss = optimizee.loss(run.end.params, batches(tf.constant(unroll_length)))
    return tf.concat([run.losses, final_loss[None]], axis=0), run.end


def _through_the_optimizee(rule, optimizee, trajectory, batches, unroll_length, weights):
    with tf.GradientTape() as tape:
        tape.watch(weights)
        losses, end = unroll_losses(rule, optimizee, trajectory, batches, unroll_length, weights)
        meta_loss = tf.reduce_sum(losses)
    return MetaGradient(losses, _gradient(tape, meta_loss, weights), end)


def _recorded(recorder, optimizee, trajectory, batches, unroll_length):
    @loops.compiled
    def compiled_step(current, t):
        loss, grads = unrolls.loss_and_gradients(optimizee, current.params, batches(t))
        updates, rule_state, record = recorder.update(grads, current.rule_state, current.params)
        moved = unrolls.move(current, updates, rule_state)
        return moved, (loss, coordinates.flatten(grads), record)

    def step(current, t):
        moved, record = compiled_step(current, t)
        return moved, (*record, recorder.kept(current.rule_state))

    @loops.compiled
    def score(params, losses, gradients):
        return _score_end(optimizee, params, batches, losses, gradients)

    start = unrolls.Trajectory(list(trajectory.params), recorder.start(trajectory.rule_state))
    like = loops.output_specs(compiled_step, start, tf.constant(0))[1]
    like = (*like, recorder.kept(start.rule_state))
    end, (losses, gradients, records, kept) = loops.record(step, start, unroll_length, like)
    losses, cotangents = score(end.params, losses.stack(), gradients.stack())
    gradient = recorder.gradient(kept, records, cotangents)
    return MetaGradient(losses, gradient, end._replace(rule_state=recorder.end(end.rule_state)))


def _replayed(rule, optimizee, trajectory, batches, unroll_length, weights):
    def forward(trajectory, weights):
        run = unrolls.unroll(
            rule, optimizee, trajectory, batches, unroll_length, weights, keep_gradients=True
        )
        gradients = coordinates.flatten(run.gradients, leading=1)
        losses, cotangents = _score_end(
            optimizee, run.end.params, batches, run.losses, gradients
        )
        return run, losses, coordinates.unflatten(cotangents, run.end.params)

    forward = loops.compiled(forward) if rule.compiles_itself else forward
    run, losses, cotangents = forward(trajectory, weights)
    with tf.GradientTape() as tape:
        tape.watch(weights)
        updates, _ = rule.replay(
            run.gradients, trajectory.rule_state, trajectory.params, weights
        )
        surrogate = tf.add_n([tf.reduce_sum(c * u) for c, u in zip(cotangents, updates)])
    return MetaGradient(losses, _gradient(tape, surrogate, weights), run.end)


def _score_end(optimizee, params, batches, losses, gradients):
    """All losses, [num_steps + 1], and the cotangents of the updates, [num_steps, N]."""
    num_steps = losses.shape[0]
    loss, grads = unrolls.loss_and_gradients(optimizee, params, batches(tf.constant(num_steps)))
    later = tf.concat([gradients[1:], coordinates.flatten(grads)[None]], axis=0)
    return tf.concat([losses, loss[None]], axis=0), tf.cumsum(later, reverse=True)


def _gradient(tape, objective, weights):
    return tape.gradient(objective, weights, unconnected_gradients="zero")
