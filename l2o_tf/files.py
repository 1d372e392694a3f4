"""Files that are there whole or not at all, and arrays read without trusting them."""

import os
import pathlib
import tempfile

import numpy as np

from l2o_tf import errors


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
