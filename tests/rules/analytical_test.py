"""The analytical rules against TensorFlow 1's optimizers, step by step."""

import numpy as np
import pytest
import tensorflow as tf

from l2o_tf import rules
from l2o_tf.core import errors

v1 = tf.compat.v1.train
REFERENCES = {
    "sgd": lambda: v1.GradientDescentOptimizer(0.03),
    "momentum": lambda: v1.MomentumOptimizer(0.03, 0.9),
    "nesterov": lambda: v1.MomentumOptimizer(0.03, 0.9, use_nesterov=True),
    "adam": lambda: v1.AdamOptimizer(0.03),
    "rmsprop": lambda: v1.RMSPropOptimizer(0.03),
    "adagrad": lambda: v1.AdagradOptimizer(0.03),
}


@pytest.mark.parametrize("name", rules.analytical_names())
def test_100_random_steps_equal_tensorflow_1(name):
    rng = np.random.default_rng(0)
    shapes = [(3, 2), (), (5,)]
    params = [tf.constant(rng.normal(size=s), tf.float32) for s in shapes]
    variables = [tf.Variable(p) for p in params]
    reference = REFERENCES[name]()
    rule = rules.from_spec(f"{name}:0.03")
    state = rule.init(params)
    for _ in range(100):
        scale = 10.0 ** rng.uniform(-6, 2)
        grads = [tf.constant(scale * rng.normal(size=s), tf.float32) for s in shapes]
        reference.apply_gradients(zip(grads, variables))
        updates, state = rule.update(grads, state, params)
        params = [p + u for p, u in zip(params, updates)]
        for p, v in zip(params, variables):
            np.testing.assert_allclose(p, v, rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize("name", rules.analytical_names())
def test_the_learning_rate_is_a_meta_parameter(name):
    params, grads = [tf.ones([4])], [tf.constant([1.0, -2.0, 3.0, 0.5])]
    fast, slow = rules.from_spec(f"{name}:0.3"), rules.from_spec(f"{name}:0.1")
    expected, _ = fast.update(grads, fast.init(params), params)
    actual, _ = slow.update(
        grads, slow.init(params), params, weights={"learning_rate": tf.constant(0.3)}
    )
    np.testing.assert_allclose(actual[0], expected[0], rtol=1e-6)


@pytest.mark.parametrize("name", rules.analytical_names())
def test_options_create_the_same_rule(name):
    rule = rules.from_spec(f"{name}:0.25")
    assert rules.create(name, **rule.options()).options() == rule.options()
    assert rule.options()["learning_rate"] == 0.25


@pytest.mark.parametrize(
    "spec, message",
    [
        ("foo", "unknown update rule 'foo'; known: "),
        ("foo:0.1", "unknown update rule 'foo'"),
        ("rnnprop", "'rnnprop' is no analytical rule; these are: sgd, momentum, "),
        ("rnnprop:0.1", "'rnnprop' is no analytical rule"),
        ("adam:x", "'adam:x' is not a rule: expected name:learning_rate"),
        ("adam:0", "a learning rate must be positive, got 0.0"),
        ("adam:-1", "a learning rate must be positive"),
        ("adam:nan", "a learning rate must be positive"),
        ("adam:inf", "a learning rate must be positive"),
    ],
)
def test_wrong_specs_are_reported_in_one_line(spec, message):
    with pytest.raises(errors.InputError) as error:
        rules.from_spec(spec)
    assert str(error.value).startswith(message) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    "name, option",
    [("adam", "epsilon"), ("rmsprop", "epsilon"), ("adagrad", "initial_accumulator")],
)
def test_what_keeps_a_gradient_of_0_from_being_nan_is_positive(name, option):
    for value in (0.0, -1e-8, float("nan")):
        with pytest.raises(errors.InputError, match=f"{option} of {name} must be positive"):
            rules.create(name, **{option: value})
