"""Files that are there whole or not at all, and read without trusting them."""

import io
import json
import os
import pathlib
import tempfile
from collections.abc import Mapping
from typing import Any

import numpy as np

from l2o_tf.core import errors


def write_atomically(path: str | os.PathLike, content: bytes) -> None:
    """Writes a file completely under another name, then renames it into place.

    Neither an interruption nor a power cut leaves half a file under `path`.

    Raises:
        InputError: if the file or its directory cannot be written.
    """
    path = pathlib.Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(prefix=".", dir=path.parent)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(temporary, 0o644)
            os.replace(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise
    except OSError as error:
        raise errors.InputError(f"cannot write {path}: {error.strerror or error}") from error


def write_arrays(
    path: str | os.PathLike, arrays: Mapping[str, np.ndarray], compressed: bool = False
) -> None:
    """Writes named arrays as .npz, atomically."""
    buffer = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(buffer, **arrays)
    write_atomically(path, buffer.getvalue())


def read_arrays(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Reads the arrays of a .npz file by name; never unpickles.

    Raises:
        InputError: if the file is missing, damaged or holds anything but plain arrays.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except Exception as error:  # Damage surfaces as any of a dozen types from zipfile and NumPy.
        reason = " ".join(str(error).split()) or type(error).__name__
        raise errors.InputError(f"cannot read arrays from {path}: {reason}") from error


def write_json(path: str | os.PathLike, values: Any) -> None:
    """Writes JSON for people to read, atomically."""
    write_atomically(path, (json.dumps(values, indent=2, allow_nan=False) + "\n").encode())


def read_json(path: str | os.PathLike) -> Any:
    """Reads a JSON file.

    Raises:
        InputError: if it is missing or is not JSON.
    """
    try:
        return json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise errors.InputError(f"cannot read {path}: {error}") from error
