"""What L2O-DM and RNNprop share: an LSTM maps features of gradients to updates."""

from typing import Any

import tensorflow as tf

from l2o_tf.core import coordinates, loops
from l2o_tf.rules import base, drifting, lstm_sequence, recurrent


class RecurrentRule(base.CoordinatewiseRule):
    """Features of the gradient, then the network of `recurrent`, then an activation.

    Attributes:
        centered: whether updates are differences to what the network does without a gradient: one
            more coordinate, whose gradient is always 0, is carried along and its update subtracted
            from all. A rule then has no drift, which otherwise sets how far a loss can fall.
        drift: what is added to updates where there is no gradient.
    """

    learned = True
    centered = False
    drift = drifting.Drift()

    def initial_state(self, num_coordinates: int, dtype: tf.DType) -> base.State:
        """Returns the features' and the network's state before the first step."""
        raise NotImplementedError

    def init_coordinates(self, num_coordinates, dtype):
        return self.initial_state(self.width(num_coordinates), dtype)

    def width(self, num_coordinates: int) -> int:
        """How many coordinates the network sees for so many of the optimizee."""
        return num_coordinates + self.centered

    def seen(self, grads: tf.Tensor) -> tf.Tensor:
        """Maps gradients [..., num_coordinates] to those that the network sees [..., width]."""
        if not self.centered:
            return grads
        return tf.concat([grads, tf.zeros_like(grads[..., :1])], axis=-1)

    def updates(self, outputs: tf.Tensor) -> tf.Tensor:
        """Maps the network's outputs [..., width] to updates [..., num_coordinates]."""
        updates = self.activation(outputs)
        return updates[..., :-1] - updates[..., -1:] if self.centered else updates

    def extensions(self) -> dict[str, Any]:
        """The options that are not of the paper, where they are set: older cards stay valid."""
        return ({"centered": True} if self.centered else {}) | self.drift.options()

    def hold(self, before, after, params, given):
        if self.centered:  # The coordinate without a gradient always moves.
            params, given = [*params, tf.zeros([1])], [*given, True]
        return super().hold(before, after, params, given)

    def split(self, state: base.State) -> tuple[base.State, lstm_sequence.States]:
        """Parts the state of the features from the states of the LSTM layers."""
        raise NotImplementedError

    def join(self, feature_state: base.State, lstm: lstm_sequence.States) -> base.State:
        """Undoes `split`."""
        raise NotImplementedError

    def features(self, grads: tf.Tensor, feature_state: base.State) -> tuple[tf.Tensor, base.State]:
        """Maps gradients [N] to the network's inputs [num_features, N] and the next state."""
        raise NotImplementedError

    def activation(self, outputs: tf.Tensor) -> tf.Tensor:
        """Maps the network's outputs [...] to updates."""
        raise NotImplementedError

    def update_tensors(self, grads, state, params, weights):
        updates, state = super().update_tensors(grads, state, params, weights)
        return self.drift.add(updates, grads), state

    def update_coordinates(self, grads, state, weights):
        feature_state, lstm = self.split(state)
        features, feature_state = self.features(self.seen(grads), feature_state)
        outputs, lstm = recurrent.network(weights, features, lstm)
        return self.updates(outputs), self.join(feature_state, lstm)

    @property
    def differentiator(self):
        return _Differentiator(self) if self.units else None

    @loops.compiled
    def feature_sequence(
        self, grads: base.Params, feature_state: base.State
    ) -> tuple[tf.Tensor, base.State]:
        """Maps gradients [num_steps, *shape_i] to inputs [num_steps, num_features, width]."""
        flat = self.seen(coordinates.flatten(grads, leading=1))

        def step(feature_state, t):
            features, feature_state = self.features(flat[t], feature_state)
            return feature_state, features

        like = self.features(flat[0], feature_state)[0]
        feature_state, features = loops.scan(step, feature_state, flat.shape[0], like)
        return features, feature_state


class _Differentiator(base.Differentiator):
    def __init__(self, rule):
        self._rule = rule

    def replay(self, grads, state, params, weights):
        feature_state, lstm = self._rule.split(state)
        # Nothing before the network depends on the weights.
        constants = tf.nest.map_structure(tf.stop_gradient, (list(grads), feature_state))
        features, feature_state = self._rule.feature_sequence(*constants)
        outputs, lstm = lstm_sequence.run(weights, features, lstm)
        updates = coordinates.unflatten(self._rule.updates(outputs), params)
        updates = self._rule.drift.add(updates, constants[0], leading=1)
        return updates, self._rule.join(feature_state, lstm)

    def recorder(self, params, num_steps, weights):
        num_coordinates = self._rule.width(coordinates.count(params))
        if lstm_sequence.num_blocks(num_coordinates, num_steps) > 1:
            return None
        return _Recorder(self._rule, num_coordinates, weights)


class _Recorder(base.Recorder):
    def __init__(self, rule, num_coordinates, weights):
        self._rule, self._num_coordinates = rule, num_coordinates
        self._kernels = lstm_sequence.to_kernels(weights)

    def start(self, state):
        feature_state, lstm = self._rule.split(state)
        return self._rule.join(feature_state, tf.nest.map_structure(lstm_sequence.pad, lstm))

    def end(self, state):
        feature_state, lstm = self._rule.split(state)
        return self._rule.join(feature_state, tf.nest.map_structure(self._cut, lstm))

    def kept(self, state):
        return lstm_sequence.kept(self._rule.split(state)[1])

    def _cut(self, padded):
        return padded[..., : self._num_coordinates]

    def update(self, grads, state, params):
        feature_state, lstm = self._rule.split(state)
        flat = coordinates.flatten(grads)
        features, feature_state = self._rule.features(self._rule.seen(flat), feature_state)
        features = lstm_sequence.pad(features)
        outputs, lstm, record = lstm_sequence.step(self._kernels, features, lstm)
        outputs = self._cut(outputs)
        updates = coordinates.unflatten(self._rule.updates(outputs), params)
        updates = self._rule.drift.add(updates, grads)
        return updates, self._rule.join(feature_state, lstm), (outputs, record)

    def gradient(self, kept, records, cotangents):
        outputs, steps = records
        outputs = outputs.stack()
        with tf.GradientTape() as tape:
            tape.watch(outputs)
            updates = self._rule.updates(outputs)
        cotangents = tape.gradient(updates, outputs, output_gradients=cotangents)
        gradient, _ = lstm_sequence.backward(
            self._kernels, (kept, steps), lstm_sequence.pad(cotangents)
        )
        return lstm_sequence.to_gradient(gradient)
