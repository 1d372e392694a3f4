"""Loss records of the legacy code: the loss after each step of an evaluation."""

import os
from typing import Any

import numpy as np

from l2o_tf.core import errors
from l2o_tf.legacy import pickles


def read(path: str | os.PathLike[str]) -> np.ndarray:
    """Reads a pickled list of losses without running code from the file.

    Args:
        path: `L2L_eval_loss_record.pickle-{problem}` of the L2O-DM and RNNprop code, or
            `seed{s}_eval_loss_record.pickle-{name}` of the L2O-Scale code.

    Returns:
        The losses, float64 [num_steps]. They may be infinite or NaN where a run diverged.

    Raises:
        InputError: if the file cannot be read or is not a list of floats.
    """
    content = pickles.read(path)
    where = f"cannot use the loss record {os.fspath(path)}"
    if not isinstance(content, list) or not content:
        kind = "nothing" if isinstance(content, list) else f"a {type(content).__name__}"
        raise errors.InputError(f"{where}: it holds {kind}, expected a list of losses")
    for step, value in enumerate(content):
        if not _is_loss(value):
            raise errors.InputError(
                f"{where}: entry {step} is a {type(value).__name__}, expected a float"
            )
    return np.array([float(value) for value in content])


def _is_loss(value: Any) -> bool:
    if isinstance(value, np.ndarray):
        return value.shape == () and value.dtype.kind == "f"
    return isinstance(value, (float, np.floating))
