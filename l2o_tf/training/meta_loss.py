"""The meta-objective of a truncated unroll and its gradient with respect to the rule's weights.

Without second derivatives the gradients g_t that the rule is given are constants. For the sum of
losses, L = sum_{t=0}^{T} f_t(theta_t), dL/du_s = sum_{t > s} g_t for the update u_s: the reverse
cumulative sum of gradients that the unroll has computed anyway; other objectives weight each g_t
with dL/df_t. The optimizee is differentiated once per step, and what remains to be differentiated
is the rule alone.
"""

from typing import Any, NamedTuple

import tensorflow as tf

from l2o_tf.core import coordinates, loops
from l2o_tf.optimizees.base import Params
from l2o_tf.rules.base import Weights
from l2o_tf.training import unrolls
from l2o_tf.training.segment import Segment


class Evaluation(NamedTuple):
    """What came of one unroll.

    Attributes:
        losses: [max_steps + 1]; the last one, that of the end, may be 0 where the objective leaves
            it out.
        end: where the trajectory stands after the last step.
        objective: the objective, a scalar.
        taken: the number of steps taken.
    """

    losses: tf.Tensor
    end: unrolls.Trajectory
    objective: tf.Tensor
    taken: int | tf.Tensor


class MetaGradient(NamedTuple):
    """The result of one unroll of meta-training.

    Attributes:
        losses: as in `Evaluation`.
        gradient: the gradient of the objective with respect to the weights, by name.
        end: what goes on to the next unroll.
        objective: as in `Evaluation`.
        taken: as in `Evaluation`.
    """

    losses: tf.Tensor
    gradient: Weights
    end: Any
    objective: tf.Tensor
    taken: int | tf.Tensor


def meta_gradient(
    segment: Segment,
    trajectory: unrolls.Trajectory,
    weights: Weights,
    second_derivatives: bool = False,
) -> MetaGradient:
    """Unrolls a rule and differentiates the meta-objective.

    A rule with a differentiator is fastest outside of XLA, any other inside.

    Args:
        segment: the unroll.
        trajectory: its start; no gradient flows into its parameters.
        weights: the rule's meta-parameters by name.
        second_derivatives: whether the gradients given to the rule depend on the weights.
    """
    differentiator = segment.rule.differentiator
    if differentiator is None or second_derivatives or not segment.is_plain:
        arguments = (segment, trajectory, weights, second_derivatives)
        if differentiator is not None:
            return _function(segment)(lambda: _differentiated(*arguments))()
        return _differentiated(*arguments)
    recorder = differentiator.recorder(trajectory.params, segment.max_steps, weights)
    if recorder is None:
        return _replayed(segment, trajectory, weights)
    return _recorded(recorder, segment, trajectory)


def _differentiated(segment, trajectory, weights, second_derivatives):
    """The general way: a tape around the unroll."""
    with tf.GradientTape() as tape:
        tape.watch(weights)
        unroll = evaluate(segment, trajectory, weights, second_derivatives)
    gradient = _gradient(tape, unroll.objective, weights)
    return MetaGradient(gradient=gradient, **unroll._asdict())


def evaluate(
    segment: Segment,
    trajectory: unrolls.Trajectory,
    weights: Weights,
    second_derivatives: bool = False,
    vectorizable: bool = False,
) -> Evaluation:
    """Runs an unroll; the objective can be differentiated.

    The arguments are `meta_gradient`'s; what is `vectorizable` is said in `loops.scan`.
    """
    rule, optimizee, objective = segment.rule, segment.optimizee, segment.objective

    def score(point, t):
        shared = segment.scoring_batch
        batch = segment.batches(t) if shared is None else shared
        points = rule.true_params(point.params, point.rule_state)
        if second_derivatives:
            return optimizee.loss(points, batch)
        return _linear(*unrolls.loss_and_gradients(optimizee, points, batch), points)

    def observe(point, loss, grads, t):
        if segment.scoring_batch is not None or rule.scores_elsewhere:
            return score(point, t)
        return loss if second_derivatives else _linear(loss, grads, point.params)

    if segment.first_state is not None:
        state = segment.first_state(weights, trajectory.rule_state)
        trajectory = trajectory._replace(rule_state=state)
    first_loss = goes_on = None
    if objective.early_stop is not None:
        first_loss = score(trajectory, tf.constant(0))
    if objective.early_stop is not None or segment.num_steps is not None:
        goes_on = _goes_on(segment, first_loss)
    run = unrolls.unroll(
        rule,
        optimizee,
        trajectory,
        segment.batches,
        segment.max_steps,
        weights,
        unrolls.Watch(observe=observe, penalty=segment.penalty),
        constant_gradients=not second_derivatives,
        goes_on=goes_on,
        vectorizable=vectorizable,
    )
    end_loss = tf.zeros_like(run.losses[0])
    if objective.scores_end:
        end_loss = score(run.end, tf.convert_to_tensor(run.taken))
    value = objective.total(
        run.losses, end_loss, segment.initial_loss, first_loss, run.taken, segment.num_steps
    )
    if segment.penalty is not None:
        value += tf.reduce_sum(run.penalties)
    losses = tf.concat([run.losses, end_loss[None]], axis=0)
    return Evaluation(losses, run.end, value, run.taken)


def _linear(loss: tf.Tensor, grads: Params, params: Params) -> tf.Tensor:
    """The loss as a function of the parameters whose gradient is the constant `grads`."""
    offsets = [
        tf.reduce_sum(tf.stop_gradient(g) * (p - tf.stop_gradient(p)))
        for g, p in zip(grads, params)
    ]
    return tf.stop_gradient(loss) + tf.add_n(offsets)


def _goes_on(segment, first_loss):
    def goes_on(last_loss, t):
        going = tf.constant(True)
        if segment.num_steps is not None:
            going &= t < segment.num_steps
        if segment.objective.early_stop is not None:
            loss = tf.where(t == 0, first_loss, last_loss)
            going &= segment.objective.goes_on(loss, segment.initial_loss)
        return going

    return goes_on


def _recorded(recorder, segment, trajectory):
    @_function(segment)
    def compiled_step(current, t):
        loss, grads = unrolls.loss_and_gradients(
            segment.optimizee, current.params, segment.batches(t)
        )
        updates, rule_state, record = recorder.update(grads, current.rule_state, current.params)
        moved = unrolls.move(current, updates, rule_state)
        return moved, (loss, coordinates.flatten(grads), record)

    def step(current, t):
        moved, record = compiled_step(current, t)
        return moved, (*record, recorder.kept(current.rule_state))

    @_function(segment)
    def score(params, losses, gradients):
        return _score_end(segment, params, losses, gradients)

    start = unrolls.Trajectory(list(trajectory.params), recorder.start(trajectory.rule_state))
    like = loops.output_specs(compiled_step, start, tf.constant(0))[1]
    like = (*like, recorder.kept(start.rule_state))
    end, (losses, gradients, records, kept) = loops.record(step, start, segment.max_steps, like)
    losses, cotangents, value = score(end.params, losses.stack(), gradients.stack())
    gradient = recorder.gradient(kept, records, cotangents)
    end = end._replace(rule_state=recorder.end(end.rule_state))
    return MetaGradient(losses, gradient, end, value, segment.max_steps)


def _replayed(segment, trajectory, weights):
    rule = segment.rule

    @_function(segment)
    def forward(trajectory, weights):
        run = unrolls.unroll(
            rule,
            segment.optimizee,
            trajectory,
            segment.batches,
            segment.max_steps,
            weights,
            unrolls.Watch(gradients=True),
        )
        gradients = coordinates.flatten(run.gradients, leading=1)
        losses, cotangents, value = _score_end(segment, run.end.params, run.losses, gradients)
        cotangents = coordinates.unflatten(cotangents, run.end.params)
        return run.end, run.gradients, losses, cotangents, value

    end, gradients, losses, cotangents, value = forward(trajectory, weights)
    with tf.GradientTape() as tape:
        tape.watch(weights)
        updates, _ = rule.replay(gradients, trajectory.rule_state, trajectory.params, weights)
        surrogate = tf.add_n([tf.reduce_sum(c * u) for c, u in zip(cotangents, updates)])
    gradient = _gradient(tape, surrogate, weights)
    return MetaGradient(losses, gradient, end, value, segment.max_steps)


def _score_end(segment, params, losses, gradients):
    """All losses, [num_steps + 1], the cotangents of the updates, [num_steps, N], the objective."""
    last_batch = segment.batches(tf.constant(segment.max_steps))
    loss, grads = unrolls.loss_and_gradients(segment.optimizee, params, last_batch)
    with tf.GradientTape() as tape:
        tape.watch((losses, loss))
        value = segment.objective.total(losses, loss, segment.initial_loss)
    slopes, end_slope = tape.gradient(value, (losses, loss), unconnected_gradients="zero")
    later = [slopes[1:, None] * gradients[1:], end_slope * coordinates.flatten(grads)[None]]
    cotangents = tf.cumsum(tf.concat(later, axis=0), reverse=True)
    return tf.concat([losses, loss[None]], axis=0), cotangents, value


def _function(segment):
    return loops.compiled_if(segment.optimizee.compiles)


def _gradient(tape, objective, weights):
    return tape.gradient(objective, weights, unconnected_gradients="zero")
