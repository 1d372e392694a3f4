"""Rules to share, in directories and in the layout of the Hugging Face Hub's cache."""

import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest

import l2o_tf
from l2o_tf import rules
from l2o_tf.core import errors
from tests import keras_cases as cases
from tests import keras_saving_test as saving

FIT_FOR = "Perceptrons, up to 1,000 steps."


def assert_weights(optimizer, rule):
    weights = optimizer.rule_weights()
    assert weights.keys() == rule.weights().keys()
    for key, value in rule.weights().items():
        np.testing.assert_array_equal(weights[key], value)


@pytest.mark.parametrize("kind", ["rule", "optimizer"])
def test_a_directory(kind, tmp_path):
    rule = cases.make_rule("rnnprop")
    source = rule if kind == "rule" else l2o_tf.LearnedOptimizer(rule)
    l2o_tf.save_preset(tmp_path / "mine", source, FIT_FOR, "CC-BY-4.0", {"trained_by": "me"})
    optimizer = l2o_tf.LearnedOptimizer.from_preset(tmp_path / "mine", learning_rate=0.5)
    assert_weights(optimizer, rule)
    assert float(optimizer.learning_rate) == 0.5 and "mine: rnnprop" in repr(optimizer)
    card = json.loads((tmp_path / "mine" / "rule.json").read_text())
    assert card["fit_for"] == FIT_FOR and card["trained_by"] == "me"
    text = (tmp_path / "mine" / "README.md").read_text()
    assert text.startswith("---\n") and "license: cc-by-4.0\n" in text and FIT_FOR in text


def test_weights_that_an_optimizer_has_loaded_are_what_is_saved(tmp_path):
    optimizer = l2o_tf.LearnedOptimizer(cases.make_rule("dm"))
    for variable in optimizer._weights.values():
        variable.assign(variable + 1)
    l2o_tf.save_preset(tmp_path, optimizer)
    for key, value in l2o_tf.load(tmp_path).weights().items():
        np.testing.assert_array_equal(value, optimizer.rule_weights()[key])


def test_an_optimizer_of_mixed_precision_is_saved_as_what_it_wraps(tmp_path):
    rule = cases.make_rule("dm")
    wrapped = keras.optimizers.LossScaleOptimizer(l2o_tf.LearnedOptimizer(rule))
    l2o_tf.save_preset(tmp_path, wrapped)
    for key, value in l2o_tf.load(tmp_path).weights().items():
        np.testing.assert_array_equal(value, rule.weights()[key])


@pytest.mark.parametrize("name", ["rnnprop", "trainable_adam"])
def test_safetensors(name, tmp_path):
    package = pytest.importorskip("safetensors.numpy")
    rule = rules.create(name)
    l2o_tf.save_preset(tmp_path, rule, safetensors=True)
    file = tmp_path / "rule.safetensors"
    stored = package.load_file(file)
    for key, value in rule.weights().items():
        assert stored[key].shape == value.shape
        np.testing.assert_array_equal(stored[key], value)
    package.save_file({key: np.asarray(2 * value) for key, value in stored.items()}, file)
    first = next(iter(stored))
    np.testing.assert_array_equal(l2o_tf.load(tmp_path).weights()[first], stored[first])
    (tmp_path / "rule.npz").unlink()
    np.testing.assert_array_equal(l2o_tf.load(tmp_path).weights()[first], 2 * stored[first])
    package.save_file(stored | {first: stored[first][None]}, file)
    with pytest.raises(errors.InputError, match=f"{first} in rule.safetensors is float32"):
        l2o_tf.load(tmp_path)
    file.write_bytes(b"damaged")
    with pytest.raises(errors.InputError, match="cannot read arrays from .*rule.safetensors"):
        l2o_tf.load(tmp_path)
    l2o_tf.save_preset(tmp_path, rule)  # No weights of another rule stay beside these.
    assert not file.exists() and (tmp_path / "rule.npz").exists()


def test_without_safetensors(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "safetensors", None)
    missing = r"rule.safetensors needs .* pip install 'l2o-tf\[safetensors\]'"
    with pytest.raises(errors.InputError, match=missing):
        l2o_tf.save_preset(tmp_path / "mine", rules.create("rnnprop"), safetensors=True)
    assert not (tmp_path / "mine").exists()
    l2o_tf.save_preset(tmp_path, rules.create("rnnprop"))
    (tmp_path / "rule.npz").rename(tmp_path / "rule.safetensors")
    with pytest.raises(errors.InputError, match=missing):
        l2o_tf.load(tmp_path)


def test_a_pretrained_rule():
    optimizer = l2o_tf.LearnedOptimizer.from_preset("rnnprop", total_steps=10)
    assert_weights(optimizer, l2o_tf.load("rnnprop"))
    assert "rnnprop: rnnprop" in repr(optimizer) and "CosineDecay" in repr(optimizer)


def test_the_hub(tmp_path):
    pytest.importorskip("huggingface_hub")
    commit, repository = "a" * 40, tmp_path / "models--someone--mine"
    rule = cases.make_rule("dm")
    l2o_tf.save_preset(repository / "snapshots" / commit, rule)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    code = f"""if True:
        import l2o_tf, numpy
        optimizer = l2o_tf.LearnedOptimizer.from_preset("hf://someone/mine")
        assert "someone/mine: dm" in repr(optimizer), optimizer
        numpy.savez({str(tmp_path / "found.npz")!r}, **optimizer.rule_weights())
        try:
            l2o_tf.LearnedOptimizer.from_preset("hf://someone/other")
        except l2o_tf.errors.InputError as error:
            assert "cannot fetch hf://someone/other" in str(error)
        else:
            raise AssertionError
    """
    offline = {"HF_HUB_CACHE": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    subprocess.run(
        [sys.executable, "-c", code],
        cwd=saving.REPOSITORY,
        env={**os.environ, **offline},
        check=True,
    )
    with np.load(tmp_path / "found.npz") as found:
        for key, value in rule.weights().items():
            np.testing.assert_array_equal(found[key], value)


def test_without_the_client(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(errors.InputError, match=r"pip install 'l2o-tf\[hub\]'"):
        l2o_tf.LearnedOptimizer.from_preset("hf://someone/mine")


@pytest.mark.parametrize("address", ["hf://mine", "hf://", "hf://a/b/c", "hf:///b", "no-such-rule"])
def test_no_such_preset(address):
    with pytest.raises(errors.InputError, match="expected"):
        l2o_tf.LearnedOptimizer.from_preset(address)
