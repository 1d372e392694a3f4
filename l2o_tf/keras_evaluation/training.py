"""One training of a Keras task with one optimizer and one seed."""

import contextlib
import math
import random
import time
import zlib
from collections.abc import Callable, Iterator
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from l2o_tf.core import errors, seeds
from l2o_tf.keras_evaluation.tasks import Task
from l2o_tf.keras_optimizer import LearnedOptimizer
from l2o_tf.optimizees import keras_starts

_NUM_COMPILING = 2  # Steps at the beginning whose time is not counted.


class Run(NamedTuple):
    """What a training gave.

    Attributes:
        losses: the training loss of each step's minibatch before the step, up to the first that is
            not finite.
        diverged_at: the step of a loss that is not finite, from 1; None if there was none.
        validation_loss: the loss on the examples held out, after the training; None if it is not
            finite.
        num_parameters: the number of trainable parameters.
        bytes_per_parameter: of the optimizer's state.
        cpu_ms: CPU time of all threads per step.
        wall_ms: time per step.
        skipped_steps: how many steps the guard skipped.
    """

    losses: list[float]
    diverged_at: int | None
    validation_loss: float | None
    num_parameters: int
    bytes_per_parameter: float
    cpu_ms: float
    wall_ms: float
    skipped_steps: int


def train(
    task: Task,
    optimizer: keras.optimizers.Optimizer,
    seed: int,
    num_steps: int,
    progress: Callable[[int], None] = lambda step: None,
) -> Run:
    """Trains the task's model as `Model.fit` does, with the minibatches of `seed`.

    Args:
        task: the task; its model is compiled and trained.
        optimizer: a new optimizer.
        seed: of the initial values, the order of the examples and Dropout.
        num_steps: the number of steps.
        progress: is given the number of steps that are done.

    Raises:
        InputError: if the model has no trainable variables.
    """
    model = task.model
    with seeded(seed, "keras build"):
        build(task)
    if not model.trainable_variables:
        raise errors.InputError(
            f"model {model.name!r} has no trainable variables; set trainable = True on a layer"
        )
    initialize(model, seed)
    model.compile(optimizer, task.loss)
    size = sum(math.prod(v.shape) for v in model.trainable_variables)
    losses: list[float] = []
    diverged_at, num_timed = None, 0
    cpu, wall = time.process_time(), time.perf_counter()
    for step, indices in enumerate(batches(task, seed, num_steps)):
        if step == _NUM_COMPILING:
            cpu, wall, num_timed = time.process_time(), time.perf_counter(), 0
        model.reset_metrics()  # Else the loss is the mean over all steps so far.
        loss = model.train_on_batch(task.train[0][indices], task.train[1][indices])
        num_timed += 1
        if not np.isfinite(loss):
            diverged_at = step + 1
            break
        losses.append(float(loss))
        progress(step + 1)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    model.reset_metrics()
    found = model.evaluate(*task.validation, batch_size=500, verbose=0, return_dict=True)["loss"]
    return Run(
        losses,
        diverged_at,
        float(found) if np.isfinite(found) else None,
        size,
        state_bytes(optimizer) / size,
        1000 * cpu / num_timed,
        1000 * wall / num_timed,
        optimizer.skipped_steps if isinstance(optimizer, LearnedOptimizer) else 0,
    )


@contextlib.contextmanager
def seeded(seed: int, purpose: str) -> Iterator[None]:
    """Lets the global random generators start from a seed, for making models alone.

    What a model draws that Keras cannot build again, nobody can draw for it. Afterwards those of
    Python and NumPy go on where they were, and TensorFlow has the seed that it had; that of Keras
    belongs to this package's tasks, which clear the session that it is part of.
    """
    python, numpy_ = random.getstate(), np.random.get_state()
    # The only public way to read it; without one it gives the other number, as for an operation.
    tensorflow, unset = tf.compat.v1.random.get_seed(0)[0], 87654321
    rng = np.random.default_rng([seed, zlib.crc32(purpose.encode())])
    keras.utils.set_random_seed(int(rng.integers(2**31)))
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy_)
        tf.random.set_seed(None if tensorflow == unset else tensorflow)


def build(task: Task) -> None:
    """Calls a model that has no variables yet, such as one without an Input, on a minibatch."""
    if not task.model.built:
        task.model(task.train[0][: task.batch_size])


def initialize(model: keras.Model, seed: int) -> None:
    """Draws the values of a model from the distributions of its initializers.

    A model that Keras cannot build again from its configuration keeps the values that it has,
    which are those of the seed if it was made where `seeded` was open.
    """
    base = seeds.make_seed(seed, "keras task")
    try:
        draws = keras_starts.draws_of(model)
    except errors.InputError:
        draws = []
    for index, (variable, draw) in enumerate(zip(model.trainable_variables, draws)):
        variable.assign(draw(seeds.fold(base, 0, index)))
    for index, variable in enumerate(model.non_trainable_variables):
        if variable.path.split("/")[-1].startswith("seed_generator_state"):
            variable.assign(tf.cast(seeds.fold(base, 1, index), variable.dtype))


def batches(task: Task, seed: int, num_steps: int) -> Iterator[np.ndarray]:
    """The indices [batch_size] of each step: passes over all examples in a new order each."""
    rng = np.random.default_rng([seed, zlib.crc32(b"keras batches")])
    number, size = len(task.train[0]), min(task.batch_size, len(task.train[0]))
    order = np.empty([0], np.int64)
    for _ in range(num_steps):
        if len(order) < size:
            order = rng.permutation(number)
        yield order[:size]
        order = order[size:]


def state_bytes(optimizer: keras.optimizers.Optimizer) -> int:
    """The memory of what an optimizer keeps of each parameter."""
    shared = [optimizer.iterations]
    if isinstance(optimizer.learning_rate, keras.Variable):
        shared.append(optimizer.learning_rate)
    total = sum(map(_num_bytes, optimizer.variables)) - sum(map(_num_bytes, shared))
    if isinstance(optimizer, LearnedOptimizer):
        total -= sum(map(_num_bytes, optimizer.rule_weights().values()))
    return total


def _num_bytes(variable) -> int:
    return math.prod(variable.shape) * tf.as_dtype(variable.dtype).size
