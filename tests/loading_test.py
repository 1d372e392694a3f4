"""Every kind of rule by name or path, and one line for everything that cannot be loaded."""

import json
import os

import numpy as np
import pytest
import tensorflow as tf

from l2o_tf import artifacts, loading, rules
from l2o_tf.core import errors, seeds
from l2o_tf.legacy import l2l, tf1_checkpoint
from tests import reference

PARAMS = [tf.constant([[1.0, -2.0]]), tf.constant(0.5)]
GRADS = [tf.constant([[0.3, -0.01]]), tf.constant(1e-4)]


def updates(rule):
    """Two steps' updates on a few coordinates."""
    state, steps = rule.init(PARAMS, seeds.make_seed(1, "test")), []
    for _ in range(2):
        update, state = rule.update(GRADS, state, PARAMS)
        steps += [u.numpy().ravel() for u in update]
    return np.concatenate(steps)


def export(directory, name="dm", **options):
    rule = rules.create(name, seed=seeds.make_seed(3, "rule"), **options)
    artifacts.save_rule(directory, rule, rule.weights(), {"epoch": 7})
    return rule


@pytest.mark.parametrize(
    "name, options",
    [
        ("dm", {}),
        ("dm", {"units": (3,), "output_scale": 0.5}),
        ("rnnprop", {"num_projected": 4}),
        ("scale", {"level_sizes": (4, 3), "use_attention": True}),
        ("coordinatewise_rnn", {"units": (3,), "init_lr_range": (1e-3, 1e-2)}),
        ("global_learning_rate", {}),
        ("learning_rate_schedule", {"num_steps": 5, "initial_rate": 0.1}),
        ("trainable_adam", {"beta1": 0.8}),
    ],
)
def test_an_exported_rule(tmp_path, name, options):
    exported = export(tmp_path, name, **options)
    expected = updates(exported)
    for source in (tmp_path, str(tmp_path)):
        loaded = loading.load(source)
        assert loaded.options() == exported.options() and type(loaded) is type(exported)
        np.testing.assert_array_equal(updates(loaded), expected)
    assert np.abs(expected).min() > 0


def test_an_exported_analytical_rule(tmp_path):
    exported = rules.create("adam", learning_rate=0.3)
    artifacts.save_rule(tmp_path, exported)
    np.testing.assert_array_equal(updates(loading.load(tmp_path)), updates(exported))


@pytest.mark.parametrize(
    "path, name", [("legacy/dm_cl_il/cw.l2l-0", "dm"), ("legacy/rnnprop/rp.l2l-0", "rnnprop")]
)
def test_the_authors_file(path, name):
    path = reference.path(path)
    rule = loading.load(path)
    assert rule.registered_name == name
    weights = l2l.read(path)
    assert weights.keys() == rule.weights().keys()
    for key, value in rule.weights().items():
        np.testing.assert_array_equal(value, weights[key])


@pytest.mark.parametrize("name", ["dm", "rnnprop"])
def test_a_legacy_file_of_another_size(tmp_path, name):
    options = {"units": (4, 3, 5)} | ({"num_projected": 6} if name == "rnnprop" else {})
    rule = rules.create(name, seed=seeds.make_seed(3, "rule"), **options)
    l2l.write_rule(tmp_path / "rule.l2l", rule)
    np.testing.assert_array_equal(updates(loading.load(tmp_path / "rule.l2l")), updates(rule))


def test_the_authors_tensorflow_1_checkpoint():
    variables = tf1_checkpoint.read(reference.path("legacy/scale") / "model.ckpt-0")
    for name in ("model.ckpt-0", "model.ckpt-0.index", ""):
        rule = loading.load(reference.path("legacy/scale") / name)
        assert rule.registered_name == "scale"
        assert rule.options() == rules.create("scale").options()
        names = tf1_checkpoint.legacy_names(rule)
        assert {names[key] for key in rule.weights()} == variables.keys()
        for key, value in rule.weights().items():
            np.testing.assert_array_equal(value, variables[names[key]])


def test_a_card_of_another_rule_does_not_say_what_is_exported(tmp_path):
    rule = rules.with_options(loading.load("mlp"), learning_rate=0.1)
    artifacts.save_rule(tmp_path, rule, card=loading.pretrained_card("mlp"))
    assert loading.load(tmp_path).learning_rate == 0.1
    assert json.loads((tmp_path / "rule.json").read_text())["fit_for"]


def test_an_analytical_rule():
    np.testing.assert_allclose(
        updates(loading.load("sgd:0.5")), np.tile([-0.15, 0.005, -5e-5], 2), rtol=1e-6
    )
    assert loading.load("adam").learning_rate == rules.create("adam").learning_rate


def test_a_pretrained_rule_by_its_name(tmp_path, monkeypatch):
    exported = export(tmp_path / "my-rule")
    monkeypatch.setattr(loading, "PRETRAINED", tmp_path)
    assert loading.list_pretrained() == ["my-rule"]
    np.testing.assert_array_equal(updates(loading.load("my-rule")), updates(exported))
    with pytest.raises(errors.InputError, match=r"a pretrained rule \(my-rule\) or name:learning"):
        loading.load("other-rule")


@pytest.mark.parametrize("source", ["coordinatewise_rnn", "no/such/run", "foo:0.1", "cw.l2l-0"])
def test_an_unknown_rule_lists_what_is_possible(source):
    with pytest.raises(errors.InputError) as raised:
        loading.load(source)
    message = str(raised.value)
    assert message.startswith(f"no rule {source!r}: expected a run directory, an exported rule, a")
    assert message.endswith("one of " + ", ".join(rules.analytical_names()))
    assert "adam" in message and "\n" not in message


@pytest.mark.parametrize("source", ["adam:", "adam:x", "adam:0.1:0.2"])
def test_a_learning_rate_that_is_no_number(source):
    with pytest.raises(errors.InputError, match="is not a rule: expected name:learning_rate, such"):
        loading.load(source)


@pytest.mark.parametrize("rate", ["0", "-1", "nan", "inf"])
def test_a_learning_rate_that_is_not_positive(rate):
    with pytest.raises(errors.InputError, match="^a learning rate must be positive, got "):
        loading.load(f"adam:{rate}")


def assert_one_line(directory, *parts):
    with pytest.raises(errors.InputError) as raised:
        loading.load(directory)
    message = str(raised.value)
    # Without the directory, which is long under Bazel.
    assert "\n" not in message and len(message.replace(str(directory), "")) < 400, message
    for part in (str(directory), *parts):
        assert part in message, message


def test_a_directory_without_a_rule(tmp_path):
    assert_one_line(tmp_path, "no exported rule in", "expected rule.npz and rule.json")


@pytest.mark.parametrize("name", ["dm", "adam"])
def test_a_directory_without_a_rule_does_not_hide_a_name(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).mkdir()
    assert loading.load(name).registered_name == name
    export(tmp_path / name)  # Now it is one of its own.
    assert loading.load(name).registered_name == "dm"
    found, expected = (loading.load(path).weights() for path in (name, tmp_path / name))
    tf.nest.map_structure(np.testing.assert_array_equal, found, expected)


def test_the_weights_alone(tmp_path):
    export(tmp_path)
    assert_one_line(tmp_path / "rule.npz", "holds the weights of a rule alone: give the directory")


def test_a_missing_file(tmp_path):
    export(tmp_path)
    (tmp_path / "rule.npz").unlink()
    assert_one_line(tmp_path, "rule.npz: ", "No such file")


@pytest.mark.parametrize("name", ["rule.npz", "rule.json"])
def test_every_truncation(tmp_path, name):
    export(tmp_path)
    path = tmp_path / name
    content = path.read_bytes()
    for size in np.linspace(0, len(content) - 2, 25).astype(int):
        path.write_bytes(content[:size])
        assert_one_line(tmp_path, name)


@pytest.mark.slow
def test_no_flipped_byte_of_the_weights_goes_unnoticed(tmp_path):
    exported = updates(export(tmp_path))
    path = tmp_path / "rule.npz"
    content, rng = bytearray(path.read_bytes()), np.random.default_rng(0)
    noticed = 0
    for position in rng.integers(0, len(content), 60):
        damaged = bytearray(content)
        damaged[position] ^= 0xFF
        path.write_bytes(damaged)
        try:
            # Some bytes of a zip file, such as dates, mean nothing.
            np.testing.assert_array_equal(updates(loading.load(tmp_path)), exported)
        except errors.InputError as error:
            assert "\n" not in str(error)
            noticed += 1
    assert noticed > 40


CARD = {"format": artifacts.FORMAT, "rule": "dm", "options": {"units": [20, 20]}}


@pytest.mark.parametrize(
    "card, message",
    [
        ([], "is not a rule card of format 1"),
        ({**CARD, "format": 2}, "is not a rule card of format 1, that of this version"),
        ({"rule": "dm", "options": {}}, "is not a rule card of format 1"),
        ({"format": 1, "options": {}}, "damaged: rule.json has no 'rule'"),
        ({"format": 1, "rule": "dm"}, "damaged: rule.json has no 'options'"),
        ({**CARD, "rule": "foo"}, "damaged: unknown update rule 'foo'; known: "),
        ({**CARD, "rule": ["dm"]}, "damaged: "),
        ({**CARD, "rule": None}, "damaged: unknown update rule None"),
        ({**CARD, "options": [1]}, "damaged: "),
        ({**CARD, "options": {"unit": 3}}, "unexpected keyword argument 'unit'"),
        ({**CARD, "options": {"units": [20, 10]}}, "lstm_2/w_gates in rule.npz is f"),
        ({**CARD, "options": {"units": [20]}}, "rule.npz holds lstm_2/"),
        ({**CARD, "options": {"units": [-1]}}, "damaged: "),
        ({**CARD, "options": {"units": [0]}}, "damaged: "),
        ({**CARD, "options": {"units": ["x"]}}, "damaged: "),
        ({**CARD, "options": {"units": 3}}, "damaged: "),
        ({**CARD, "options": {"units": [2**40]}}, "damaged: "),
        ({**CARD, "options": {"units": [10**6]}}, "asks for float32 [1000002, 4000000]"),
        ({**CARD, "options": {"units": [20, 20], "seed": "x"}}, "damaged: "),
        ({**CARD, "rule": "adam", "options": {"learning_rate": 0.1}}, "damaged: "),
    ],
)
def test_a_card_that_does_not_fit(tmp_path, card, message):
    export(tmp_path)
    (tmp_path / "rule.json").write_text(json.dumps(card))
    assert_one_line(tmp_path, message)


def with_weights(directory, change):
    with np.load(directory / "rule.npz") as file:
        arrays = {name: file[name] for name in file.files}
    change(arrays)
    np.savez(directory / "rule.npz", **arrays)


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda a: a.update({"linear/w": a["linear/w"] * np.nan}), "weights that are not finite"),
        (lambda a: a.update({"linear/b": a["linear/b"] + np.inf}), "weights that are not finite"),
        (lambda a: a.pop("linear/b"), "damaged: rule.npz lacks linear/b"),
        (lambda a: a.update({"more": np.zeros(3, np.float32)}), "rule.npz holds more, which is"),
        (lambda a: a.update({"linear/w": a["linear/w"].T}), "[1, 20], but rule.json asks"),
        (lambda a: a.update({"linear/b": np.array([1e300])}), "weights that are not finite"),
        (lambda a: a.update({"linear/b": np.zeros([1], np.int32)}), "is int32 [1], but rule.json"),
        (lambda a: a.update({"linear/b": np.array(["x"])}), "is <U1 [1], but rule.json asks"),
        (lambda a: a.update({"linear/b": np.array([None])}), "rule.npz: "),  # Needs a pickle.
    ],
)
@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
def test_weights_that_do_not_fit(tmp_path, change, message):
    export(tmp_path)
    with_weights(tmp_path, change)
    assert_one_line(tmp_path, message)


def test_a_file_that_is_no_legacy_rule(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("not a rule\n")
    assert_one_line(path)
    export(tmp_path / "dm")
    assert_one_line(tmp_path / "dm" / "rule.npz")


def test_a_file_without_permission(tmp_path):
    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    export(tmp_path)
    (tmp_path / "rule.json").chmod(0)
    assert_one_line(tmp_path, "Permission denied")


def test_a_rule_beside_a_checkpoints_index_is_a_rule(tmp_path):
    rule = rules.create("rnnprop")
    artifacts.save_rule(tmp_path, rule)
    (tmp_path / "other.index").write_bytes(b"")
    assert loading.load(tmp_path).registered_name == "rnnprop"


@pytest.mark.parametrize("name", ["a" * 300, "a\0b", "x/" * 3000])
def test_names_that_the_system_refuses(name):
    with pytest.raises(errors.InputError, match="^no rule "):
        loading.load(name)
