"""What tells a task from another of the same name, so that their trainings do not mix."""

import functools
import hashlib
import inspect
import json
from typing import Any

import keras
import numpy as np

from l2o_tf.core import plugins
from l2o_tf.keras_evaluation import tasks, training


def task_identity(name: str, data_dir: str | None = None) -> dict[str, Any]:
    """Makes a task; what is returned is equal for equal tasks only, in this process or another.

    It does not see code: a layer or a loss class of the user's own that computes something else
    with the same configuration and variables is the same.

    Args:
        name: as `tasks.create` takes it.
        data_dir: likewise.

    Returns:
        Numbers and texts: `num_steps`, `batch_size`, `loss`, and the hashes `model` and `data`.

    Raises:
        InputError: as `tasks.create`, or if the model fails on its examples.
    """
    # Names of layers count from the start, seeds of layers are drawn.
    keras.backend.clear_session()
    with plugins.making(f"task {name!r}"), training.seeded(0, "keras task"):
        task = tasks.create(name, data_dir)
        training.build(task)
        return {
            "num_steps": int(task.num_steps),
            "batch_size": int(task.batch_size),
            "loss": json.dumps(task.loss, default=_of_loss, sort_keys=True),
            "model": _of_model(task.model),
            "data": _of_data([*task.train, *task.validation]),
        }


def _of_loss(loss: Any) -> Any:
    """A loss that is not its name, in JSON's terms: its attributes, or its source."""
    if isinstance(loss, keras.losses.Loss):
        # The configurations of Keras' losses leave out arguments such as `from_logits`.
        attributes = sorted((name, _simple(value)) for name, value in vars(loss).items())
        return [type(loss).__name__, _hash(repr(attributes))]
    if isinstance(loss, functools.partial):
        return [_of_loss(loss.func), repr(loss.args), repr(loss.keywords)]
    name = getattr(loss, "__qualname__", type(loss).__name__)
    try:
        source = inspect.getsource(loss)
    except (OSError, TypeError):  # Written at a prompt, or an object.
        source = ""
    return [name, _hash(source)]


def _simple(value: Any) -> Any:
    """A value whose text does not have an address in it."""
    if isinstance(value, dict):
        return {key: _simple(entry) for key, entry in value.items()}
    known = isinstance(value, (str, bytes, bool, int, float, type(None), np.generic))
    return value if known else type(value).__name__


def _of_model(model: keras.Model) -> str:
    """A hash of its configuration, where it has one, and of the shapes of its variables."""
    shapes = [[list(v.shape), str(v.dtype), v.trainable] for v in model.variables]
    # A subclass may have a configuration that does not say what it is made of.
    return _hash(json.dumps([_config(model), shapes]))


def _config(thing: Any) -> str | None:
    try:
        return json.dumps(keras.saving.serialize_keras_object(thing), sort_keys=True)
    except Exception:  # A class of the user's own may raise anything, or have none.
        return None


def _of_data(arrays: list[Any]) -> str:
    digest = hashlib.sha256()
    for array in map(np.asarray, arrays):
        digest.update(f"{array.dtype} {array.shape} ".encode())
        # Of objects, such as texts, the bytes are addresses.
        as_text = array.dtype.hasobject
        digest.update(repr(array.tolist()).encode() if as_text else array.tobytes())
    return digest.hexdigest()[:16]


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
