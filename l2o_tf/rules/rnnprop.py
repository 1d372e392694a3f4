"""RNNprop: an LSTM on Adam's and RMSProp's directions (Lv et al. 2017)."""

from typing import NamedTuple

import tensorflow as tf

from l2o_tf.core import seeds
from l2o_tf.rules import base, drifting, preprocess, recurrent, recurrent_rule


class RNNpropState(NamedTuple):
    """Moments of the gradients and the states of the LSTM layers."""

    moments: preprocess.Moments
    lstm: tuple[recurrent.LSTMState, ...]


@base.register("rnnprop", num_epochs=100, period_epochs=10)
class RNNprop(recurrent_rule.RecurrentRule):
    """u = 0.01 tanh(w . LSTM(elu(W [m, g] + b)) + b) with scale-free m and g.

    The output scale is the one of this paper's legacy code; RNNprop's own paper has 0.1.
    `centered` subtracts what the network does without a gradient, and `drift` is added to updates
    of coordinates, or units, without one (`drifting.Drift`); they are not of the paper.
    Source: legacy `meta_rnnprop_train.py`, `networks.py` RNNprop.
    """

    def __init__(
        self,
        seed: seeds.Seed | None = None,
        units: tuple[int, ...] = (20, 20),
        num_projected: int = 20,
        output_scale: float = 0.01,
        centered: bool = False,
        drift: float = 0.0,
        drift_of: str = "coordinates",
        name: str | None = None,
    ):
        """Draws initial weights from `seed` (int32 [2]) for LSTM layers of the given `units`.

        Raises:
            InputError: if `drift_of` is neither "coordinates" nor "units", or a layer has no
                units.
        """
        seed = seeds.make_seed(0, "rule") if seed is None else seed
        super().__init__(recurrent.initial_weights(seed, 2, units, num_projected), name=name)
        self.units = tuple(units)
        self.num_projected = num_projected
        self.output_scale = output_scale
        self.centered = centered
        self.drift = drifting.Drift(drift, drift_of)

    def options(self):
        options = {
            "units": list(self.units),
            "num_projected": self.num_projected,
            "output_scale": self.output_scale,
        }
        return options | self.extensions()

    def initial_state(self, num_coordinates, dtype):
        return RNNpropState(
            preprocess.initial_moments(num_coordinates, dtype),
            recurrent.initial_state(self.units, num_coordinates, dtype),
        )

    def split(self, state):
        return state.moments, state.lstm

    def join(self, feature_state, lstm):
        return RNNpropState(feature_state, lstm)

    def features(self, grads, feature_state):
        return preprocess.adam_features(grads, feature_state)

    def activation(self, outputs):
        return tf.tanh(outputs) * self.output_scale
