"""The analytical update rules with TensorFlow 1's formulas: teachers, baselines, meta-optimizers.

The formulas are those of `tf.compat.v1.train`, which the legacy code used and whose details
(where epsilon stands, what accumulators start with) differ from Keras'.
"""

from typing import NamedTuple

import tensorflow as tf

from l2o_tf import errors
from l2o_tf.rules import base


def _check_learning_rate(learning_rate: float) -> float:
    if not 0 < learning_rate < float("inf"):
        raise errors.InputError(f"a learning rate must be positive, got {learning_rate}")
    return learning_rate


@base.register("sgd")
class SGD(base.CoordinatewiseRule):
    """Gradient descent: u = -lr g."""

    def __init__(self, learning_rate: float = 0.1, name: str | None = None):
        super().__init__(name=name)
        self.learning_rate = _check_learning_rate(learning_rate)

    def options(self):
        return {"learning_rate": self.learning_rate}

    def init_coordinates(self, num_coordinates, dtype):
        return ()

    def update_coordinates(self, grads, state, weights=None):
        return -self.learning_rate * grads, state


@base.register("momentum")
class Momentum(base.CoordinatewiseRule):
    """Momentum: a' = mu a + g, u = -lr a' (Nesterov: u = -lr (g + mu a')). State: a [N]."""

    nesterov = False

    def __init__(self, learning_rate: float = 0.01, momentum: float = 0.9, name: str | None = None):
        super().__init__(name=name)
        self.learning_rate = _check_learning_rate(learning_rate)
        self.momentum = momentum

    def options(self):
        return {"learning_rate": self.learning_rate, "momentum": self.momentum}

    def init_coordinates(self, num_coordinates, dtype):
        return tf.zeros([num_coordinates], dtype)

    def update_coordinates(self, grads, state, weights=None):
        accumulator = self.momentum * state + grads
        direction = grads + self.momentum * accumulator if self.nesterov else accumulator
        return -self.learning_rate * direction, accumulator


@base.register("nesterov")
class Nesterov(Momentum):
    """Momentum in TensorFlow 1's form of Nesterov's method."""

    nesterov = True


class AdamState(NamedTuple):
    """Moments [num_coordinates] and the number of steps taken."""

    first: tf.Tensor
    second: tf.Tensor
    step: tf.Tensor


@base.register("adam")
class Adam(base.CoordinatewiseRule):
    """Adam with epsilon outside the bias correction ("epsilon hat" in the Adam paper)."""

    def __init__(
        self,
        learning_rate: float = 0.01,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
        name: str | None = None,
    ):
        super().__init__(name=name)
        self.learning_rate = _check_learning_rate(learning_rate)
        self.beta1, self.beta2, self.epsilon = beta1, beta2, epsilon

    def options(self):
        return {
            "learning_rate": self.learning_rate,
            "beta1": self.beta1,
            "beta2": self.beta2,
            "epsilon": self.epsilon,
        }

    def init_coordinates(self, num_coordinates, dtype):
        zeros = tf.zeros([num_coordinates], dtype)
        return AdamState(zeros, zeros, tf.constant(0))

    def update_coordinates(self, grads, state, weights=None):
        step = state.step + 1
        t = tf.cast(step, grads.dtype)
        first = self.beta1 * state.first + (1 - self.beta1) * grads
        second = self.beta2 * state.second + (1 - self.beta2) * tf.square(grads)
        rate = self.learning_rate * tf.sqrt(1 - self.beta2**t) / (1 - self.beta1**t)
        return -rate * first / (tf.sqrt(second) + self.epsilon), AdamState(first, second, step)


@base.register("rmsprop")
class RMSProp(base.CoordinatewiseRule):
    """RMSProp: s' = d s + (1 - d) g^2 from s = 1, u = -lr g / sqrt(s' + epsilon). State: s [N]."""

    def __init__(
        self,
        learning_rate: float = 0.01,
        decay: float = 0.9,
        epsilon: float = 1e-10,
        name: str | None = None,
    ):
        super().__init__(name=name)
        self.learning_rate = _check_learning_rate(learning_rate)
        self.decay, self.epsilon = decay, epsilon

    def options(self):
        return {
            "learning_rate": self.learning_rate,
            "decay": self.decay,
            "epsilon": self.epsilon,
        }

    def init_coordinates(self, num_coordinates, dtype):
        return tf.ones([num_coordinates], dtype)

    def update_coordinates(self, grads, state, weights=None):
        square = self.decay * state + (1 - self.decay) * tf.square(grads)
        return -self.learning_rate * grads * tf.math.rsqrt(square + self.epsilon), square


@base.register("adagrad")
class Adagrad(base.CoordinatewiseRule):
    """Adagrad: s' = s + g^2 from s = 0.1, u = -lr g / sqrt(s'). State: s [N]."""

    def __init__(
        self,
        learning_rate: float = 0.01,
        initial_accumulator: float = 0.1,
        name: str | None = None,
    ):
        super().__init__(name=name)
        self.learning_rate = _check_learning_rate(learning_rate)
        self.initial_accumulator = initial_accumulator

    def options(self):
        return {
            "learning_rate": self.learning_rate,
            "initial_accumulator": self.initial_accumulator,
        }

    def init_coordinates(self, num_coordinates, dtype):
        return tf.fill([num_coordinates], tf.cast(self.initial_accumulator, dtype))

    def update_coordinates(self, grads, state, weights=None):
        square = state + tf.square(grads)
        return -self.learning_rate * grads * tf.math.rsqrt(square), square
