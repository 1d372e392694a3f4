"""L2O-DM: the coordinate-wise LSTM of Andrychowicz et al. 2016."""


from l2o_tf.core import seeds
from l2o_tf.rules import base, preprocess, recurrent, recurrent_rule


@base.register("dm")
class DM(recurrent_rule.RecurrentRule):
    """u = 0.01 (w . LSTM(LogAndSign(g)) + b), a state per coordinate, weights shared.

    Source: paper section 5, "L2O-DM"; legacy `networks.py`, StandardDeepLSTM.
    """

    def __init__(
        self,
        seed: seeds.Seed | None = None,
        units: tuple[int, ...] = (20, 20),
        output_scale: float = 0.01,
        name: str | None = None,
    ):
        """Draws initial weights from `seed` (int32 [2]) for LSTM layers of the given `units`."""
        seed = seeds.make_seed(0, "rule") if seed is None else seed
        super().__init__(recurrent.initial_weights(seed, 2, units), name=name)
        self.units = tuple(units)
        self.output_scale = output_scale

    def options(self):
        return {"units": list(self.units), "output_scale": self.output_scale}

    def init_coordinates(self, num_coordinates, dtype):
        return recurrent.initial_state(self.units, num_coordinates, dtype)

    def split(self, state):
        return (), state

    def join(self, feature_state, lstm):
        return lstm

    def features(self, grads, feature_state):
        return preprocess.log_and_sign(grads), ()

    def activation(self, outputs):
        return outputs * self.output_scale
