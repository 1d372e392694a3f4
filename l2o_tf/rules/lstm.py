"""L2O-DM: the coordinate-wise LSTM of Andrychowicz et al. 2016."""

from l2o_tf.core import errors, seeds
from l2o_tf.rules import base, drifting, recurrent, recurrent_rule
from l2o_tf.rules import preprocess as preprocessing

_NUM_FEATURES = {"log_and_sign": 2, "identity": 1}


@base.register("dm")
class DM(recurrent_rule.RecurrentRule):
    """u = 0.01 (w . LSTM(LogAndSign(g)) + b), a state per coordinate, weights shared.

    Source: paper section 5, "L2O-DM"; legacy `networks.py`, StandardDeepLSTM. Without
    preprocessing (`preprocess="identity"`) and with an output scale of 1 it is the rule of the
    legacy code's toy problems. `centered` subtracts what the network does without a gradient, and
    `drift` is added to updates of coordinates, or units, without one (`drifting.Drift`); they are
    not of the paper.
    """

    def __init__(
        self,
        seed: seeds.Seed | None = None,
        units: tuple[int, ...] = (20, 20),
        output_scale: float = 0.01,
        preprocess: str = "log_and_sign",
        centered: bool = False,
        drift: float = 0.0,
        drift_of: str = "coordinates",
        name: str | None = None,
    ):
        """Draws initial weights from `seed` (int32 [2]) for LSTM layers of the given `units`.

        Raises:
            InputError: if `preprocess` is neither "log_and_sign" nor "identity", `drift_of`
                neither "coordinates" nor "units", or a layer has no units.
        """
        if preprocess not in _NUM_FEATURES:
            raise errors.InputError(
                f"preprocess {preprocess!r} is unknown: choose one of {', '.join(_NUM_FEATURES)}"
            )
        seed = seeds.make_seed(0, "rule") if seed is None else seed
        num_features = _NUM_FEATURES[preprocess]
        super().__init__(recurrent.initial_weights(seed, num_features, units), name=name)
        self.units = tuple(units)
        self.output_scale = output_scale
        self.centered = centered
        self.drift = drifting.Drift(drift, drift_of)
        self.preprocess = preprocess

    def options(self):
        options = {"units": list(self.units), "output_scale": self.output_scale}
        # Named where it is not the default only: cards and fingerprints of before stay valid.
        if self.preprocess != "log_and_sign":
            options["preprocess"] = self.preprocess
        return options | self.extensions()

    def initial_state(self, num_coordinates, dtype):
        return recurrent.initial_state(self.units, num_coordinates, dtype)

    def split(self, state):
        return (), state

    def join(self, feature_state, lstm):
        return lstm

    def features(self, grads, feature_state):
        if self.preprocess == "identity":
            return grads[..., None, :], ()
        return preprocessing.log_and_sign(grads), ()

    def activation(self, outputs):
        return outputs * self.output_scale
