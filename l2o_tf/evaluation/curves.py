"""Loss curves in files of other programs: NumPy arrays, text, legacy loss records."""

import os
import pathlib
import warnings

import numpy as np

from l2o_tf.core import errors, files
from l2o_tf.legacy import loss_records

_TEXT = {".txt": None, ".csv": ","}  # The delimiters; None is white space.


def read(path: str | os.PathLike) -> dict[str, list[np.ndarray]]:
    """Reads curves.

    Args:
        path: `.npz`, `.npy`, `.txt` or `.csv` of numbers, [num_steps] or [num_runs, num_steps] (in
            text a line is a run, or a number a line one run), or a legacy loss record.

    Returns:
        Losses [num_steps] of every run, by the array's name in `.npz`, else by "".

    Raises:
        InputError: if the file cannot be read or holds something else.
    """
    path = pathlib.Path(path)
    if path.suffix == ".npz":
        arrays = files.read_arrays(path)
        return {name: _runs(f"{name} in {path}", array) for name, array in arrays.items()}
    if path.suffix == ".npy":
        return {"": _runs(str(path), files.read_array(path))}
    if path.suffix in _TEXT:
        return {"": _runs(str(path), _text(path, _TEXT[path.suffix]))}
    return {"": loss_records.read_runs(path)}


def _text(path: pathlib.Path, delimiter: str | None) -> np.ndarray:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # Of an empty file.
            values = np.loadtxt(path, delimiter=delimiter, ndmin=2, encoding="utf-8")
    except (OSError, ValueError) as error:
        reason = errors.reason(error)
        raise errors.InputError(
            f"cannot read {path}: {reason}; expected nothing but numbers, a run a line"
        ) from error
    return values[:, 0] if values.shape[1:] == (1,) else values


def _runs(where: str, values: np.ndarray) -> list[np.ndarray]:
    if values.dtype.kind not in "fiu" or values.ndim not in (1, 2) or not values.size:
        raise errors.InputError(
            f"{where} is {values.dtype} {list(values.shape)}: expected numbers [num_steps] or "
            "[num_runs, num_steps]"
        )
    return list(np.atleast_2d(values).astype(np.float64))
