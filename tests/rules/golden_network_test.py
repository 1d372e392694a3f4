"""L2O-DM and RNNprop against the legacy networks: 25 steps on 37 coordinates."""

import numpy as np
import pytest
import tensorflow as tf

from l2o_tf import rules
from l2o_tf.rules import preprocess
from tests import legacy_mnist, reference


@pytest.mark.parametrize("name", ["dm", "rnnprop"])
def test_outputs_and_states_equal_the_legacy_network(name):
    golden = reference.arrays(f"golden/dm/net_{name}.npz")
    rule = rules.create(name)
    rule.assign(legacy_mnist.weights(golden, "w/"))
    params = [tf.zeros([37])]
    state = rule.init(params)
    update = tf.function(rule.update)
    for t, grads in enumerate(golden["inputs"]):
        (updates,), state = update([tf.constant(grads)], state, params)
        np.testing.assert_allclose(updates, golden["outputs"][t], rtol=0, atol=1e-7)
        for layer, layer_state in enumerate(state.lstm if name == "rnnprop" else state, 1):
            for key, value in zip("hc", layer_state):
                expected = golden[f"all_{key}_{layer}"][t]
                np.testing.assert_allclose(tf.transpose(value), expected, rtol=0, atol=2e-6)
        if name == "rnnprop":
            np.testing.assert_allclose(state.moments.first, golden["m"][t], rtol=1e-6, atol=0)
            np.testing.assert_allclose(state.moments.second, golden["v"][t], rtol=1e-6, atol=0)


def test_log_and_sign_equals_the_legacy_preprocessing():
    golden = reference.arrays("golden/dm/net_dm.npz")
    features = preprocess.log_and_sign(tf.constant(golden["inputs"]))
    expected = np.moveaxis(golden["net_inputs"], -1, -2)
    np.testing.assert_allclose(features, expected, rtol=0, atol=1e-6)


def test_adam_features_equal_the_legacy_preprocessing():
    golden = reference.arrays("golden/dm/net_rnnprop.npz")
    moments = preprocess.initial_moments(37, tf.float32)
    for grads, expected in zip(golden["inputs"], golden["net_inputs"]):
        features, moments = preprocess.adam_features(tf.constant(grads), moments)
        np.testing.assert_allclose(features, expected.T, rtol=2e-6, atol=2e-6)
