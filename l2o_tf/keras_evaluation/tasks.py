"""Keras models as people write them, with data and a number of steps: what rules are tried on.

No rule of this package is trained on any of them. `create("module:make_model")` takes a task of
the user's own: a function without arguments that returns a `Task`.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import keras

from l2o_tf.core import errors, plugins, registry
from l2o_tf.keras_evaluation import task_data

layers = keras.layers


@dataclasses.dataclass(frozen=True)
class Task:
    """A model that is not compiled, and what it is trained on.

    Attributes:
        model: a new model; its values are drawn anew for each seed.
        loss: a loss of Keras or its name.
        train: x and y, arrays [num_examples, ...].
        validation: x and y that are held out.
        batch_size: the number of examples in a minibatch.
        num_steps: the number of steps.
    """

    model: keras.Model
    loss: Any
    train: task_data.Examples
    validation: task_data.Examples
    batch_size: int = 64
    num_steps: int = 500


TASKS: registry.Registry[Task] = registry.Registry("Keras task")
names = TASKS.names

_CLASSES = "sparse_categorical_crossentropy"


def check(name: str) -> None:
    """Raises InputError if there is no such task."""
    _factory(name)


def create(name: str, data_dir: str | None = None) -> Task:
    """Makes a task, with a new model.

    Args:
        name: a registered name, or "module:function" for a function of the user's own.
        data_dir: the folder of prepared TFDS data sets, see `datasets.load`.

    Raises:
        InputError: if there is none, its data are not there, or a function of the user's own
            fails or returns something else.
    """
    factory = _factory(name)
    if ":" not in name:
        return factory(data_dir)
    with plugins.making(f"task {name!r}"):
        task = factory()
    if not isinstance(task, Task):
        raise errors.InputError(
            f"{name} returns a {type(task).__name__}: return an"
            " l2o_tf.keras_evaluation.tasks.Task(model, loss, train=(x, y), validation=(x, y))"
        )
    return task


def _factory(name: str) -> Callable[..., Task]:
    if ":" in name:
        return plugins.attribute(name, "Keras task", "function", "define {}() that returns a Task")
    return TASKS.get(name)


@TASKS.register("mnist_convnet")
def mnist_convnet(data_dir: str | None) -> Task:
    """The convolutional network of Keras' first example: 34,826 parameters."""
    model = keras.Sequential(
        [
            keras.Input([28, 28, 1], dtype="uint8"),
            layers.Rescaling(1 / 255),
            layers.Conv2D(32, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(64, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dropout(0.5),
            layers.Dense(10, activation="softmax"),
        ]
    )
    return Task(model, _CLASSES, *task_data.images("mnist", 32_000, 2000, data_dir))


@TASKS.register("cifar_resnet")
def cifar_resnet(data_dir: str | None) -> Task:
    """A residual network with batch normalisation and augmentation: 77,946 parameters."""
    inputs = keras.Input([32, 32, 3], dtype="uint8")
    x = layers.Rescaling(1 / 127.5, offset=-1.0)(inputs)
    x = layers.RandomFlip("horizontal")(x)
    x = layers.RandomTranslation(0.1, 0.1)(x)
    x = layers.Conv2D(16, 3, strides=2, padding="same", use_bias=False)(x)
    x = layers.ReLU()(layers.BatchNormalization()(x))
    for filters, strides in ((16, 1), (32, 2), (64, 2)):
        shortcut = x if strides == 1 else layers.Conv2D(filters, 1, strides=strides)(x)
        for step in (strides, 1):
            x = layers.Conv2D(filters, 3, step, padding="same", use_bias=False)(x)
            x = layers.ReLU()(layers.BatchNormalization()(x))
        x = layers.add([x, shortcut])
    x = layers.GlobalAveragePooling2D()(x)
    model = keras.Model(inputs, layers.Dense(10, activation="softmax")(x))
    data = task_data.images("cifar10", 19_200, 2000, data_dir)
    return Task(model, _CLASSES, *data, num_steps=300)


@TASKS.register("text_lstm")
def text_lstm(data_dir: str | None) -> Task:
    """Two classes of made-up texts, an embedding and an LSTM: 72,353 parameters."""
    del data_dir
    model = keras.Sequential(
        [
            keras.Input([40], dtype="int32"),
            layers.Embedding(2000, 32),
            layers.LSTM(32),
            layers.Dense(1, activation="sigmoid"),
        ]
    )
    data = task_data.word_texts(5024, 1000, num_words=2000, length=40)
    return Task(model, "binary_crossentropy", *data, batch_size=32, num_steps=314)


@TASKS.register("autoencoder")
def autoencoder(data_dir: str | None) -> Task:
    """Digits through 32 numbers, mean squared error: 209,968 parameters."""
    model = keras.Sequential(
        [
            keras.Input([784]),
            layers.Dense(128, activation="relu"),
            layers.Dense(32),
            layers.Dense(128, activation="relu"),
            layers.Dense(784, activation="sigmoid"),
        ]
    )
    flat = [
        (x.reshape([-1, 784]) / 255).astype("float32")
        for x, _ in task_data.images("mnist", 19_200, 2000, data_dir)
    ]
    train, validation = [(x, x) for x in flat]
    return Task(model, "mean_squared_error", train, validation, num_steps=300)


@TASKS.register("tabular")
def tabular(data_dir: str | None) -> Task:
    """Friedman's regression with a perceptron: 4,801 parameters."""
    del data_dir
    model = keras.Sequential(
        [
            keras.Input([8]),
            layers.Dense(64, activation="relu"),
            layers.Dense(64, activation="relu"),
            layers.Dense(1),
        ]
    )
    data = task_data.table(8000, 2000)
    return Task(model, "mean_squared_error", *data, batch_size=32, num_steps=2500)


@TASKS.register("wide_mlp")
def wide_mlp(data_dir: str | None) -> Task:
    """One hidden layer of 512 units on MNIST: 407,050 parameters."""
    return _mnist_mlp([512], "relu", 300, data_dir)


@TASKS.register("deep_mlp")
def deep_mlp(data_dir: str | None) -> Task:
    """Eight hidden layers of 64 tanh units on MNIST: 80,010 parameters."""
    return _mnist_mlp([64] * 8, "tanh", 500, data_dir)


def _mnist_mlp(units, activation, num_steps, data_dir) -> Task:
    model = keras.Sequential(
        [
            keras.Input([28, 28, 1], dtype="uint8"),
            layers.Rescaling(1 / 255),
            layers.Flatten(),
            *[layers.Dense(number, activation=activation) for number in units],
            layers.Dense(10, activation="softmax"),
        ]
    )
    data = task_data.images("mnist", 32_000, 2000, data_dir)
    return Task(model, _CLASSES, *data, num_steps=num_steps)


@TASKS.register("cifar_convnet")
def cifar_convnet(data_dir: str | None) -> Task:
    """Strided convolutions with GELU and layer normalisation: 26,378 parameters."""
    inputs = keras.Input([32, 32, 3], dtype="uint8")
    x = layers.Rescaling(1 / 127.5, offset=-1.0)(inputs)
    for filters in (16, 32, 64):
        x = layers.Conv2D(filters, 3, strides=2, padding="same")(x)
        x = layers.LayerNormalization()(layers.Activation("gelu")(x))
    x = layers.Flatten()(layers.AveragePooling2D(2)(x))
    model = keras.Model(inputs, layers.Dense(10, activation="softmax")(x))
    data = task_data.images("cifar10", 19_200, 2000, data_dir)
    return Task(model, _CLASSES, *data, num_steps=300)


@TASKS.register("digits_convnet")
def digits_convnet(data_dir: str | None) -> Task:
    """Two convolutions on the embedded digits of 8 x 8 pixels: 15,270 parameters."""
    model = keras.Sequential(
        [
            keras.Input([8, 8, 1], dtype="uint8"),
            layers.Rescaling(1 / 16),
            layers.Conv2D(16, 3, padding="same", activation="relu"),
            layers.Conv2D(32, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dropout(0.25),
            layers.Dense(20, activation="relu"),
            layers.Dense(10, activation="softmax"),
        ]
    )
    return Task(model, _CLASSES, *task_data.images("digits", 1437, 360, data_dir), num_steps=400)


@TASKS.register("denoiser")
def denoiser(data_dir: str | None) -> Task:
    """A convolutional autoencoder that removes noise from digits: 9,873 parameters."""
    model = keras.Sequential(
        [
            keras.Input([8, 8, 1], dtype="uint8"),
            layers.Rescaling(1 / 16),
            layers.GaussianNoise(0.3),
            layers.Conv2D(32, 3, strides=2, padding="same", activation="relu"),
            layers.Conv2D(16, 3, padding="same", activation="relu"),
            layers.Conv2DTranspose(32, 3, strides=2, padding="same", activation="relu"),
            layers.Conv2D(1, 3, padding="same", activation="sigmoid"),
        ]
    )
    train, validation = [
        (x, (x / 16).astype("float32")) for x, _ in task_data.images("digits", 1437, 360, data_dir)
    ]
    return Task(model, "mean_squared_error", train, validation, num_steps=400)


@TASKS.register("char_gru")
def char_gru(data_dir: str | None) -> Task:
    """The next character of Python's documentation with a GRU: 49,824 parameters."""
    del data_dir
    model = keras.Sequential(
        [
            keras.Input([32], dtype="int32"),
            layers.Embedding(task_data.NUM_CHARACTERS, 32),
            layers.GRU(96, return_sequences=True),
            layers.Dense(task_data.NUM_CHARACTERS, activation="softmax"),
        ]
    )
    return Task(model, _CLASSES, *task_data.characters(9600, 500, 32), batch_size=32, num_steps=300)


@keras.saving.register_keras_serializable(package="l2o_tf")
class Positions(keras.layers.Layer):
    """Adds a learned vector for each position: [batch_size, length, units] to the same."""

    def build(self, shape):
        """Makes the vectors of inputs of this shape."""
        self.vectors = self.add_weight(shape=shape[1:], initializer="uniform", name="vectors")

    def call(self, x):
        """Adds them."""
        return x + self.vectors


@TASKS.register("char_transformer")
def char_transformer(data_dir: str | None) -> Task:
    """The next character with two causal blocks of attention: 67,488 parameters."""
    del data_dir
    inputs = keras.Input([32], dtype="int32")
    x = Positions()(layers.Embedding(task_data.NUM_CHARACTERS, 48)(inputs))
    for _ in range(2):
        y = layers.LayerNormalization()(x)
        x += layers.MultiHeadAttention(num_heads=4, key_dim=12)(y, y, use_causal_mask=True)
        y = layers.Dense(192, activation="gelu")(layers.LayerNormalization()(x))
        x += layers.Dense(48)(y)
    x = layers.LayerNormalization()(x)
    model = keras.Model(inputs, layers.Dense(task_data.NUM_CHARACTERS, activation="softmax")(x))
    return Task(model, _CLASSES, *task_data.characters(9600, 500, 32), batch_size=32, num_steps=300)
