"""Training that was saved and restored goes on bit by bit as if it had not been interrupted."""

import json
import pathlib
import pickle
import shutil
import subprocess
import sys
import textwrap
import zipfile

import keras
import numpy as np
import pytest
import tensorflow as tf

import l2o_tf
from l2o_tf import keras_config, rules
from l2o_tf.core import errors
from tests import keras_cases as cases

REPOSITORY = pathlib.Path(__file__).parents[1]
OPTIONS = {"use_ema": True, "gradient_accumulation_steps": 2}
LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """The directory of an exported rule, one with moments, LSTM states and a counter of steps."""
    directory = tmp_path_factory.mktemp("rules") / "rnnprop"
    l2o_tf.save_rule(directory, rules.create("rnnprop", units=(5,), num_projected=3))
    return directory


def compiled(rule, policy="float32", run_eagerly=True):
    """A model; what is saved is the same where Keras compiles its steps, which takes long."""
    model = cases.make_model(policy)
    model.compile(l2o_tf.LearnedOptimizer(rule, **OPTIONS), LOSS, run_eagerly=run_eagerly)
    return model


def built(rule):
    """A model whose optimizer has its variables and took no step."""
    model = compiled(rule)
    model.optimizer.build(model.trainable_variables)
    return model


def fit(model, epochs=1, **arguments):
    inputs, labels = cases.data()
    model.fit(inputs, labels, cases.BATCH_SIZE, epochs, shuffle=False, verbose=0, **arguments)
    return model


def everything(model):
    """All values of the model and its optimizer."""
    return [v.numpy() for v in [*model.variables, *model.optimizer.variables]]


def assert_identical(model, expected):
    actual = everything(model)
    assert len(actual) == len(expected) > 10
    for a, e in zip(actual, expected):
        np.testing.assert_array_equal(a, e)


@pytest.fixture(scope="module")
def uninterrupted(exported):
    """Everything after two calls of `fit`, the way in which each of the tests interrupts."""
    return everything(fit(fit(compiled(exported))))


@pytest.fixture(scope="module")
def half(exported, tmp_path_factory):
    """A model after the first of the two, to be saved, and the directory of its rule is gone."""
    rule = shutil.copytree(exported, tmp_path_factory.mktemp("half") / "rnnprop")
    model = fit(compiled(rule))
    shutil.rmtree(rule)
    return model


def other_weights(exported):
    """A rule like the exported one with other weights, as if it had been drawn anew."""
    rule = l2o_tf.load(exported)
    rule.assign({key: value + 0.1 for key, value in rule.weights().items()})
    return rule


def test_keras_file(half, uninterrupted, tmp_path):
    half.save(tmp_path / "model.keras")
    assert_identical(fit(keras.models.load_model(tmp_path / "model.keras")), uninterrupted)


def test_weights_file(exported, half, uninterrupted, tmp_path):
    half.save_weights(tmp_path / "model.weights.h5")
    model = built(other_weights(exported))
    model.load_weights(tmp_path / "model.weights.h5")
    assert_identical(fit(model), uninterrupted)


def test_tensorflow_checkpoint(exported, half, uninterrupted, tmp_path):
    path = tf.train.Checkpoint(model=half, optimizer=half.optimizer).save(str(tmp_path / "c"))
    model = built(other_weights(exported))
    checkpoint = tf.train.Checkpoint(model=model, optimizer=model.optimizer)
    checkpoint.restore(path).assert_consumed()
    assert_identical(fit(model), uninterrupted)


@pytest.mark.slow
def test_pickle(half, uninterrupted):
    assert_identical(fit(pickle.loads(pickle.dumps(half))), uninterrupted)


@pytest.mark.slow
def test_backup_and_restore(exported, tmp_path):
    expected = everything(fit(compiled(exported, run_eagerly=False), epochs=3))

    class Interruption(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                raise KeyboardInterrupt

    def backup():
        return keras.callbacks.BackupAndRestore(tmp_path / "backup")

    with pytest.raises(KeyboardInterrupt):
        model = compiled(exported, run_eagerly=False)
        fit(model, epochs=3, callbacks=[backup(), Interruption()])
    model = compiled(other_weights(exported), run_eagerly=False)
    fit(model, epochs=3, callbacks=[backup()])
    assert_identical(model, expected)


@pytest.mark.slow
def test_mixed_precision(exported, tmp_path):
    model = fit(compiled(exported, "mixed_float16", run_eagerly=False))
    model.save(tmp_path / "model.keras")
    expected = everything(fit(model))
    keras.config.set_dtype_policy("mixed_float16")  # A Sequential model does not store its own.
    try:
        model = keras.models.load_model(tmp_path / "model.keras")
    finally:
        keras.config.set_dtype_policy("float32")
    assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    assert_identical(fit(model), expected)


@pytest.mark.slow
def test_another_process(half, uninterrupted, tmp_path):
    half.save(tmp_path / "model.keras")
    code = f"""
        from l2o_tf import LearnedOptimizer
        import keras, numpy
        from tests import keras_saving_test as test
        model = test.fit(keras.models.load_model({str(tmp_path / "model.keras")!r}))
        numpy.savez({str(tmp_path / "end.npz")!r}, *test.everything(model))
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], cwd=REPOSITORY, check=True)
    with np.load(tmp_path / "end.npz") as end:
        assert len(end.files) == len(uninterrupted)
        for name, expected in zip(end.files, uninterrupted):
            np.testing.assert_array_equal(end[name], expected)


def test_weights_of_another_architecture(half, tmp_path):
    half.save_weights(tmp_path / "five_units.weights.h5")
    model = built(rules.create("rnnprop", units=(4,), num_projected=3))
    before = everything(model)
    with pytest.raises(ValueError, match="rule_lstm_1_w_gates .* another rule"):
        model.load_weights(tmp_path / "five_units.weights.h5")
    for variable, value in zip(model.optimizer.variables, before[len(model.variables) :]):
        np.testing.assert_array_equal(variable.numpy(), value)


def test_weights_of_another_optimizer_are_passed_over_as_in_keras(tmp_path):
    model = cases.make_model()
    model.compile("adam", LOSS, run_eagerly=True)
    fit(model).save_weights(tmp_path / "adam.weights.h5")
    other = built(rules.create("dm", units=(4,)))
    before = [v.numpy() for v in other.optimizer.variables]
    with pytest.warns(UserWarning, match="Skipping variable loading for optimizer"):
        other.load_weights(tmp_path / "adam.weights.h5")
    np.testing.assert_array_equal(cases.flat(other), cases.flat(model))
    for variable, value in zip(other.optimizer.variables, before):
        np.testing.assert_array_equal(variable.numpy(), value)


def file_config(path):
    """The optimizer's part of a .keras file."""
    with zipfile.ZipFile(path) as file:
        return json.loads(file.read("config.json"))["compile_config"]["optimizer"]["config"]


def test_a_file_names_the_rule_and_holds_its_weights_once(half, tmp_path):
    half.save(tmp_path / "model.keras")
    config = file_config(tmp_path / "model.keras")
    assert len(json.dumps(config)) < 2000
    assert (config["rule"]["name"], config["rule"]["label"]) == ("rnnprop", "rnnprop")
    assert config["rule"]["sha256"] == keras_config.digest(half.optimizer.rule_weights())
    assert "weights" not in config["rule"] and "weights" in half.optimizer.get_config()["rule"]


def test_a_file_of_the_first_version(half, uninterrupted, tmp_path):
    half.save(tmp_path / "new.keras")
    rule = half.optimizer.get_config()["rule"]
    with zipfile.ZipFile(tmp_path / "new.keras") as new:
        content = {name: new.read(name) for name in new.namelist()}
    config = json.loads(content["config.json"])
    optimizer = config["compile_config"]["optimizer"]["config"]
    optimizer["rule"] = {key: rule[key] for key in ("name", "options", "weights")}
    for key in ("guard", "max_relative_update"):
        del optimizer[key]
    with zipfile.ZipFile(tmp_path / "old.keras", "w") as old:
        for name, data in {**content, "config.json": json.dumps(config)}.items():
            old.writestr(name, data)
    assert_identical(fit(keras.models.load_model(tmp_path / "old.keras")), uninterrupted)


def test_the_configuration_of_a_file_waits_for_its_variables(exported, tmp_path):
    model = built(other_weights(exported))  # The default ones are known.
    model.save(tmp_path / "model.keras")
    config, variable = file_config(tmp_path / "model.keras"), keras.Variable([1.0])
    optimizer = l2o_tf.LearnedOptimizer.from_config(dict(config))
    with pytest.raises(errors.InputError, match="'rnnprop' by a hash only"):
        optimizer.apply_gradients([(tf.ones([1]), variable)])
    np.testing.assert_array_equal(variable, [1])
    # Variables of a model that this optimizer is not built for: the weights are taken all the same.
    store = {}
    model.optimizer.save_own_variables(store)
    optimizer = l2o_tf.LearnedOptimizer.from_config(dict(config))
    with pytest.warns(UserWarning, match="Skipping variable loading"):
        optimizer.load_own_variables(store)
    optimizer.apply_gradients([(tf.ones([1]), variable)])
    for key, value in model.optimizer.rule_weights().items():
        np.testing.assert_array_equal(optimizer.rule_weights()[key], value)


def test_a_model_that_is_not_built_yet(exported, tmp_path):
    model = keras.Sequential([keras.layers.Dense(4, "tanh"), keras.layers.Dense(2)])
    model.compile(l2o_tf.LearnedOptimizer(other_weights(exported)), LOSS, run_eagerly=True)
    model.save(tmp_path / "model.keras")
    again = fit(keras.models.load_model(tmp_path / "model.keras"))
    for key, value in model.optimizer.rule_weights().items():
        np.testing.assert_array_equal(again.optimizer.rule_weights()[key], value)


@pytest.mark.parametrize("rule", ["exported", "adam:0.01"])
def test_a_file_from_before_the_first_step(exported, rule, tmp_path):
    chosen = other_weights(exported) if rule == "exported" else rule
    model = cases.make_model()
    model.compile(l2o_tf.LearnedOptimizer(chosen), LOSS, run_eagerly=True)
    model.save(tmp_path / "model.keras")
    with pytest.warns(UserWarning, match="Skipping variable loading"):  # As for Keras' optimizers.
        again = keras.models.load_model(tmp_path / "model.keras")
    for key, value in model.optimizer.rule_weights().items():
        np.testing.assert_array_equal(again.optimizer.rule_weights()[key], value)
    np.testing.assert_array_equal(cases.flat(fit(again)), cases.flat(fit(model)))


def test_a_layer_that_was_frozen_after_training_leaves_the_rule_and_a_new_state(
    exported, tmp_path, caplog
):
    model = cases.make_model()
    model.compile(l2o_tf.LearnedOptimizer(other_weights(exported)), LOSS, run_eagerly=True)
    fit(model).layers[0].trainable = False
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert "starts anew" in caplog.text
    for key, value in model.optimizer.rule_weights().items():
        np.testing.assert_array_equal(again.optimizer.rule_weights()[key], value)
    frozen = [v.numpy() for v in again.layers[0].variables]
    before = again.layers[1].kernel.numpy()
    fit(again)
    np.testing.assert_array_equal(frozen[0], again.layers[0].kernel)
    assert np.abs(again.layers[1].kernel - before).max() > 1e-4
