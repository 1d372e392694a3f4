"""What a rule costs in Keras, beside Keras' Adam."""

import functools
import statistics
from collections.abc import Callable, Sequence

import keras
import numpy as np
import tensorflow as tf

from l2o_tf import keras_optimizer, rules
from l2o_tf.benchmark_workloads import Measurement, Row, aligned, measure

BATCH_SIZE = 128
# Perceptrons for images of 28 x 28 pixels with these hidden units: 15,910 and 1,010,850 parameters.
HIDDEN_UNITS = {"16k": (20,), "1M": (1024, 200)}
ADAM = "keras adam"
OPTIMIZERS: dict[str, Callable[[], keras.optimizers.Optimizer]] = {
    ADAM: keras.optimizers.Adam,
    "adam:0.001": lambda: keras_optimizer.LearnedOptimizer("adam:0.001"),
    # What the weights are does not matter to the time.
    "dm": lambda: keras_optimizer.LearnedOptimizer(rules.create("dm")),
    "rnnprop": lambda: keras_optimizer.LearnedOptimizer(rules.create("rnnprop")),
}


def compare(repetitions: int, short: bool = False) -> list[Row]:
    """Measures the update alone and the whole training step of each optimizer, in turn.

    Args:
        repetitions: measurements of each.
        short: whether to measure a single step of the smaller model.

    Returns:
        For each model and optimizer the medians in milliseconds, and the ratio to Keras' Adam.
    """
    rows: list[Row] = []
    for model_name, units in HIDDEN_UNITS.items():
        if short and model_name != "16k":
            continue
        steps = {name: _steps(units, make()) for name, make in OPTIMIZERS.items()}
        number = 1 if short else {"16k": 50, "1M": 3}[model_name]
        for part in ("update", "step"):
            measured = _measure_in_turn(
                {name: pair[part] for name, pair in steps.items()}, number, repetitions
            )
            for name, medians in measured.items():
                row: Row = {"model": model_name, "part": part, "optimizer": name}
                row |= medians._asdict()
                row["cpu_ratio"] = medians.cpu_ms / measured[ADAM].cpu_ms
                row["wall_ratio"] = medians.wall_ms / measured[ADAM].wall_ms
                rows.append(row)
    return rows


def table(rows: Sequence[Row]) -> str:
    """The rows as text."""
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
    return aligned([header, *lines])


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

    return {"update": update.get_concrete_function(), "step": step.get_concrete_function()}


def _measure_in_turn(functions, number, repetitions) -> dict[str, Measurement]:
    measured: dict[str, list[Measurement]] = {name: [] for name in functions}
    for function in functions.values():
        function()  # XLA compiles in the first call.

    def call(function):
        for _ in range(number):
            function()

    for _ in range(repetitions):
        for name, function in functions.items():
            measured[name].append(measure(functools.partial(call, function), number))
    return {
        name: Measurement(*map(statistics.median, zip(*values)))
        for name, values in measured.items()
    }
