"""Files that are never half written."""

import contextlib
import io
import json
import os
import pathlib
from typing import Any

import numpy as np
import output

Arrays = dict[str, np.ndarray]


def under(arrays: Arrays, prefix: str) -> Arrays:
    """The arrays whose names begin with a prefix, by the rest of them."""
    return {name[len(prefix) :]: x for name, x in arrays.items() if name.startswith(prefix)}


def replace(path: pathlib.Path, content: bytes) -> None:
    """Writes a file under another name first; the disk has it before what is written next.

    Raises:
        InputError: if it cannot be written; the one that was there stays.
    """
    temporary = path.with_name(f".{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise output.unwritable(path, error) from error


def save(path: pathlib.Path, arrays: Arrays, about: Any) -> None:
    """Writes arrays by name, and JSON values under the name "about"; raises as `replace`."""
    buffer = io.BytesIO()
    np.savez(buffer, about=np.frombuffer(json.dumps(about).encode(), np.uint8), **arrays)
    replace(path, buffer.getvalue())


def load(path: pathlib.Path) -> tuple[Arrays, Any]:
    """Reads what `save` wrote; raises InputError if it is damaged or not there."""
    with output.reading(path):
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        return arrays, json.loads(arrays.pop("about").tobytes())
