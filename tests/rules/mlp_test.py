"""The rule `mlp` against the published one's numbers, and what is its own: routing, decay."""

import numpy as np
import pytest
import tensorflow as tf

from l2o_tf import rules
from l2o_tf.core import errors
from l2o_tf.rules import mlp
from l2o_tf.training import imitation, unrolls
from tests import reference

NAMES = ("scalar", "bias", "kernel", "wide", "conv", "stack")
TOLERANCE = {"base": 1e-5, "full": 1e-4}
PREFIX = "weights/ff_mod_stack/~/"


def published_weights(golden):
    blocks = [golden[f"{PREFIX}w0__{i}"] for i in range(14)]
    rest = {key: golden[PREFIX + key] for key in ("b0", "w1", "b1", "w2", "b2")}
    return {"w0": np.concatenate(blocks), **rest}


@pytest.mark.parametrize("with_xla", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize("variant", mlp.VARIANTS)
def test_steps_and_accumulators_equal_the_published_rule(variant, with_xla):
    golden = reference.arrays(f"golden/mlp_rule/mlp_rule_{variant}.npz")
    rule = rules.create("mlp", variant=variant, learning_rate=0.01)
    rule.assign(published_weights(golden))
    params = [tf.constant(golden[f"params0/{name}"]) for name in NAMES]
    state = rule.init(params)
    update = tf.function(rule.update, autograph=False, jit_compile=with_xla)
    for t in range(60):
        grads = [tf.constant(golden[f"grads/{name}"][t]) for name in NAMES]
        updates, state = update(grads, state, params)
        for name, moved in zip(NAMES, updates):
            expected = golden[f"steps/{name}"][t]
            error = np.abs(-np.asarray(moved) / 0.01 - expected).max()
            assert error <= TOLERANCE[variant] * np.abs(expected).max(), (name, t, error)
        # From where the published rule stands, so that errors do not add up.
        params = [tf.constant(golden[f"params/{name}"][t]) for name in NAMES]
    for name, tensor in zip(NAMES, state.tensors):
        expected = {key: golden[f"{key}/{name}"] for key in ("m", "v", "v_row", "v_col", "v_diag")}
        momenta = np.moveaxis(expected["m"], -1, 0).reshape(tensor.momenta.shape)
        np.testing.assert_allclose(tensor.momenta, momenta, rtol=1e-5, atol=1e-6)
        second = expected["v"].reshape(tensor.second.shape)
        np.testing.assert_allclose(tensor.second, second, rtol=1e-5)
        factored = {"rows": "v_row", "columns": "v_col", "squares": "v_diag"}
        for own, theirs in factored.items():
            if hasattr(tensor, own):
                value = getattr(tensor, own)
                published = np.moveaxis(expected[theirs], -1, 0).reshape(value.shape)
                np.testing.assert_allclose(value, published, rtol=1e-5)


@pytest.fixture(scope="module")
def tensors():
    rng = np.random.default_rng(0)
    shapes = [(4, 3), (3,), ()]
    params, grads = (
        [tf.constant(rng.normal(size=s), tf.float32) for s in shapes] for _ in range(2)
    )
    return params, grads


def test_vectors_are_adams_where_the_option_says_so(tensors):
    params, grads = tensors
    rule = rules.create("mlp", adam="vectors", learning_rate=0.01, adam_factor=5.0)
    updates, state = rule.update(grads, rule.init(params), params)
    # Adam's first step is -lr g / (|g| + epsilon).
    for update, grad in zip(updates[1:], grads[1:]):
        np.testing.assert_allclose(update, -0.05 * np.sign(grad), rtol=1e-5)
    pure, _ = rules.with_options(rule, adam="none").update(
        grads, rules.create("mlp").init(params), params
    )
    np.testing.assert_array_equal(updates[0], pure[0])
    listed = rules.with_options(rule, adam=[False, True, True])
    tf.nest.assert_same_structure(listed.init(params), state)
    tf.nest.map_structure(
        np.testing.assert_array_equal, listed.update(grads, listed.init(params), params)[0], updates
    )


def test_adam_corrects_its_bias_with_decays_of_its_own(tensors):
    params, grads = tensors
    rule = rules.create("mlp", adam="vectors", adam_factor=1.0)
    state = rule.init(params)
    _, state = rule.update(grads, state, params)
    updates, _ = rule.update([-2 * g for g in grads], state, params)
    g = np.asarray(grads[1])
    first = (0.9 * 0.1 * g + 0.1 * -2 * g) / (1 - 0.9**2)
    second = (0.95 * 0.05 * g**2 + 0.05 * 4 * g**2) / (1 - 0.95**2)
    np.testing.assert_allclose(updates[1], -0.001 * first / np.sqrt(second), rtol=1e-5)


def test_the_step_has_a_root_mean_square_of_the_learning_rate_and_weights_decay(tensors):
    params, grads = tensors
    rule = rules.create("mlp", learning_rate=0.02)
    updates, _ = rule.update(grads, rule.init(params), params)
    for update in updates:
        assert np.sqrt(np.mean(np.square(update))) == pytest.approx(0.02, rel=1e-4)
    decaying = rules.with_options(rule, weight_decay=0.5)
    decayed, _ = decaying.update(grads, decaying.init(params), params)
    for with_decay, without, p in zip(decayed, updates, params):
        np.testing.assert_allclose(with_decay - without, -0.02 * 0.5 * p, atol=1e-7)


@pytest.mark.parametrize("units", [(8, 8), (2,), (3, 4, 5)])
def test_from_the_start_momentum_it_steps_along_adams_direction(units):
    rng = np.random.default_rng(4)
    params = [tf.zeros([5, 3])]
    rule = rules.create("mlp", learning_rate=0.01, units=units, start="momentum")
    state, first, second = rule.init(params), 0.0, 0.0
    for _ in range(3):
        grad = rng.normal(size=[5, 3]).astype(np.float32)
        (update,), state = rule.update([tf.constant(grad)], state, params)
        first, second = 0.9 * first + 0.1 * grad, 0.95 * second + 0.05 * grad**2
        direction = first / np.sqrt(second + 1e-8)
        expected = -0.01 * direction / np.sqrt(np.mean(direction**2))
        np.testing.assert_allclose(update, expected, rtol=1e-4, atol=1e-7)


def test_the_learning_rate_falls_along_a_cosine(tensors):
    params, grads = tensors
    constant = rules.create("mlp", adam="vectors", learning_rate=0.01)
    falling = rules.with_options(constant, total_steps=4)
    states = [rule.init(params) for rule in (constant, falling)]
    for factor in (1, (1 + np.sqrt(0.5)) / 2, 0.5, (1 - np.sqrt(0.5)) / 2, 0, 0):
        whole, states[0] = constant.update(grads, states[0], params)
        fallen, states[1] = falling.update(grads, states[1], params)
        for update, expected in zip(fallen, whole):
            np.testing.assert_allclose(update, factor * expected, rtol=1e-5, atol=1e-9)


def test_the_state_is_as_small_as_the_docstring_says():
    sizes = {}
    for shape, adam in (((1000, 1000), "none"), ((1000,), "none"), ((1000,), "vectors")):
        state = rules.create("mlp", adam=adam).init([tf.zeros(shape)])
        count = sum(np.prod(x.shape) for x in tf.nest.flatten(state.tensors))
        sizes[shape, adam] = 4 * count / np.prod(shape)
    assert list(sizes.values()) == [pytest.approx(16, rel=0.01), 28, 8]


@pytest.mark.parametrize(
    "options, message",
    [
        ({"variant": "huge"}, "unknown variant 'huge'"),
        ({"adam": "biases"}, "none, vectors or a list of bools, got 'biases'"),
        ({"adam": [1, 0]}, "none, vectors or a list of bools"),
        ({"units": []}, "at least 1 units in each hidden layer"),
        ({"units": [8, 1], "start": "momentum"}, "at least 2 units in each hidden layer"),
        ({"start": "adam"}, "unknown start 'adam' of the rule mlp; known: random, momentum"),
        ({"learning_rate": 0.0}, "learning_rate of the rule mlp must be positive, got 0.0"),
        ({"learning_rate": float("nan")}, "must be positive, got nan"),
        ({"total_steps": -1}, "total_steps of the rule mlp must be at least 0, got -1"),
        ({"weight_decay": -1.0}, "weight_decay of the rule mlp must be at least 0, got -1.0"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(errors.InputError, match=message):
        rules.create("mlp", **options)


def test_a_routing_of_another_number_of_tensors_is_refused(tensors):
    with pytest.raises(errors.InputError, match="for 2 tensors .* but there are 3"):
        rules.create("mlp", adam=[True, False]).init(tensors[0])


def test_tensors_without_a_gradient_keep_their_state(tensors):
    params, grads = tensors
    rule = rules.create("mlp", adam=[False, True, False])
    _, before = rule.update(grads, rule.init(params), params)
    _, after = rule.update([grads[0], 0 * grads[1], 0 * grads[2]], before, params)
    held = rule.hold(before, after, params, [True, False, False])
    tf.nest.map_structure(np.testing.assert_array_equal, held.tensors[0], after.tensors[0])
    tf.nest.map_structure(np.testing.assert_array_equal, held.tensors[1:], before.tensors[1:])


def test_imitation_shows_where_the_teacher_stood(tensors):
    """One step per lesson and all of them in one are the same losses only at the right points."""
    params, grads = tensors
    rule = rules.create("mlp", seed=tf.constant([3, 4]), learning_rate=1.0)
    labels = [tf.stack([1.0 * tf.ones_like(p), -0.5 * tf.ones_like(p)]) for p in params]
    end = [p + tf.reduce_sum(label, axis=0) for p, label in zip(params, labels)]
    recorded = [tf.stack([g, -g]) for g in grads]
    lesson = imitation.Lesson(recorded, labels, unrolls.Trajectory(end, ()))
    losses, *_ = imitation.imitation_gradient(rule, rule.init(params), lesson, rule.weights())
    state, at = rule.init(params), params
    for t in range(2):
        updates, state = rule.update([g[t] for g in recorded], state, at)
        squares = [np.sum((u - label[t]) ** 2) for u, label in zip(updates, labels)]
        np.testing.assert_allclose(losses[t], sum(squares) / (2 * 16), rtol=1e-5)
        at = [p + label[t] for p, label in zip(at, labels)]
