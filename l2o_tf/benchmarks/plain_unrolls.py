"""A deliberately plain implementation of meta-training, to measure the fast one against.

What a careful first version in TensorFlow looks like: the rule is applied to one parameter tensor
after the other, coordinates first, and the whole unroll is one loop under one gradient tape in
one `tf.function` without XLA. It shares the optimizees and the weights with the fast code, and no
formula of the LSTM rules.
"""

from typing import Any, NamedTuple

import tensorflow as tf

from l2o_tf.core import coordinates, loops, seeds
from l2o_tf.optimizees.base import Optimizee
from l2o_tf.rules.base import UpdateRule, Weights
from l2o_tf.training import unrolls

Params = coordinates.Params

_SCALAR = tf.TensorSpec([], tf.float32)


class Result(NamedTuple):
    """The result of one unroll.

    Attributes:
        objective: what is differentiated, a scalar.
        gradient: its gradient by the names of the weights; () for a forward unroll.
        params: the parameters after the last step.
        state: the state of the rule after the last step.
    """

    objective: tf.Tensor
    gradient: Any
    params: Params
    state: Any


class PlainRule:
    """A rule as it is, for those whose own formulas are as plain as they can be."""

    def __init__(self, rule: UpdateRule):
        self.rule = rule

    def init(
        self, params: Params, seed: seeds.Seed | None = None, weights: Weights | None = None
    ) -> Any:
        """Returns the state before the first step; arguments as in `UpdateRule.init`."""
        return self.rule.init(params, seed, weights)

    def update(
        self, grads: Params, state: Any, params: Params, weights: Weights
    ) -> tuple[Params, Any]:
        """Returns the updates, shaped like `grads`, and the next state."""
        return self.rule.update(grads, state, params, weights)


class PlainLSTM(PlainRule):
    """L2O-DM, tensor by tensor. State: for each tensor and layer, [n, units] h and c."""

    def init(self, params, seed=None, weights=None):
        return [self._zeros(coordinates.count([p])) for p in params]

    def update(self, grads, state, params, weights):
        updates, next_state = [], []
        for gradient, tensor_state in zip(grads, state):
            column = tf.reshape(gradient, [-1, 1])
            outputs, tensor_state = self._tensor_update(column, tensor_state, weights)
            updates.append(tf.reshape(outputs, gradient.shape) * self.rule.output_scale)
            next_state.append(tensor_state)
        return updates, next_state

    def _zeros(self, n):
        return [(tf.zeros([n, u]), tf.zeros([n, u])) for u in self.rule.units]

    def _tensor_update(self, column, layers, weights):
        magnitude = tf.math.log(tf.abs(column) + 1.1920929e-07) / 5.0
        sign = tf.clip_by_value(column * tf.exp(5.0), -1.0, 1.0)
        inputs = tf.concat([tf.maximum(magnitude, -1.0), sign], axis=1)
        outputs, layers = self._lstm(inputs, layers, weights)
        return outputs @ weights["linear/w"] + weights["linear/b"], layers

    def _lstm(self, inputs, layers, weights):
        next_layers = []
        for index, (h, c) in enumerate(layers, 1):
            gates = tf.concat([inputs, h], axis=1) @ weights[f"lstm_{index}/w_gates"]
            i, j, f, o = tf.split(gates + weights[f"lstm_{index}/b_gates"], 4, axis=1)
            c = tf.sigmoid(f + 1.0) * c + tf.sigmoid(i) * tf.tanh(j)
            inputs = tf.sigmoid(o) * tf.tanh(c)
            next_layers.append((inputs, c))
        return inputs, next_layers


class PlainRNNprop(PlainLSTM):
    """RNNprop, tensor by tensor. State: for each tensor m, v [n, 1], the step and the layers."""

    def _zeros(self, n):
        return tf.zeros([n, 1]), tf.zeros([n, 1]), tf.constant(0.0), super()._zeros(n)

    def _tensor_update(self, column, state, weights):
        m, v, t, layers = state
        t = t + 1.0
        m = 0.95 * m + 0.05 * column
        v = 0.95 * v + 0.05 * column**2
        scale = tf.sqrt(v / (1.0 - 0.95**t)) + 1e-8
        inputs = tf.concat([m / (1.0 - 0.95**t) / scale, column / scale], axis=1)
        inputs = inputs @ weights["input_projection/w"] + weights["input_projection/b"]
        outputs, layers = self._lstm(tf.nn.elu(inputs), layers, weights)
        outputs = tf.tanh(outputs @ weights["linear/w"] + weights["linear/b"])
        return outputs, (m, v, t, layers)


def forward(
    plain: PlainRule,
    weights: Weights,
    optimizee: Optimizee,
    start: Any,
    batches: unrolls.Batches,
    num_steps: int,
    second_derivatives: bool = False,
) -> Result:
    """Runs a rule for `num_steps` steps; the objective is the sum of the losses before them."""

    def step(current, t):
        params, state = current
        loss, grads = unrolls.loss_and_gradients(optimizee, params, batches(t))
        if not second_derivatives:
            # The paper ignores them: to the rule, gradients are constants.
            grads = [tf.stop_gradient(g) for g in grads]
        updates, state = plain.update(grads, state, params, weights)
        return ([p + u for p, u in zip(params, updates)], state), loss

    params, state = start
    (params, state), losses = loops.scan(step, (list(params), state), num_steps, _SCALAR)
    return Result(tf.reduce_sum(losses), (), params, state)


def train(
    plain: PlainRule,
    weights: Weights,
    optimizee: Optimizee,
    start: Any,
    batches: unrolls.Batches,
    num_steps: int,
    second_derivatives: bool = False,
) -> Result:
    """Differentiates the sum of the losses before and after each of `num_steps` steps."""
    with tf.GradientTape() as tape:
        tape.watch(weights)
        run = forward(plain, weights, optimizee, start, batches, num_steps, second_derivatives)
        objective = run.objective + optimizee.loss(run.params, batches(num_steps))
    gradient = tape.gradient(objective, weights, unconnected_gradients="zero")
    return Result(objective, gradient, run.params, run.state)


def imitate(
    plain: PlainRule,
    weights: Weights,
    optimizee: Optimizee,
    start: Any,
    batches: unrolls.Batches,
    num_steps: int,
    teacher: UpdateRule,
) -> Result:
    """Differentiates the imitation loss along a teacher's trajectory.

    `start` holds the teacher's parameters and the states of the teacher and the student, in a
    pair; so does the result.
    """

    def step(current, t):
        params, (teacher_state, state) = current
        _, grads = unrolls.loss_and_gradients(optimizee, params, batches(t))
        labels, teacher_state = teacher.update(grads, teacher_state, params)
        updates, state = plain.update(grads, state, params, weights)
        loss = tf.add_n([tf.reduce_sum((u - label) ** 2) for u, label in zip(updates, labels)])
        return ([p + label for p, label in zip(params, labels)], (teacher_state, state)), loss

    params, states = start
    with tf.GradientTape() as tape:
        tape.watch(weights)
        (params, states), losses = loops.scan(step, (list(params), states), num_steps, _SCALAR)
        objective = tf.reduce_sum(losses) / (2 * coordinates.count(params))
    gradient = tape.gradient(objective, weights, unconnected_gradients="zero")
    return Result(objective, gradient, params, states)
