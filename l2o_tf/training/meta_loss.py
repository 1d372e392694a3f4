"""The meta-objective of a truncated unroll and its gradient with respect to the rule's weights.

Without second derivatives the gradients g_t that the rule is given are constants. For the sum of
losses, L = sum_{t=0}^{T} f_t(theta_t), dL/du_s = sum_{t > s} g_t for the update u_s: the reverse
cumulative sum of gradients that the unroll has computed anyway; other objectives weight each g_t
with dL/df_t. The optimizee is differentiated once per step, and what remains to be differentiated
is the rule alone.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

from l2o_tf.core import coordinates, loops
from l2o_tf.optimizees.base import Batch, Optimizee, Params
from l2o_tf.rules.base import State, UpdateRule, Weights
from l2o_tf.training import unrolls
from l2o_tf.training.objectives import Objective

FirstState = Callable[[Weights, State], State]


class Setting(NamedTuple):
    """What an unroll of meta-training is about, besides a rule that starts somewhere.

    Attributes:
        objective: what is made of its losses.
        second_derivatives: whether the gradients given to the rule depend on the weights.
        initial_loss: scalar, the loss of the trajectory's first point, for objectives that are
            relative to it.
        scoring_batch: what all points are scored on; None for the batch of each step.
        num_steps: int32 scalar, the number of steps, at most that of the compiled unroll; None
            for all of them.
        penalty: maps the parameters before step t, and t, to what is added to the objective.
        first_state: maps the weights and the rule's state at the start to that state as a
            function of the weights, where it is one; no gradient flows into the start otherwise.
    """

    objective: Objective = Objective()
    second_derivatives: bool = False
    initial_loss: tf.Tensor | None = None
    scoring_batch: Batch | None = None
    num_steps: tf.Tensor | None = None
    penalty: Callable[[Params, tf.Tensor], tf.Tensor] | None = None
    first_state: FirstState | None = None


class Evaluation(NamedTuple):
    """What came of one unroll.

    Attributes:
        losses: [unroll_length + 1], the last one being 0 where the objective leaves the end out.
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
    rule: UpdateRule,
    optimizee: Optimizee,
    trajectory: unrolls.Trajectory,
    batches: unrolls.Batches,
    unroll_length: int,
    weights: Weights,
    setting: Setting = Setting(),
) -> MetaGradient:
    """Unrolls a rule and differentiates the meta-objective.

    A rule that `differentiates_itself` is fastest outside of XLA, any other inside.

    Args:
        rule: the learned rule.
        optimizee: what it optimizes.
        trajectory: the start of the unroll; no gradient flows into its parameters.
        batches: the batch of t = 0, ..., unroll_length; the last one only scores the end.
        unroll_length: the number of steps, T.
        weights: the rule's meta-parameters by name.
        setting: the objective, and what else there is to the unroll.
    """
    arguments = (rule, optimizee, trajectory, batches, unroll_length, weights, setting)
    if not differentiates_itself(rule, setting):
        if rule.compiles_itself:
            return loops.compiled(lambda: _differentiated(*arguments))()
        return _differentiated(*arguments)
    recorder = rule.recorder(trajectory.params, unroll_length, weights)
    if recorder is None:
        return _replayed(*arguments)
    return _recorded(recorder, *arguments[1:5], setting)


def differentiates_itself(rule: UpdateRule, setting: Setting) -> bool:
    """Whether a rule's own derivative of a recorded sequence of gradients is used."""
    special = (
        setting.second_derivatives
        or setting.scoring_batch is not None
        or setting.num_steps is not None
        or setting.penalty is not None
        or setting.first_state is not None
        or setting.objective.early_stop is not None
        or rule.scores_elsewhere
    )
    return rule.compiles_itself and not special


def _differentiated(rule, optimizee, trajectory, batches, unroll_length, weights, setting):
    """The general way: a tape around the unroll."""
    with tf.GradientTape() as tape:
        tape.watch(weights)
        unroll = evaluate(
            rule, optimizee, trajectory, batches, unroll_length, weights, setting
        )
    gradient = _gradient(tape, unroll.objective, weights)
    return MetaGradient(gradient=gradient, **unroll._asdict())


def evaluate(
    rule: UpdateRule,
    optimizee: Optimizee,
    trajectory: unrolls.Trajectory,
    batches: unrolls.Batches,
    unroll_length: int,
    weights: Weights,
    setting: Setting,
) -> Evaluation:
    """Runs an unroll; the objective can be differentiated. The arguments are `meta_gradient`'s."""
    objective, initial = setting.objective, setting.initial_loss

    def score(point, t):
        batch = batches(t) if setting.scoring_batch is None else setting.scoring_batch
        points = rule.true_params(point.params, point.rule_state)
        if setting.second_derivatives:
            return optimizee.loss(points, batch)
        return _linear(*unrolls.loss_and_gradients(optimizee, points, batch), points)

    def observe(point, loss, grads, t):
        if setting.scoring_batch is not None or rule.scores_elsewhere:
            return score(point, t)
        return loss if setting.second_derivatives else _linear(loss, grads, point.params)

    if setting.first_state is not None:
        state = setting.first_state(weights, trajectory.rule_state)
        trajectory = trajectory._replace(rule_state=state)
    first_loss = goes_on = None
    if objective.early_stop is not None:
        first_loss = score(trajectory, tf.constant(0))
    if objective.early_stop is not None or setting.num_steps is not None:
        goes_on = _goes_on(setting, first_loss)
    run = unrolls.unroll(
        rule,
        optimizee,
        trajectory,
        batches,
        unroll_length,
        weights,
        constant_gradients=not setting.second_derivatives,
        observe=observe,
        penalty=setting.penalty,
        goes_on=goes_on,
    )
    end_loss = tf.zeros_like(run.losses[0])
    if objective.scores_end:
        end_loss = score(run.end, tf.convert_to_tensor(run.taken))
    value = objective.total(
        run.losses, end_loss, initial, first_loss, run.taken, setting.num_steps
    )
    if setting.penalty is not None:
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


def _goes_on(setting, first_loss):
    def goes_on(last_loss, t):
        going = tf.constant(True)
        if setting.num_steps is not None:
            going &= t < setting.num_steps
        if setting.objective.early_stop is not None:
            loss = tf.where(t == 0, first_loss, last_loss)
            going &= setting.objective.goes_on(loss, setting.initial_loss)
        return going

    return goes_on


def _recorded(recorder, optimizee, trajectory, batches, unroll_length, setting):
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
        return _score_end(optimizee, params, batches, losses, gradients, setting)

    start = unrolls.Trajectory(list(trajectory.params), recorder.start(trajectory.rule_state))
    like = loops.output_specs(compiled_step, start, tf.constant(0))[1]
    like = (*like, recorder.kept(start.rule_state))
    end, (losses, gradients, records, kept) = loops.record(step, start, unroll_length, like)
    losses, cotangents, value = score(end.params, losses.stack(), gradients.stack())
    gradient = recorder.gradient(kept, records, cotangents)
    end = end._replace(rule_state=recorder.end(end.rule_state))
    return MetaGradient(losses, gradient, end, value, unroll_length)


def _replayed(rule, optimizee, trajectory, batches, unroll_length, weights, setting):
    @loops.compiled
    def forward(trajectory, weights):
        run = unrolls.unroll(
            rule, optimizee, trajectory, batches, unroll_length, weights, keep_gradients=True
        )
        gradients = coordinates.flatten(run.gradients, leading=1)
        losses, cotangents, value = _score_end(
            optimizee, run.end.params, batches, run.losses, gradients, setting
        )
        cotangents = coordinates.unflatten(cotangents, run.end.params)
        return run.end, run.gradients, losses, cotangents, value

    end, gradients, losses, cotangents, value = forward(trajectory, weights)
    with tf.GradientTape() as tape:
        tape.watch(weights)
        updates, _ = rule.replay(gradients, trajectory.rule_state, trajectory.params, weights)
        surrogate = tf.add_n([tf.reduce_sum(c * u) for c, u in zip(cotangents, updates)])
    gradient = _gradient(tape, surrogate, weights)
    return MetaGradient(losses, gradient, end, value, unroll_length)


def _score_end(optimizee, params, batches, losses, gradients, setting):
    """All losses, [num_steps + 1], the cotangents of the updates, [num_steps, N], the objective."""
    num_steps = losses.shape[0]
    loss, grads = unrolls.loss_and_gradients(optimizee, params, batches(tf.constant(num_steps)))
    with tf.GradientTape() as tape:
        tape.watch((losses, loss))
        value = setting.objective.total(losses, loss, setting.initial_loss)
    slopes, end_slope = tape.gradient(value, (losses, loss), unconnected_gradients="zero")
    later = [slopes[1:, None] * gradients[1:], end_slope * coordinates.flatten(grads)[None]]
    cotangents = tf.cumsum(tf.concat(later, axis=0), reverse=True)
    return tf.concat([losses, loss[None]], axis=0), cotangents, value


def _gradient(tape, objective, weights):
    return tape.gradient(objective, weights, unconnected_gradients="zero")
