"""What the README shows is there and runs."""

import pathlib
import re

import keras
import numpy as np
import pytest
import tensorflow as tf

from l2o_tf import artifacts, cli, optimizees, rules
from l2o_tf.optimizees.scale import problem_sets
from l2o_tf.run.config import TrainConfig

REPOSITORY = pathlib.Path(__file__).parents[1]
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
SCALE = (REPOSITORY / "docs" / "scale.md").read_text(encoding="utf-8")
SCALING = (REPOSITORY / "docs" / "scaling.md").read_text(encoding="utf-8")


KERAS_EXAMPLE, PYTHON_EXAMPLE = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


@pytest.fixture
def quickstart(tmp_path, monkeypatch):
    """A folder with an exported rule where the quickstart leaves its own."""
    artifacts.save_rule(tmp_path / "runs" / "quickstart", rules.create("rnnprop"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_keras_example_trains_a_model(quickstart):
    model = keras.Sequential([keras.Input([4]), keras.layers.Dense(3, "softmax")])
    before = model.get_weights()[0]
    data = {"x_train": np.ones([40, 4], np.float32), "y_train": np.arange(40) % 3}
    exec(KERAS_EXAMPLE, {"model": model, **data})
    assert np.abs(model.get_weights()[0] - before).max() > 1e-4
    assert int(keras.models.load_model(quickstart / "model.keras").optimizer.iterations) == 4


def test_the_python_example_trains_a_model(quickstart, monkeypatch):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 10, size=[30, 32])
    images = rng.normal(size=[30, 32, 64]) + np.eye(64)[labels] * 3
    batches = [(tf.constant(x, tf.float32), tf.constant(y)) for x, y in zip(images, labels)]
    losses = []
    original = tf.reduce_mean
    monkeypatch.setattr(tf, "reduce_mean", lambda x: losses.append(original(x)) or losses[-1])
    exec(PYTHON_EXAMPLE, {"batches": batches})
    assert len(losses) == 30 and np.isfinite(losses).all()


def test_every_training_command_parses():
    commands = re.findall(r"^python -m l2o_tf\.train (--.*)", README, re.MULTILINE)
    assert commands
    for command in commands:
        cli.parse(TrainConfig, ["train", *command.split()])


def test_everything_that_is_named_exists():
    for path in re.findall(r"(?:flags|run_scripts|docs|data)/[\w./-]+\.\w+", README + SCALE):
        assert (REPOSITORY / path).exists(), path
    for name in optimizees.names():
        assert f"`{name}`" in README, name
    for name in TrainConfig.__dataclass_fields__:
        if name not in (
            "batch_size",
            "validation_epochs",
            "meta_learning_rate",
            "workdir",
            "second_derivatives",
        ):
            assert f"--{name}" in README + SCALE + SCALING, name
    for name in problem_sets.PROBLEM_SETS.names():
        assert f"`{name}`" in SCALE, name
