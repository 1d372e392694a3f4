"""Loss records of the legacy code: the loss after each step of an evaluation."""

import os
from typing import Any

import numpy as np

from l2o_tf.core import errors
from l2o_tf.legacy import pickles


def read_runs(path: str | os.PathLike[str]) -> list[np.ndarray]:
    """Reads pickled losses of one or several runs without running code from the file.

    Args:
        path: `L2L_eval_loss_record.pickle-{problem}` of the L2O-DM and RNNprop code or
            `seed{s}_eval_loss_record.pickle-{name}` of the L2O-Scale code, lists of losses, or
            a record of several runs: a list with an array or a list of losses for each, or an
            array [num_steps] or [num_runs, num_steps].

    Returns:
        The losses of each run, float64 [num_steps]. They may be infinite or NaN where a run
        diverged.

    Raises:
        InputError: if the file cannot be read or holds something else.
    """
    content = pickles.read(path)
    where = f"cannot use the loss record {os.fspath(path)}"
    if isinstance(content, np.ndarray):
        if content.dtype.kind != "f" or content.ndim not in (1, 2) or not content.size:
            raise errors.InputError(
                f"{where}: it holds an array {content.dtype} {list(content.shape)}, expected "
                "floats [num_steps] or [num_runs, num_steps]"
            )
        return list(np.atleast_2d(content).astype(np.float64))
    if not isinstance(content, list) or not content:
        kind = "nothing" if isinstance(content, list) else f"a {type(content).__name__}"
        raise errors.InputError(f"{where}: it holds {kind}, expected a list of losses")
    if all(_is_run(entry) for entry in content):
        return [_losses(f"{where}: in run {run},", entry) for run, entry in enumerate(content)]
    return [_losses(f"{where}:", content)]


def _losses(where: str, content: Any) -> np.ndarray:
    for step, value in enumerate(content):
        if not _is_loss(value):
            raise errors.InputError(
                f"{where} entry {step} is a {type(value).__name__}, expected a float"
            )
    return np.array([float(value) for value in content])


def _is_run(value: Any) -> bool:
    if isinstance(value, np.ndarray):
        return value.ndim == 1 and value.size > 0
    return isinstance(value, list) and len(value) > 0


def _is_loss(value: Any) -> bool:
    if isinstance(value, np.ndarray):
        return value.shape == () and value.dtype.kind == "f"
    return isinstance(value, (float, np.floating))
