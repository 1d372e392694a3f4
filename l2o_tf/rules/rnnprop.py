"""RNNprop: an LSTM on Adam's and RMSProp's directions (Lv et al. 2017)."""

from typing import NamedTuple

import tensorflow as tf

from l2o_tf import loops, seeds
from l2o_tf.rules import base, lstm_sequence, preprocess, recurrent


class RNNpropState(NamedTuple):
    """Moments of the gradients and the states of the LSTM layers."""

    moments: preprocess.Moments
    lstm: tuple[recurrent.LSTMState, ...]


@base.register("rnnprop")
class RNNprop(base.CoordinatewiseRule):
    """u = 0.01 tanh(w . LSTM(elu(W [m, g] + b)) + b) with scale-free m and g.

    The output scale is the one of this paper's legacy code; RNNprop's own paper has 0.1.
    Source: legacy `meta_rnnprop_train.py`, `networks.py` RNNprop.
    """

    learned = True

    def __init__(
        self,
        seed: seeds.Seed | None = None,
        units: tuple[int, ...] = (20, 20),
        num_projected: int = 20,
        output_scale: float = 0.01,
        name: str | None = None,
    ):
        """Draws initial weights from `seed` (int32 [2]) for LSTM layers of the given `units`."""
        seed = seeds.make_seed(0, "rule") if seed is None else seed
        super().__init__(recurrent.initial_weights(seed, 2, units, num_projected), name=name)
        self.units = tuple(units)
        self.num_projected = num_projected
        self.output_scale = output_scale

    def options(self):
        return {
            "units": list(self.units),
            "num_projected": self.num_projected,
            "output_scale": self.output_scale,
        }

    def init_coordinates(self, num_coordinates, dtype):
        return RNNpropState(
            preprocess.initial_moments(num_coordinates, dtype),
            recurrent.initial_state(self.units, num_coordinates, dtype),
        )

    def update_coordinates(self, grads, state, weights=None):
        weights = self.weights() if weights is None else weights
        features, moments = preprocess.adam_features(grads, state.moments)
        projected = tf.nn.elu(recurrent.linear(weights, "input_projection", features))
        hidden, lstm = recurrent.lstm_stack(weights, projected, state.lstm)
        update = tf.tanh(recurrent.linear(weights, "linear", hidden)[0]) * self.output_scale
        return update, RNNpropState(moments, lstm)

    def replay_coordinates(self, grads, state, weights=None):
        weights = self.weights() if weights is None else weights
        # Nothing before the network depends on the weights.
        constants = tf.nest.map_structure(tf.stop_gradient, (grads, state.moments))
        features, moments = _features(*constants)
        outputs, lstm = lstm_sequence.run(weights, features, state.lstm)
        return tf.tanh(outputs) * self.output_scale, RNNpropState(moments, lstm)


@loops.compiled
def _features(grads, moments):
    """Adam's features of a sequence of gradients: [num_steps, 2, N], and the last moments."""

    def step(moments, t):
        features, moments = preprocess.adam_features(grads[t], moments)
        return moments, features

    num_steps, num_coordinates = grads.shape
    like = tf.TensorSpec([2, num_coordinates], grads.dtype)
    moments, features = loops.scan(step, moments, num_steps, like)
    return features, moments
