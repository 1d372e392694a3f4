"""What the README shows is there and runs."""

import pathlib
import re

import numpy as np
import tensorflow as tf

from l2o_tf import artifacts, cli, optimizees, rules
from l2o_tf.config import TrainConfig
from l2o_tf.optimizees.scale import problem_sets

REPOSITORY = pathlib.Path(__file__).parents[1]
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
SCALE = (REPOSITORY / "docs" / "scale.md").read_text(encoding="utf-8")


def test_the_python_example_trains_a_model(tmp_path, monkeypatch):
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    rule = rules.create("rnnprop")
    artifacts.save_rule(tmp_path / "runs" / "quickstart", rule, rule.weights(), {})
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 10, size=[30, 32])
    images = rng.normal(size=[30, 32, 64]) + np.eye(64)[labels] * 3
    batches = [(tf.constant(x, tf.float32), tf.constant(y)) for x, y in zip(images, labels)]
    losses = []
    original = tf.reduce_mean
    monkeypatch.setattr(tf, "reduce_mean", lambda x: losses.append(original(x)) or losses[-1])
    exec(code, {"batches": batches})
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
        if name not in ("batch_size", "validation_epochs", "meta_learning_rate", "workdir",
                        "second_derivatives"):  # fmt: skip
            assert f"--{name}" in README + SCALE, name
    for name in problem_sets.PROBLEM_SETS.names():
        assert f"`{name}`" in SCALE, name
