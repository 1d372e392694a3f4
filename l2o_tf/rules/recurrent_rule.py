"""What L2O-DM and RNNprop share: an LSTM maps features of gradients to updates."""

import tensorflow as tf

from l2o_tf import coordinates, loops
from l2o_tf.rules import base, lstm_sequence, recurrent


class RecurrentRule(base.CoordinatewiseRule):
    """Features of the gradient, then the network of `recurrent`, then an activation."""

    learned = True
    compiles_itself = True

    def split(self, state: base.State) -> tuple[base.State, lstm_sequence.States]:
        """Parts the state of the features from the states of the LSTM layers."""
        raise NotImplementedError

    def join(self, feature_state: base.State, lstm: lstm_sequence.States) -> base.State:
        """Undoes `split`."""
        raise NotImplementedError

    def features(
        self, grads: tf.Tensor, feature_state: base.State
    ) -> tuple[tf.Tensor, base.State]:
        """Maps gradients [N] to the network's inputs [num_features, N] and the next state."""
        raise NotImplementedError

    def activation(self, outputs: tf.Tensor) -> tf.Tensor:
        """Maps the network's outputs [...] to updates."""
        raise NotImplementedError

    def update_coordinates(self, grads, state, weights=None):
        weights = self.weights() if weights is None else weights
        feature_state, lstm = self.split(state)
        features, feature_state = self.features(grads, feature_state)
        outputs, lstm = recurrent.network(weights, features, lstm)
        return self.activation(outputs), self.join(feature_state, lstm)

    def replay(self, grads, state, params, weights=None):
        weights = self.weights() if weights is None else weights
        feature_state, lstm = self.split(state)
        # Nothing before the network depends on the weights.
        constants = tf.nest.map_structure(tf.stop_gradient, (list(grads), feature_state))
        features, feature_state = self._feature_sequence(*constants)
        outputs, lstm = lstm_sequence.run(weights, features, lstm)
        updates = coordinates.unflatten(self.activation(outputs), params)
        return updates, self.join(feature_state, lstm)

    @loops.compiled
    def _feature_sequence(self, grads, feature_state):
        flat = coordinates.flatten(grads, leading=1)

        def step(feature_state, t):
            features, feature_state = self.features(flat[t], feature_state)
            return feature_state, features

        like = self.features(flat[0], feature_state)[0]
        feature_state, features = loops.scan(step, feature_state, flat.shape[0], like)
        return features, feature_state

    def can_record(self, params, num_steps):
        return lstm_sequence.num_blocks(coordinates.count(params), num_steps) == 1

    def recorded_update(self, grads, state, params, weights):
        feature_state, lstm = self.split(state)
        features, feature_state = self.features(coordinates.flatten(grads), feature_state)
        kernels = lstm_sequence.to_kernels(weights)
        outputs, lstm, record = lstm_sequence.step(kernels, features, lstm)
        updates = coordinates.unflatten(self.activation(outputs), params)
        return updates, self.join(feature_state, lstm), (outputs, record)

    def recorded_gradient(self, records, states, cotangents, weights):
        outputs, steps = records
        outputs = outputs.stack()
        with tf.GradientTape() as tape:
            tape.watch(outputs)
            updates = self.activation(outputs)
        cotangents = coordinates.flatten(cotangents, leading=1)
        cotangents = tape.gradient(updates, outputs, output_gradients=cotangents)
        _, lstm = self.split(states)
        end = tf.nest.map_structure(lambda array: tf.zeros_like(array.read(0)), lstm)
        kernels = lstm_sequence.to_kernels(weights)
        gradient, _ = lstm_sequence.backward(kernels, (steps, lstm), cotangents, end)
        return lstm_sequence.to_gradient(gradient)
