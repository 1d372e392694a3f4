"""What holds for every registered rule."""

import json
import typing

import numpy as np
import pytest
import tensorflow as tf

from l2o_tf import rules
from l2o_tf.core import coordinates, errors, plugins, seeds
from l2o_tf.rules import option_types
from l2o_tf.run import build
from l2o_tf.run.config import TrainConfig

plugins.load(plugins.requested(()))  # Those of L2O_TF_PLUGINS.

SHAPES = [(3, 2), (), (5,)]
PARAMS = [tf.ones(shape) for shape in SHAPES]
NUM_COORDINATES = coordinates.count(PARAMS)
SEED = tf.constant([1, 2])


def gradients(seed, num_steps=None):
    rng = np.random.default_rng(seed)
    leading = () if num_steps is None else (num_steps,)
    return [tf.constant(rng.normal(size=(*leading, *s)), tf.float32) for s in SHAPES]


@pytest.mark.parametrize("name", rules.names())
def test_update_keeps_structure_shapes_and_dtypes(name):
    rule = rules.create(name)
    state = rule.init(PARAMS, SEED)
    updates, after = rule.update(gradients(0), state, PARAMS)
    tf.nest.assert_same_structure(after, state)
    for new, old in zip(tf.nest.flatten((updates, after)), tf.nest.flatten((PARAMS, state))):
        assert (new.shape, new.dtype) == (old.shape, old.dtype)


WRONG_GRADIENTS = {
    "transposed": lambda g: [tf.transpose(g[0]), *g[1:]],
    "flattened": lambda g: [tf.reshape(g[0], [-1]), *g[1:]],
    "swapped": lambda g: [g[0], g[2], g[1]],
    "missing": lambda g: [None, *g[1:]],
    "too few": lambda g: g[:2],
}


@pytest.mark.parametrize("change", WRONG_GRADIENTS.values(), ids=WRONG_GRADIENTS)
@pytest.mark.parametrize("name", rules.names())
def test_gradients_of_other_shapes_are_refused(name, change):
    rule = rules.create(name)
    state = rule.init(PARAMS, SEED)
    with pytest.raises(errors.InputError, match="gradient"):
        rule.update(change(gradients(0)), state, PARAMS)


@pytest.mark.parametrize("scale", [0.0, 1e-30, 1e-8, 1e10])
@pytest.mark.parametrize("name", rules.names())
def test_updates_are_finite(name, scale):
    rule = rules.create(name)
    state = rule.init(PARAMS, SEED)
    for t in range(3):
        updates, state = rule.update([scale * g for g in gradients(t)], state, PARAMS)
    assert all(np.isfinite(u).all() for u in updates)


@pytest.mark.parametrize("name", rules.names())
def test_tensors_without_coordinates_change_nothing(name):
    rule, empty = rules.create(name), tf.zeros([0, 3])
    grads = gradients(0)
    plain, _ = rule.update(grads, rule.init(PARAMS, SEED), PARAMS)
    params = [PARAMS[0], empty, *PARAMS[1:]]
    updates, _ = rule.update([grads[0], empty, *grads[1:]], rule.init(params, SEED), params)
    assert updates.pop(1).shape == empty.shape
    for actual, expected in zip(updates, plain, strict=True):
        np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize("name", rules.names())
def test_coordinatewise_rules_do_not_mind_the_order_of_coordinates(name):
    rule = rules.create(name)
    if not isinstance(rule, rules.CoordinatewiseRule):
        pytest.skip("sees tensors, not coordinates")
    order = np.random.default_rng(1).permutation(NUM_COORDINATES)
    flat = coordinates.flatten(gradients(0))
    state, weights = rule.init(PARAMS, SEED), rule.weights()
    plain, _ = rule.update_coordinates(flat, state, weights)
    permuted, _ = rule.update_coordinates(tf.gather(flat, order), state, weights)
    np.testing.assert_allclose(permuted, tf.gather(plain, order), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", rules.names())
def test_a_replay_equals_the_updates_step_by_step(name):
    rule = rules.create(name)
    recorded = gradients(3, num_steps=6)
    state = rule.init(PARAMS, SEED)
    replayed, end = tf.function(rule.replay)(recorded, state, PARAMS)
    for t in range(6):
        updates, state = rule.update([g[t] for g in recorded], state, PARAMS)
        for actual, expected in zip(replayed, updates):
            np.testing.assert_allclose(actual[t], expected, rtol=1e-5, atol=1e-8)
    for actual, expected in zip(tf.nest.flatten(end), tf.nest.flatten(state)):
        np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", rules.learned_names())
def test_weights_can_be_read_passed_and_assigned(name):
    rule, other = rules.create(name), rules.create(name, seed=tf.constant([7, 7]))
    # Not all rules draw their weights.
    other.assign({key: value + 0.01 for key, value in other.weights().items()})
    params = [tf.ones([4])]
    grads = [tf.constant([1.0, -2.0, 0.1, 0.0])]
    expected, _ = other.update(grads, other.init(params, SEED), params)
    passed, _ = rule.update(
        grads, rule.init(params, SEED, other.weights()), params, other.weights()
    )
    before, _ = rule.update(grads, rule.init(params, SEED), params)
    rule.assign(other.weights())
    assigned, _ = rule.update(grads, rule.init(params, SEED), params)
    np.testing.assert_array_equal(passed[0], expected[0])
    np.testing.assert_array_equal(assigned[0], expected[0])
    assert np.abs(np.asarray(before[0]) - expected[0]).max() > 1e-6


@pytest.mark.parametrize("name", rules.learned_names())
def test_weights_of_another_shape_are_refused(name):
    rule = rules.create(name)
    weights = rule.weights()
    first = next(iter(weights))
    for wrong in ({}, {**weights, first: weights[first][None]}, {**weights, "extra": tf.ones([])}):
        with pytest.raises(ValueError, match="have shapes"):
            rule.assign(wrong)


@pytest.mark.parametrize("name", rules.learned_names())
def test_the_first_state_depends_on_the_weights_where_a_rule_says_so(name):
    rule = rules.create(name)
    moved = {key: value + 0.01 for key, value in rule.weights().items()}
    states = [rule.init(PARAMS, SEED), rule.init(PARAMS, SEED, moved)]
    same = all(np.array_equal(a, b) for a, b in zip(*map(tf.nest.flatten, states)))
    assert same != rule.learned_start


@pytest.mark.parametrize("name", rules.names())
def test_a_rule_is_created_again_from_its_options(name):
    rule = rules.create(name)
    options = json.loads(json.dumps(rule.options()))
    assert rules.create(name, **options).options() == rule.options() == options


def test_options_can_change_while_the_weights_stay():
    rule = rules.create("scale", SEED, init_lr_range=(1e-4, 1e-3))
    # One that is named in `options` only where it is set is among them.
    changed = rules.with_options(rule, init_lr_range=(0.1, 0.1), average_tensors=True, drift=1e-3)
    assert changed.options() == {
        **rule.options(),
        "init_lr_range": [0.1, 0.1],
        "average_tensors": True,
        "drift": 1e-3,
    }
    tf.nest.map_structure(np.testing.assert_array_equal, changed.weights(), rule.weights())
    with pytest.raises(errors.InputError, match="scale has no option units; it has level_sizes"):
        rules.with_options(rule, units=(3,))


def test_the_rate_of_a_formula_is_an_option():
    changed = rules.with_options(rules.create("adam", learning_rate=0.5), learning_rate=0.001)
    assert changed.learning_rate == pytest.approx(0.001)
    updates, _ = changed.update([tf.ones([2])], changed.init([tf.zeros([2])]), [tf.zeros([2])])
    np.testing.assert_allclose(updates[0], [-0.001, -0.001], rtol=1e-5)


@pytest.mark.parametrize("name", rules.names())
def test_rows_of_sparse_gradients_are_summed_up(name):
    rule, params = rules.create(name), [tf.reshape(tf.range(8.0), [4, 2])]
    sparse = tf.IndexedSlices(
        tf.constant([[0.06, -0.2], [0.08, 0.3], [0.5, -0.1]]), tf.constant([2, 2, 0])
    )
    rows = tf.constant([[0.5, -0.1], [0.0, 0.0], [0.14, 0.1], [0.0, 0.0]])
    for grads in ([sparse], [rows]):
        state = rule.init(params, SEED)
        updates, state = rule.update(grads, state, params)
        if grads[0] is sparse:
            expected = updates[0], *tf.nest.flatten(state)
    for actual, wanted in zip((updates[0], *tf.nest.flatten(state)), expected, strict=True):
        np.testing.assert_allclose(actual, wanted, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", ["dm", "rnnprop"])
def test_initial_weights_have_the_legacy_distribution(name):
    weights = rules.create_learned(name, tf.constant([3, 4])).weights()
    for key, fan_in in [("lstm_1/w_gates", None), ("lstm_1/b_gates", None), ("linear/w", 20)]:
        fan_in = fan_in or weights["lstm_1/w_gates"].shape[0]
        values = np.ravel(weights[key]) * np.sqrt(fan_in)
        assert np.abs(values).max() <= 2
        # The standard deviation of a normal distribution cut at two standard deviations.
        standard_error = 0.88 / np.sqrt(2 * values.size)
        assert abs(values.std() - 0.8796) < 4 * standard_error
    assert not np.any(weights["linear/b"])


def test_fresh_weights_follow_from_the_seed_alone():
    a, b, c = (rules.create("dm", seed=tf.constant(s)).weights() for s in ([1, 2], [1, 2], [1, 3]))
    assert all(np.array_equal(a[name], b[name]) for name in a)
    assert not np.array_equal(a["linear/w"], c["linear/w"])


@pytest.mark.parametrize(
    "name, options, message",
    [
        ("dm", {"output_scale": "x"}, "the option output_scale of the rule dm must be a number"),
        ("dm", {"centered": "yes"}, "the option centered of the rule dm must be true or false, go"),
        ("dm", {"preprocess": 3}, "the option preprocess of the rule dm must be a text, got 3"),
        ("dm", {"units": [2.5]}, "the option units of the rule dm must be a list of integers, got"),
        ("dm", {"units": "20"}, "the option units of the rule dm must be a list of integers, got "),
        ("dm", {"units": [-1]}, "units must be positive integers, got [-1]"),
        ("coordinatewise_rnn", {"units": []}, "units must be one or more positive integers, got"),
        ("rnnprop", {"units": [20, 0]}, "units must be positive integers, got [20, 0]"),
        ("rnnprop", {"num_projected": 2.0}, "num_projected of the rule rnnprop must be an integer"),
        ("rnnprop", {"num_projected": 0}, "num_projected must be at least 1, got 0"),
        ("scale", {"max_log_lr": "a"}, "the option max_log_lr of the rule scale must be a number"),
        ("scale", {"init_lr_range": [1, "a"]}, "init_lr_range of the rule scale must be a list of"),
        ("adam", {"learning_rate": None}, "learning_rate of the rule adam must be a number, got "),
        ("dm", {"units": [[1] * 50]}, "must be a list of integers, got [[1, 1, 1, 1, 1, "),
    ],
)
def test_options_of_another_type_are_one_line_that_names_them(name, options, message):
    with pytest.raises(errors.InputError) as raised:
        rules.create(name, **options)
    assert message in str(raised.value) and "\n" not in str(raised.value)
    assert len(str(raised.value)) < 160


class Own(rules.UpdateRule):
    """A plug-in with annotations of all sorts."""

    def __init__(
        self,
        seed,
        clip: float = None,
        sizes: typing.Tuple = (3,),  # noqa: UP006
        mixed: tuple[int, float] = (3, 0.5),
        quoted: "float" = 0.5,
        either: int | None = None,
        **further: int,
    ):
        super().__init__({"w": seeds.uniform(seed, [2])})
        self.given = (clip, sizes, mixed, quoted, either, further)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"clip": None, "sizes": [4], "mixed": [3, 0.5]},
        {"clip": np.float32(1), "quoted": 3, "either": None, "more": "x"},
    ],
)
def test_whatever_else_is_annotated_is_the_business_of_the_rule(options):
    parameters = Own.option_parameters()
    assert option_types.check("own", options, parameters) is None
    assert Own(SEED, **options).given


@pytest.mark.parametrize(
    "name, options",
    [
        ("dm", {"units": np.array([4, 4]), "centered": 1, "drift": False}),
        ("dm", {"units": (np.int64(4),), "output_scale": np.float32(0.1)}),
        ("rnnprop", {"num_projected": np.array(3), "output_scale": tf.constant(0.1)}),
        ("scale", {"init_lr_range": np.array([1e-3, 1e-2]), "use_attention": 1}),
    ],
)
def test_options_may_be_arrays_and_numbers_that_mean_the_same(name, options):
    assert rules.create(name, **options).weights()


def test_a_plugin_may_need_its_seed(monkeypatch):
    monkeypatch.setitem(
        rules.RULES._entries, "own", rules.RULES._entries["dm"]._replace(factory=Own)
    )
    monkeypatch.setattr(Own, "learned", True)
    made = build.fresh_rule(TrainConfig(rule="own", rule_options='{"clip": 0.5}'))
    assert made.given[0] == 0.5


@pytest.mark.parametrize("units", [[10**6], [20], [20, 20, 20]])
def test_options_that_want_other_weights_are_refused_before_they_take_memory(units, monkeypatch):
    rule, make = rules.create("dm"), tf.Variable

    def make_symbolic(*args, **kwargs):
        assert not tf.executing_eagerly()
        return make(*args, **kwargs)

    monkeypatch.setattr(tf, "Variable", make_symbolic)
    with pytest.raises(ValueError, match="weights of dm have shapes"):
        rules.with_options(rule, units=units)
