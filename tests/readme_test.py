"""What the README shows runs, as it is pasted."""

import keras
import numpy as np
import tensorflow as tf

from l2o_tf import artifacts, rules
from l2o_tf.data import datasets
from tests import snippets


def test_the_keras_example_of_the_readme_trains_a_model(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    keras.utils.set_random_seed(0)
    (example,) = snippets.blocks("README.md", "python")
    exec(example.code, {})
    model = keras.models.load_model("model.keras")
    assert int(model.optimizer.iterations) == 5 * 45
    test = datasets.load("digits", "test")
    _, accuracy = model.evaluate(test.images * test.scale, test.labels, verbose=0)
    assert accuracy > 0.85


def test_a_loop_without_keras_trains_a_model(tmp_path, monkeypatch):
    artifacts.save_rule(tmp_path / "runs" / "quickstart", rules.create("rnnprop"))
    monkeypatch.chdir(tmp_path)
    (example,) = (b for b in snippets.blocks("docs/keras.md", "python") if "rule.update" in b.code)
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 10, size=[30, 32])
    images = rng.normal(size=[30, 32, 64]) + np.eye(64)[labels] * 3
    batches = [(tf.constant(x, tf.float32), tf.constant(y)) for x, y in zip(images, labels)]
    losses = []
    original = tf.reduce_mean
    monkeypatch.setattr(tf, "reduce_mean", lambda x: losses.append(original(x)) or losses[-1])
    exec(example.code, {"batches": batches})
    assert len(losses) == 30 and np.isfinite(losses).all()
