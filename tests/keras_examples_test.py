"""Three models in the style of Keras' examples train for an epoch; nothing in them is special."""

import os
import pathlib
import subprocess
import sys
import time

import keras
import numpy as np
import pytest

import l2o_tf
from l2o_tf.core import errors
from l2o_tf.data import datasets

REPOSITORY = pathlib.Path(__file__).parents[1]
RECIPE = "--rule=rnnprop --dataset=digits --num_epochs=20 --imitation_r=0.3 --validation_epochs=5"


def images(name, number):
    try:
        data = datasets.load(name)
    except errors.InputError as error:
        pytest.skip(str(error))
    return data.images[:number] * np.float32(data.scale), data.labels[:number]


def mnist_convnet():
    model = keras.Sequential(
        [
            keras.Input([28, 28, 1]),
            keras.layers.Conv2D(32, kernel_size=3, activation="relu"),
            keras.layers.MaxPooling2D(pool_size=2),
            keras.layers.Conv2D(64, kernel_size=3, activation="relu"),
            keras.layers.MaxPooling2D(pool_size=2),
            keras.layers.Flatten(),
            keras.layers.Dropout(0.5),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )
    return model, "sparse_categorical_crossentropy", images("mnist", 12_800)


def cifar_resnet():
    def block(x, filters):
        shortcut = keras.layers.Conv2D(filters, 1, strides=2)(x)
        for strides in (2, 1):
            x = keras.layers.Conv2D(filters, 3, strides, padding="same", use_bias=False)(x)
            x = keras.layers.BatchNormalization()(x)
            x = keras.layers.Activation("relu")(x)
        return keras.layers.add([x, shortcut])

    inputs = keras.Input([32, 32, 3])
    x = keras.layers.Conv2D(16, 3, strides=2, padding="same", activation="relu")(inputs)
    x = block(block(x, 32), 64)
    x = keras.layers.GlobalAveragePooling2D()(x)
    outputs = keras.layers.Dense(10, activation="softmax")(x)
    model = keras.Model(inputs, outputs)
    return model, "sparse_categorical_crossentropy", images("cifar10", 12_800)


def text_classifier():
    """Random texts of 40 words whose class makes some of the words twice as frequent."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 6400)
    frequencies = np.ones([2, 2000])
    frequencies[0, :500] = frequencies[1, 500:1000] = 2
    frequencies /= frequencies.sum(axis=1, keepdims=True)
    texts = np.stack([rng.choice(2000, 40, p=frequencies[label]) for label in labels])
    model = keras.Sequential(
        [
            keras.Input([40], dtype="int32"),
            keras.layers.Embedding(2000, 32),
            keras.layers.GlobalAveragePooling1D(),
            keras.layers.Dense(16, activation="relu"),
            keras.layers.Dense(1, activation="sigmoid"),
        ]
    )
    return model, "binary_crossentropy", (texts, labels)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The directory of a rule after 2,000 steps of meta-training on a perceptron."""
    directory = tmp_path_factory.mktemp("runs") / "rnnprop"
    command = [sys.executable, "-m", "l2o_tf.train", *RECIPE.split(), f"--workdir={directory}"]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    subprocess.run(command, check=True, env=environment, capture_output=True)
    return directory


class Losses(keras.callbacks.Callback):
    """The loss of each batch and the time of all but the first, which compiles."""

    def on_train_begin(self, logs=None):
        self.losses = []

    def on_train_batch_end(self, batch, logs=None):
        if batch == 0:
            self.start = time.perf_counter(), time.process_time()
        self.losses.append(logs["loss"])
        self.model.reset_metrics()
        self.seconds = time.perf_counter() - self.start[0], time.process_time() - self.start[1]


@pytest.mark.slow
@pytest.mark.parametrize("make", [mnist_convnet, cifar_resnet, text_classifier])
def test_an_epoch(make, trained, record_property):
    for name in ("adam", "learned"):
        keras.utils.set_random_seed(0)
        model, loss, (inputs, labels) = make()
        # Convolutions want smaller steps than the perceptron on which the rule was trained.
        rule = l2o_tf.LearnedOptimizer(trained, learning_rate=0.2)
        optimizer = "adam" if name == "adam" else rule
        model.compile(optimizer, loss)
        record = Losses()
        model.fit(inputs, labels, batch_size=64, epochs=1, verbose=0, callbacks=[record])
        wall, cpu = (1000 * s / (len(record.losses) - 1) for s in record.seconds)
        start, end = np.mean(record.losses[:5]), np.mean(record.losses[-20:])
        record_property(f"{name}: loss {start:.3f} to {end:.3f}, CPU ms per step", round(cpu, 1))
        record_property(f"{name}: wall ms per step", round(wall, 1))
        print(f"{make.__name__} {name}: loss {start:.3f} to {end:.3f}, {cpu:.1f} CPU-ms per step")
        assert np.isfinite(record.losses).all() and end < 0.95 * start
