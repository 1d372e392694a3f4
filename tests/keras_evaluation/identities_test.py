"""What tells tasks apart, by functions of a module that is edited."""

import importlib
import subprocess
import sys

import keras
import pytest

from l2o_tf.core import errors
from l2o_tf.keras_evaluation import identities

MODULE = """
import functools
import keras, numpy as np
from l2o_tf.keras_evaluation.tasks import Task

class Own(keras.Model):
    def __init__(self):
        super().__init__()
        self.hidden = keras.layers.Dense(4)
        self.last = keras.layers.Dense(1)

    def call(self, x):
        return self.last(self.hidden(x))

def own_loss(y, outputs):
    return (y - outputs) ** 2

def make_model():
    layers = keras.layers
    model = keras.Sequential(
        [keras.Input([2]), layers.GaussianNoise(0.1), layers.Dense(1, activation="tanh")]
    )
    x = np.random.default_rng(0).normal(size=[40, 2]).astype("float32")
    y = x[:, :1]
    return Task(model, "mse", (x[:30], y[:30]), (x[30:], y[30:]), batch_size=10, num_steps=40)
"""
NAME = "identified_task:make_model"


@pytest.fixture
def identify(tmp_path, monkeypatch):
    """The identity of the task after edits of its module: pairs of a text and another."""
    monkeypatch.syspath_prepend(tmp_path)

    def edited(*edits):
        text = MODULE
        for old, new in edits:
            assert old in text
            text = text.replace(old, new)
        sys.modules.pop("identified_task", None)
        (tmp_path / "identified_task.py").write_text(text)
        importlib.invalidate_caches()
        # A file of the same second and size would be taken from the cache.
        monkeypatch.setattr(sys, "dont_write_bytecode", True)
        return identities.task_identity(NAME)

    return edited


OWN = (
    "keras.Sequential(\n        [keras.Input([2]), layers.GaussianNoise(0.1), layers.Dense(1,"
    ' activation="tanh")]\n    )',
    "Own()",
)
OWN_LOSS = ('"mse"', "own_loss")
KERAS_LOSS = ('"mse"', "keras.losses.Huber(1.0)")
PARTIAL = ('"mse"', "functools.partial(keras.losses.huber, delta=1.0)")
OBJECTS = ("y = x[:, :1]", 'y = np.array([["a"], ["b"]] * 20, object)')


@pytest.mark.parametrize(
    "name, before, edit",
    [
        ("num_steps", [], ("num_steps=40", "num_steps=60")),
        ("batch_size", [], ("batch_size=10", "batch_size=9")),
        ("loss", [], ('"mse"', '"mae"')),
        ("loss", [OWN_LOSS], ("** 2", "** 4")),
        ("loss", [KERAS_LOSS], ("Huber(1.0)", "Huber(2.0)")),
        ("loss", [PARTIAL], ("delta=1.0", "delta=2.0")),
        ("model", [], ("tanh", "relu")),
        ("model", [], ("GaussianNoise(0.1)", "GaussianNoise(0.2)")),
        ("model", [OWN], ("Dense(4)", "Dense(5)")),
        ("data", [], ("x[:, :1]", "x[:, 1:]")),
        ("data", [], ("y[30:]", "-y[30:]")),
        ("data", [], ('"float32"', '"float64"')),
        ("data", [OBJECTS], ('"b"', '"c"')),
    ],
)
def test_an_edit_of_the_task_changes_what_it_names(identify, name, before, edit):
    first = identify(*before)
    keras.layers.Dense(1)  # Names count on.
    assert identify(*before) == first
    changed = identify(*before, edit)
    assert {key for key in first if changed[key] != first[key]} == {name}


def test_an_identity_is_the_same_in_another_process(identify, tmp_path):
    # Its seed is drawn when it is made, and is in its configuration.
    edits = [
        (
            "keras.Input([2]), layers.GaussianNoise(0.1)",
            "keras.Input([2]), layers.Reshape([1, 2, 1]), layers.RandomFlip(), layers.Flatten()",
        )
    ]
    found = identify(*edits)
    program = (
        f"from l2o_tf.keras_evaluation import identities as i; print(i.task_identity({NAME!r}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": ":".join([str(tmp_path), *sys.path]), "TF_CPP_MIN_LOG_LEVEL": "2"},
    )
    assert done.stdout.splitlines()[-1] == str(found)


def test_a_model_that_fails_on_its_examples_is_named(identify):
    with pytest.raises(errors.InputError, match=f"task '{NAME}' cannot be made: ZeroDivisionError"):
        identify(OWN, ("self.last(self.hidden(x))", "self.last(self.hidden(x / (1 // 0)))"))
