"""A rule that JAX runs gives the updates that it gives in TensorFlow."""

import importlib
import sys

import numpy as np
import pytest
import tensorflow as tf

from l2o_tf import artifacts, cli, rules
from l2o_tf.core import errors, files, seeds
from l2o_tf.export import __main__ as command
from l2o_tf.export import rule_bundle

SHAPES = [(3, 4), (5,)]
SEED = (7, 11)


def save(directory, name):
    options = {"units": (5, 4)} if name == "rnnprop" else {}
    rule = rules.create_learned(name, seeds.make_seed(1, "rule"), **options)
    artifacts.save_rule(directory, rule)
    return str(directory), rule


def load(directory, monkeypatch):
    """The rule as it is loaded where there is no TensorFlow."""
    pytest.importorskip("jax")
    monkeypatch.syspath_prepend(str(directory))
    for name in ("exported_rule", "program"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return importlib.import_module("exported_rule").Rule(directory)


def gradients(step):
    rng = np.random.default_rng(step)
    return [rng.normal(size=shape).astype(np.float32) for shape in SHAPES]


def tensors(arrays):
    return [tf.constant(x) for x in arrays]


@pytest.mark.parametrize("name", ["rnnprop", "scale", "adam:0.01", "sgd:0.1"])
def test_updates_are_those_of_tensorflow(tmp_path, monkeypatch, name):
    if ":" in name:
        source, expected = name, rules.from_spec(name)
    else:
        source, expected = save(tmp_path / "rule", name)
    rule_bundle.write(str(tmp_path / "bundle"), source, SHAPES)
    rule = load(tmp_path / "bundle", monkeypatch)
    params = gradients(99)
    state, expected_state = rule.init(SEED), expected.init(tensors(params), tf.constant(SEED))
    for step in range(3):
        updates, state = rule.update(gradients(step), state, params)
        expected_updates, expected_state = expected.update(
            tensors(gradients(step)), expected_state, tensors(params)
        )
        for found, value in zip(updates, expected_updates, strict=True):
            np.testing.assert_allclose(found, value, rtol=2e-5, atol=1e-7)
        params = [p + np.asarray(u) for p, u in zip(params, updates)]
    leaves = tf.nest.flatten(expected_state)
    for found, value in zip(state.values(), leaves, strict=True):
        np.testing.assert_allclose(found, value, rtol=2e-5, atol=1e-6)


def test_it_is_part_of_compiled_functions_and_takes_other_weights(tmp_path, monkeypatch):
    rule_bundle.write(str(tmp_path / "bundle"), "momentum:0.5", SHAPES)
    rule = load(tmp_path / "bundle", monkeypatch)
    import jax

    rule.weights["learning_rate"] = np.float32(0.25)
    zeros = [np.zeros(shape, np.float32) for shape in SHAPES]
    updates, _ = jax.jit(rule.update)(gradients(0), rule.init(), zeros)
    for update, gradient in zip(updates, gradients(0)):
        np.testing.assert_allclose(update, -0.25 * gradient, rtol=1e-6)
    with pytest.raises(ValueError, match="the rule is for"):
        rule.update(zeros[:1], rule.init(), zeros)


def test_first_learning_rates_are_those_that_are_asked_for(tmp_path):
    arguments = ["--what=rule", "--rules=mine=scale", "--shapes=2", "--init_lr_range=0.001,0.001"]
    command.main(cli.parse(command.ExportConfig, ["export", f"--out={tmp_path}", *arguments]))
    about = files.read_json(tmp_path / "bundle.json")
    assert (about["rule"], about["options"]["init_lr_range"]) == ("scale", [0.001, 0.001])


@pytest.mark.parametrize(
    "source, lr_range, message",
    [
        ("adam:0.01", (0.1, 0.1), "--init_lr_range is for the rules scale and coordinatewise_rnn"),
        ("tuned:adam", None, "--rules=tuned:adam has no learning rate yet: write one, adam:RATE"),
    ],
)
def test_rules_that_cannot_be_exported_as_asked_are_one_line(tmp_path, source, lr_range, message):
    with pytest.raises(errors.InputError, match=message):
        rule_bundle.write(str(tmp_path), source, SHAPES, lr_range)
    assert not list(tmp_path.iterdir())


def test_many_parameters_take_no_memory(tmp_path):
    # 8 GiB of parameters, and twice as much of state.
    most = 2**31 - 1
    rule_bundle.write(str(tmp_path), "adam:0.01", [(most,)])
    programs = files.read_json(tmp_path / "bundle.json")["programs"]
    shapes = {spec["name"]: spec["shape"] for spec in programs["update"]["outputs"]}
    assert shapes["updates/0"] == [most]


@pytest.mark.parametrize(
    "shape", [(2**31,), (3000000000,), (2, 2**30), (10**20,), (10**10, 10**10)]
)
def test_too_many_parameters_are_one_line(tmp_path, shape):
    text = "x".join(map(str, shape))
    with pytest.raises(errors.InputError, match=f"--shapes=1,{text} are .* parameters; a rule can"):
        rule_bundle.write(str(tmp_path), "adam:0.01", [(1,), shape])
    assert not list(tmp_path.iterdir())
