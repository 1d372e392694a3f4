"""Training that was saved and restored goes on bit by bit as if it had not been interrupted."""

import pathlib
import pickle
import shutil
import subprocess
import sys
import textwrap

import keras
import numpy as np
import pytest
import tensorflow as tf

import l2o_tf
from l2o_tf import rules
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


def compiled(rule, policy="float32"):
    model = cases.make_model(policy)
    model.compile(l2o_tf.LearnedOptimizer(rule, **OPTIONS), LOSS)
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


def other_weights(exported):
    """A rule like the exported one with other weights, as if it had been drawn anew."""
    rule = l2o_tf.load(exported)
    rule.assign({key: value + 0.1 for key, value in rule.weights().items()})
    return rule


def moved(exported, tmp_path):
    """A copy of the exported rule, for a test that takes it away."""
    return pathlib.Path(shutil.copytree(exported, tmp_path / "rule"))


def test_keras_file(exported, uninterrupted, tmp_path):
    rule = moved(exported, tmp_path)
    fit(compiled(rule)).save(tmp_path / "model.keras")
    shutil.rmtree(rule)
    assert_identical(fit(keras.models.load_model(tmp_path / "model.keras")), uninterrupted)


def test_weights_file(exported, uninterrupted, tmp_path):
    fit(compiled(exported)).save_weights(tmp_path / "model.weights.h5")
    model = compiled(other_weights(exported))
    model.optimizer.build(model.trainable_variables)
    model.load_weights(tmp_path / "model.weights.h5")
    assert_identical(fit(model), uninterrupted)


def test_tensorflow_checkpoint(exported, uninterrupted, tmp_path):
    model = fit(compiled(exported))
    path = tf.train.Checkpoint(model=model, optimizer=model.optimizer).save(str(tmp_path / "c"))
    model = compiled(other_weights(exported))
    model.optimizer.build(model.trainable_variables)
    checkpoint = tf.train.Checkpoint(model=model, optimizer=model.optimizer)
    checkpoint.restore(path).assert_consumed()
    assert_identical(fit(model), uninterrupted)


def test_pickle(exported, uninterrupted):
    assert_identical(fit(pickle.loads(pickle.dumps(fit(compiled(exported))))), uninterrupted)


def test_backup_and_restore(exported, tmp_path):
    expected = everything(fit(compiled(exported), epochs=3))

    class Interruption(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                raise KeyboardInterrupt

    def backup():
        return keras.callbacks.BackupAndRestore(tmp_path / "backup")

    with pytest.raises(KeyboardInterrupt):
        fit(compiled(exported), epochs=3, callbacks=[backup(), Interruption()])
    model = fit(compiled(other_weights(exported)), epochs=3, callbacks=[backup()])
    assert_identical(model, expected)


def test_mixed_precision(exported, tmp_path):
    expected = everything(fit(fit(compiled(exported, "mixed_float16"))))
    fit(compiled(exported, "mixed_float16")).save(tmp_path / "model.keras")
    keras.config.set_dtype_policy("mixed_float16")  # A Sequential model does not store its own.
    try:
        model = keras.models.load_model(tmp_path / "model.keras")
    finally:
        keras.config.set_dtype_policy("float32")
    assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    assert_identical(fit(model), expected)


def test_another_process(exported, uninterrupted, tmp_path):
    fit(compiled(exported)).save(tmp_path / "model.keras")
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


def test_weights_of_another_architecture(tmp_path):
    fit(compiled(rules.create("dm", units=(4,)))).save_weights(tmp_path / "dm.weights.h5")
    model = fit(compiled(rules.create("dm", units=(3,))))
    before = everything(model)
    with pytest.raises(ValueError, match="rule_lstm_1_w_gates .* another rule"):
        model.load_weights(tmp_path / "dm.weights.h5")
    for variable, value in zip(model.optimizer.variables, before[len(model.variables) :]):
        np.testing.assert_array_equal(variable.numpy(), value)


def test_weights_of_another_optimizer_are_passed_over_as_in_keras(tmp_path):
    model = cases.make_model()
    model.compile("adam", LOSS)
    fit(model).save_weights(tmp_path / "adam.weights.h5")
    other = fit(compiled(rules.create("dm", units=(4,))))
    before = [v.numpy() for v in other.optimizer.variables]
    with pytest.warns(UserWarning, match="Skipping variable loading for optimizer"):
        other.load_weights(tmp_path / "adam.weights.h5")
    np.testing.assert_array_equal(cases.flat(other), cases.flat(model))
    for variable, value in zip(other.optimizer.variables, before):
        np.testing.assert_array_equal(variable.numpy(), value)
