"""The analytical update rules with TensorFlow 1's formulas: teachers, baselines, meta-optimizers.

The formulas are those of `tf.compat.v1.train`, which the legacy code used and whose details
(where epsilon stands, what accumulators start with) differ from Keras'.
"""

from typing import NamedTuple

import tensorflow as tf

from l2o_tf.core import errors
from l2o_tf.rules import base


def _check_positive(what: str, value: float) -> None:
    if not 0 < value <= tf.float32.max:
        raise errors.InputError(f"{what} must be positive, got {value}")


class AnalyticalRule(base.CoordinatewiseRule):
    """A rule with a formula; its one meta-parameter is the learning rate.

    That the learning rate is a meta-parameter lets one compiled loop serve a whole grid of them.
    """

    def __init__(self, learning_rate: float, name: str | None = None):
        _check_positive("a learning rate", learning_rate)
        super().__init__(name=name)
        self.learning_rate = learning_rate

    def weights(self):
        return {"learning_rate": tf.constant(self.learning_rate)}

    def assign(self, weights):
        if weights.keys() != {"learning_rate"}:
            raise ValueError(f"{self.name} has a learning rate and no {', '.join(weights)}")
        self.learning_rate = float(weights["learning_rate"])

    def options(self):
        return {"learning_rate": self.learning_rate}

    def update_coordinates(self, grads, state, weights):
        return self.step(grads, state, tf.cast(weights["learning_rate"], grads.dtype))

    def step(
        self, grads: tf.Tensor, state: base.State, learning_rate: tf.Tensor
    ) -> tuple[tf.Tensor, base.State]:
        """Maps gradients [num_coordinates] to updates [num_coordinates] and the next state."""
        raise NotImplementedError


@base.register("sgd")
class SGD(AnalyticalRule):
    """Gradient descent: u = -lr g."""

    def __init__(self, learning_rate: float = 0.1, name: str | None = None):
        super().__init__(learning_rate, name=name)

    def init_coordinates(self, num_coordinates, dtype):
        return ()

    def step(self, grads, state, learning_rate):
        return -learning_rate * grads, state


@base.register("momentum")
class Momentum(AnalyticalRule):
    """Momentum: a' = mu a + g, u = -lr a' (Nesterov: u = -lr (g + mu a')). State: a [N]."""

    nesterov = False

    def __init__(self, learning_rate: float = 0.01, momentum: float = 0.9, name: str | None = None):
        super().__init__(learning_rate, name=name)
        self.momentum = momentum

    def options(self):
        return {**super().options(), "momentum": self.momentum}

    def init_coordinates(self, num_coordinates, dtype):
        return tf.zeros([num_coordinates], dtype)

    def step(self, grads, state, learning_rate):
        accumulator = self.momentum * state + grads
        direction = grads + self.momentum * accumulator if self.nesterov else accumulator
        return -learning_rate * direction, accumulator


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
class Adam(AnalyticalRule):
    """Adam with epsilon outside the bias correction ("epsilon hat" in the Adam paper)."""

    def __init__(
        self,
        learning_rate: float = 0.01,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
        name: str | None = None,
    ):
        super().__init__(learning_rate, name=name)
        _check_positive("epsilon of adam", epsilon)  # With 0, a gradient of 0 gives NaN.
        self.beta1, self.beta2, self.epsilon = beta1, beta2, epsilon

    def options(self):
        return {
            **super().options(),
            "beta1": self.beta1,
            "beta2": self.beta2,
            "epsilon": self.epsilon,
        }

    def init_coordinates(self, num_coordinates, dtype):
        zeros = tf.zeros([num_coordinates], dtype)
        return AdamState(zeros, zeros, tf.constant(0))

    def step(self, grads, state, learning_rate):
        step = state.step + 1
        t = tf.cast(step, grads.dtype)
        # TensorFlow's kernel rounds beta before it subtracts, which 1 - 0.999 shows.
        beta1, beta2 = tf.cast(self.beta1, grads.dtype), tf.cast(self.beta2, grads.dtype)
        first = state.first + (1 - beta1) * (grads - state.first)
        second = state.second + (1 - beta2) * (tf.square(grads) - state.second)
        rate = learning_rate * tf.sqrt(1 - beta2**t) / (1 - beta1**t)
        return -rate * first / (tf.sqrt(second) + self.epsilon), AdamState(first, second, step)


@base.register("rmsprop")
class RMSProp(AnalyticalRule):
    """RMSProp: s' = d s + (1 - d) g^2 from s = 1, u = -lr g / sqrt(s' + epsilon). State: s [N]."""

    def __init__(
        self,
        learning_rate: float = 0.01,
        decay: float = 0.9,
        epsilon: float = 1e-10,
        name: str | None = None,
    ):
        super().__init__(learning_rate, name=name)
        _check_positive("epsilon of rmsprop", epsilon)
        self.decay, self.epsilon = decay, epsilon

    def options(self):
        return {
            **super().options(),
            "decay": self.decay,
            "epsilon": self.epsilon,
        }

    def init_coordinates(self, num_coordinates, dtype):
        return tf.ones([num_coordinates], dtype)

    def step(self, grads, state, learning_rate):
        decay = tf.cast(self.decay, grads.dtype)
        square = state + (1 - decay) * (tf.square(grads) - state)
        return -learning_rate * grads * tf.math.rsqrt(square + self.epsilon), square


@base.register("adagrad")
class Adagrad(AnalyticalRule):
    """Adagrad: s' = s + g^2 from s = 0.1, u = -lr g / sqrt(s'). State: s [N]."""

    def __init__(
        self,
        learning_rate: float = 0.01,
        initial_accumulator: float = 0.1,
        name: str | None = None,
    ):
        super().__init__(learning_rate, name=name)
        _check_positive("initial_accumulator of adagrad", initial_accumulator)
        self.initial_accumulator = initial_accumulator

    def options(self):
        return {
            **super().options(),
            "initial_accumulator": self.initial_accumulator,
        }

    def init_coordinates(self, num_coordinates, dtype):
        return tf.fill([num_coordinates], tf.cast(self.initial_accumulator, dtype))

    def step(self, grads, state, learning_rate):
        square = state + tf.square(grads)
        return -learning_rate * grads * tf.math.rsqrt(square), square
