"""What a rule costs in Keras, beside Keras' Adam."""

import functools
from collections.abc import Callable, Sequence

import keras
import numpy as np
import tensorflow as tf

from l2o_tf import keras_optimizer, rules
from l2o_tf.benchmarks import measuring

BATCH_SIZE = 128
# Perceptrons for images of 28 x 28 pixels with these hidden units: 15,910, 1,010,850 and 9,882,510
# parameters.
HIDDEN_UNITS = {"16k": (20,), "1M": (1024, 200), "10M": (3000, 2500)}
_NUM_STEPS = {"16k": 50, "1M": 3, "10M": 1}
# The largest model has a table of its own, `keras_large`, because of the memory that it takes.
_MODELS = ("16k", "1M")
ADAM = "keras adam"
OPTIMIZERS: dict[str, Callable[[], keras.optimizers.Optimizer]] = {
    ADAM: keras.optimizers.Adam,
    "adam:0.001": lambda: keras_optimizer.LearnedOptimizer("adam:0.001"),
    # What the weights are does not matter to the time.
    "dm": lambda: keras_optimizer.LearnedOptimizer(rules.create("dm")),
    "rnnprop": lambda: keras_optimizer.LearnedOptimizer(rules.create("rnnprop")),
    "mlp": lambda: keras_optimizer.LearnedOptimizer("mlp"),
    "mlp_full": lambda: keras_optimizer.LearnedOptimizer("mlp_full"),
}


def measure(
    repetitions: int,
    short: bool = False,
    models: Sequence[str] = _MODELS,
    optimizers: Sequence[str] = tuple(OPTIMIZERS),
) -> list[measuring.Row]:
    """Measures the update alone and the whole training step of each optimizer, in turn.

    Args:
        repetitions: how often each is measured.
        short: whether to take one step of the smallest model only.
        models: names in `HIDDEN_UNITS`.
        optimizers: names in `OPTIMIZERS`; Keras' Adam is the first.

    Returns:
        A row per model, part and optimizer with medians; the ratios are to Keras' Adam.
    """
    rows: list[measuring.Row] = []
    for model in models[:1] if short else models:
        units = HIDDEN_UNITS[model]
        steps = {name: _steps(units, OPTIMIZERS[name]()) for name in optimizers}
        num_steps = 1 if short else _NUM_STEPS[model]
        for part in ("update", "step"):
            functions = {
                name: functools.partial(_repeat, pair[part], num_steps)
                for name, pair in steps.items()
            }
            medians = measuring.medians(functions, num_steps, repetitions)
            for name, measured in medians.items():
                row = {"model": model, "part": part, "optimizer": name, **measured._asdict()}
                row["cpu_ratio"] = measured.cpu_ms / medians[ADAM].cpu_ms
                row["wall_ratio"] = measured.wall_ms / medians[ADAM].wall_ms
                rows.append(row)
    return rows


def table(rows: Sequence[measuring.Row]) -> str:
    """The rows of `measure` as text."""
    header = ["model", "part", "optimizer", "CPU ms", "x Adam", "wall ms", "x Adam"]
    lines = [
        [
            row["model"],
            row["part"],
            row["optimizer"],
            f"{row['cpu_ms']:.2f}",
            f"{row['cpu_ratio']:.1f}",
            f"{row['wall_ms']:.2f}",
            f"{row['wall_ratio']:.1f}",
        ]
        for row in rows
    ]
    return measuring.aligned([header, *lines])


def _steps(units, optimizer) -> dict[str, Callable[[], None]]:
    """The update alone, with given gradients, and a training step, with an input in memory."""
    layers = [keras.layers.Dense(n, "relu") for n in units]
    model = keras.Sequential([keras.Input([784]), *layers, keras.layers.Dense(10)])
    random = np.random.default_rng(0)
    images = tf.constant(random.random([BATCH_SIZE, 784]), tf.float32)
    labels = tf.constant(random.integers(0, 10, BATCH_SIZE), tf.int32)
    variables = model.trainable_variables
    grads = [tf.constant(random.normal(size=v.shape), tf.float32) for v in variables]
    optimizer.build(variables)

    @functools.partial(tf.function, autograph=False)
    def update():
        optimizer.apply_gradients(zip(grads, variables))

    @functools.partial(tf.function, autograph=False)
    def step():
        with tf.GradientTape() as tape:
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, model(images))
            loss = tf.reduce_mean(losses)
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables))

    functions = {"update": update.get_concrete_function(), "step": step.get_concrete_function()}
    for function in functions.values():
        function()  # XLA compiles in the first call.
    return functions


def _repeat(function, number):
    for _ in range(number):
        function()
