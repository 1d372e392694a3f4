"""Arrays in the format of the package safetensors, which need not be installed."""

import os
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from l2o_tf.core import errors, files

SUFFIX = ".safetensors"


def write(path: str | os.PathLike, arrays: Mapping[str, Any]) -> None:
    """Writes named arrays or tensors, atomically.

    Raises:
        InputError: if the package is missing or the file cannot be written.
    """
    save = _package(path).save
    # It may take an array for its memory, in whatever order that is.
    files.write_atomically(path, save({k: np.array(x, order="C") for k, x in arrays.items()}))


def read(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Reads the arrays of a file by name.

    Raises:
        InputError: if the package or the file is missing, or the file is damaged.
    """
    load = _package(path).load
    with files.reading_arrays(path):
        return load(files.system.read(pathlib.Path(path)))


def _package(path):
    try:
        from safetensors import numpy as package
    except ImportError:
        raise errors.InputError(
            f"{path} needs the package safetensors: pip install 'l2o-tf[safetensors]'"
        ) from None
    return package
