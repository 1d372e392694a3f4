"""The smaller trainable rules of L2O-Scale's package: baselines for the hierarchical RNN."""

import math
from typing import NamedTuple

import tensorflow as tf

from l2o_tf.core import coordinates, errors, seeds
from l2o_tf.rules import base, recurrent
from l2o_tf.rules.hierarchical_options import check_lr_range, draw_hidden

_READOUT_SCALE = 0.5
_DECAY_BIAS = 2.2


class CoordinatewiseState(NamedTuple):
    """The state of `CoordinatewiseRNN`.

    Attributes:
        lstm: one `recurrent.LSTMState` [units_i, num_coordinates] per layer.
        mean_square: [num_coordinates], the running mean of the squared gradient.
        decay: [num_coordinates], the decay of that mean.
        learning_rate: [num_coordinates].
    """

    lstm: tuple[recurrent.LSTMState, ...]
    mean_square: tf.Tensor
    decay: tf.Tensor
    learning_rate: tf.Tensor


@base.register("coordinatewise_rnn")
class CoordinatewiseRNN(base.CoordinatewiseRule):
    """An LSTM per coordinate that sets a direction, a decay and a learning rate.

    v' = d v + (1 - d)(g^2 + 1e-12) with v = d = 1 at first, h = LSTM(asinh(g / sqrt(v'))),
    d' = sigmoid(w_d . h + b_d), lr' = 2 sigmoid(w_lr . h + b_lr) lr, u = -lr' (w_u . h).

    Source: legacy `optimizer/coordinatewise_rnn.py` with BasicLSTMCell.
    """

    learned = True
    learned_start = True

    def __init__(
        self,
        seed: seeds.Seed | None = None,
        units: tuple[int, ...] = (20, 20),
        init_lr_range: tuple[float, float] = (1.0, 1.0),
        dynamic_output_scale: bool = True,
        learnable_decay: bool = True,
        zero_init_lr_weights: bool = False,
        name: str | None = None,
    ):
        """Draws initial weights.

        Args:
            seed: int32 [2].
            units: hidden units of each LSTM layer.
            init_lr_range: (low, high); the initial learning rate of a coordinate is drawn
                log-uniformly, so that `init` needs a seed unless the bounds are equal.
            dynamic_output_scale: whether the network changes learning rates.
            learnable_decay: whether the network sets the decay; it is sigmoid(2.2) otherwise.
            zero_init_lr_weights: whether the network starts without changing learning rates.
            name: the module's name.

        Raises:
            InputError: unless 0 < low <= high, and if there is no layer or one without units.
        """
        check_lr_range(init_lr_range)
        recurrent.check_units(units, fewest_layers=1)
        self.units = tuple(units)
        self.init_lr_range = tuple(init_lr_range)
        self.dynamic_output_scale = dynamic_output_scale
        self.learnable_decay = learnable_decay
        seed = seeds.make_seed(0, "rule") if seed is None else seed
        weights = _initial_weights(seed, self.units, learnable_decay, dynamic_output_scale)
        if dynamic_output_scale and zero_init_lr_weights:
            weights["lr/w"] = tf.zeros_like(weights["lr/w"])
        super().__init__(weights, name=name)
        self.zero_init_lr_weights = zero_init_lr_weights

    def options(self):
        return {
            "units": list(self.units),
            "init_lr_range": list(self.init_lr_range),
            "dynamic_output_scale": self.dynamic_output_scale,
            "learnable_decay": self.learnable_decay,
            "zero_init_lr_weights": self.zero_init_lr_weights,
        }

    def init_tensors(self, params, seed, weights):
        """As `HierarchicalRNN.init_tensors`: `weights` holds the initial hidden state.

        Raises:
            InputError: if there is something to draw and no seed.
        """
        num_coordinates, dtype = coordinates.count(params), params[0].dtype
        ones = tf.ones([num_coordinates], dtype)
        low, high = self.init_lr_range
        if low == high:
            learning_rate = ones * low
        elif seed is None:
            raise errors.InputError(
                "the coordinate-wise RNN starts from random learning rates: give init a seed, "
                "or set init_lr_range to two equal numbers"
            )
        else:
            log_range = (math.log(low), math.log(high))
            learning_rate = tf.exp(seeds.uniform(seed, [num_coordinates], *log_range, dtype))
        # The vector holds cell and hidden state of the first layer, then of the next.
        vector = tf.broadcast_to(
            tf.transpose(weights["init"]), [2 * sum(self.units), num_coordinates]
        )
        parts = tf.split(vector, [n for n in self.units for _ in range(2)])
        lstm = tuple(
            recurrent.LSTMState(hidden, cell) for cell, hidden in zip(parts[::2], parts[1::2])
        )
        return CoordinatewiseState(lstm, ones, ones, learning_rate)

    def update_coordinates(self, grads, state, weights):
        mean_square = (1.0 - state.decay) * (tf.square(grads) + 1e-12)
        mean_square += state.decay * state.mean_square
        scaled = tf.asinh(grads * tf.math.rsqrt(mean_square + 1e-16))
        hidden, lstm = recurrent.lstm_stack(weights, scaled[None], state.lstm)
        direction = tf.matmul(weights["update/w"], hidden, transpose_a=True)[0]
        learning_rate = state.learning_rate
        if self.dynamic_output_scale:
            learning_rate *= 2.0 * tf.sigmoid(recurrent.linear(weights, "lr", hidden)[0])
        if self.learnable_decay:
            decay = tf.sigmoid(recurrent.linear(weights, "decay", hidden)[0])
        else:
            decay = tf.ones_like(state.decay) * tf.sigmoid(_DECAY_BIAS)
        new_state = CoordinatewiseState(lstm, mean_square, decay, learning_rate)
        return -learning_rate * direction, new_state


def _initial_weights(
    seed: seeds.Seed, units: tuple[int, ...], learnable_decay: bool, dynamic_output_scale: bool
) -> base.Weights:
    """Draws weights with the legacy distributions: Glorot's for the LSTM, normal readouts."""
    weights = {"init": draw_hidden(seeds.fold(seed, 0), 2 * sum(units))}
    num_inputs = 1
    for layer, n in enumerate(units, 1):
        shape = (num_inputs + n, 4 * n)
        limit = math.sqrt(6 / sum(shape))
        weights[f"lstm_{layer}/w_gates"] = seeds.uniform(
            seeds.fold(seed, 1, layer), shape, -limit, limit
        )
        weights[f"lstm_{layer}/b_gates"] = tf.zeros([4 * n])
        num_inputs = n

    def readout(index):
        stddev = _READOUT_SCALE / math.sqrt(num_inputs)
        return seeds.normal(seeds.fold(seed, 2, index), [num_inputs, 1], stddev)

    weights["update/w"] = readout(0)
    if learnable_decay:
        weights |= {"decay/w": readout(1), "decay/b": tf.fill([1], _DECAY_BIAS)}
    if dynamic_output_scale:
        weights |= {"lr/w": readout(2), "lr/b": tf.zeros([1])}
    return weights


@base.register("global_learning_rate")
class GlobalLearningRate(base.CoordinatewiseRule):
    """Gradient descent with one learned rate. Source: legacy `global_learning_rate.py`."""

    learned = True

    def __init__(
        self,
        seed: seeds.Seed | None = None,
        initial_rate: float = 1e-3,
        name: str | None = None,
    ):
        """Sets the rate; nothing is drawn from `seed`."""
        super().__init__({"learning_rate": tf.constant(initial_rate, tf.float32)}, name=name)
        self.initial_rate = initial_rate

    def options(self):
        return {"initial_rate": self.initial_rate}

    def init_coordinates(self, num_coordinates, dtype):
        return ()

    def update_coordinates(self, grads, state, weights):
        return -weights["learning_rate"] * grads, state


@base.register("learning_rate_schedule")
class LearningRateSchedule(base.CoordinatewiseRule):
    """Gradient descent with one learned rate per step; the last one goes on after `num_steps`.

    State: the number of steps taken, an int32 scalar.

    Source: legacy `learning_rate_schedule.py`.
    """

    learned = True

    def __init__(
        self,
        seed: seeds.Seed | None = None,
        initial_rate: float = 0.0,
        num_steps: int = 1000,
        name: str | None = None,
    ):
        """Sets the rates; nothing is drawn from `seed`."""
        if num_steps < 1:
            raise errors.InputError(
                f"a learning rate schedule needs num_steps of at least 1, got {num_steps}"
            )
        super().__init__({"learning_rates": tf.fill([num_steps], float(initial_rate))}, name=name)
        self.initial_rate, self.num_steps = initial_rate, num_steps

    def options(self):
        return {"initial_rate": self.initial_rate, "num_steps": self.num_steps}

    def init_coordinates(self, num_coordinates, dtype):
        return tf.constant(0)

    def update_coordinates(self, grads, state, weights):
        rates = weights["learning_rates"]
        return -rates[tf.minimum(state, rates.shape[0] - 1)] * grads, state + 1


class TrainableAdamState(NamedTuple):
    """Moments [num_coordinates] and the number of steps taken, an int32 scalar."""

    first: tf.Tensor
    second: tf.Tensor
    step: tf.Tensor


@base.register("trainable_adam")
class TrainableAdam(base.CoordinatewiseRule):
    """Adam (Kingma and Ba 2015, algorithm 1) with learned rate, decays and epsilon.

    The legacy `trainable_adam.py` calls its debiasing function where it should update the
    second moment, which therefore stays 0: its update is about lr m / 1e-5 and diverges. That
    is not reproduced here.
    """

    learned = True

    def __init__(
        self,
        seed: seeds.Seed | None = None,
        learning_rate: float = 1e-3,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
        name: str | None = None,
    ):
        """Sets the initial values; nothing is drawn from `seed`.

        Raises:
            InputError: unless the rate and epsilon are positive and the decays in (0, 1).
        """
        if not (learning_rate > 0 and epsilon > 0 and 0 < beta1 < 1 and 0 < beta2 < 1):
            raise errors.InputError(
                "trainable Adam needs learning_rate > 0, epsilon > 0 and betas inside (0, 1), "
                f"got {learning_rate}, {epsilon}, {beta1}, {beta2}"
            )
        initial = {
            "log_learning_rate": math.log(learning_rate),
            "beta1_logit": math.log(beta1 / (1 - beta1)),
            "beta2_logit": math.log(beta2 / (1 - beta2)),
            "log_epsilon": math.log(epsilon),
        }
        super().__init__({k: tf.constant(v, tf.float32) for k, v in initial.items()}, name=name)
        self._options = {
            "learning_rate": learning_rate,
            "beta1": beta1,
            "beta2": beta2,
            "epsilon": epsilon,
        }

    def options(self):
        return dict(self._options)

    def init_coordinates(self, num_coordinates, dtype):
        zeros = tf.zeros([num_coordinates], dtype)
        return TrainableAdamState(zeros, zeros, tf.constant(0))

    def update_coordinates(self, grads, state, weights):
        beta1, beta2 = tf.sigmoid(weights["beta1_logit"]), tf.sigmoid(weights["beta2_logit"])
        step = state.step + 1
        t = tf.cast(step, grads.dtype)
        first = beta1 * state.first + (1.0 - beta1) * grads
        second = beta2 * state.second + (1.0 - beta2) * tf.square(grads)
        # Far below epsilon^2; without it the root has no gradient where a gradient is 0.
        root = tf.sqrt(second / (1.0 - beta2**t) + 1e-30)
        rate = tf.exp(weights["log_learning_rate"]) / (1.0 - beta1**t)
        updates = -rate * first / (root + tf.exp(weights["log_epsilon"]))
        return updates, TrainableAdamState(first, second, step)
