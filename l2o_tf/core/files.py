"""Files that are there whole or not at all, and read without trusting them.

All that commands write and read of their own goes through `system`, so that tests can let any of
these operations fail.
"""

import contextlib
import errno
import io
import json
import math
import os
import pathlib
import secrets
import stat
import zipfile
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import IO, Any, NamedTuple

import numpy as np

from l2o_tf.core import errors, file_system

MAX_ARRAY_BYTES = 2**32  # All arrays of one file.
# What the system says of a file that is not there or cannot be.
_ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG)
_TEMPORARY, _ENDING = ".l2o-", ".tmp"

system = file_system.System()


def write_atomically(path: str | os.PathLike, content: bytes) -> None:
    """Writes a file completely under another name, then renames it into place.

    Neither an interruption nor a power cut leaves half a file under `path`. A process that is
    killed may leave the other name, see `remove_temporaries`.

    Raises:
        InputError: if the file or its directory cannot be written.
    """
    path = pathlib.Path(path)
    try:
        system.make_directory(path.parent)
        while not _write_and_rename(path, content):
            pass
    except (OSError, ValueError) as error:
        raise _cannot("write", path, error) from error


def _write_and_rename(path: pathlib.Path, content: bytes) -> bool:
    """Returns False if `remove_temporaries` of another process was faster than the lock."""
    temporary = path.parent / f"{_TEMPORARY}{secrets.token_hex(6)}{_ENDING}"
    try:
        with contextlib.ExitStack() as opened:
            descriptor = system.create(temporary)
            opened.callback(system.close, descriptor)
            locked = system.lock(descriptor, wait=True)
            if not temporary.exists():
                return False
            system.write(descriptor, content)
            system.sync(descriptor)
            if not locked:  # Windows, where an open file cannot be renamed.
                opened.close()
            system.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            system.remove(temporary)
        raise
    return True


def remove_temporaries(directory: str | os.PathLike) -> None:
    """Deletes what `write_atomically` left in a directory where it was killed.

    Those of living processes are locked and stay, so that any process may call this at any time;
    on file systems without locks all stay.

    Raises:
        InputError: if one cannot be deleted.
    """
    for path in matching(directory, f"{_TEMPORARY}*{_ENDING}"):
        try:
            with contextlib.ExitStack() as opened:
                descriptor = system.open_existing(path)
                opened.callback(system.close, descriptor)
                if system.lock(descriptor):
                    system.remove(path)
        except (FileNotFoundError, PermissionError):
            continue  # Its writer has renamed it, or is another person.
        except OSError as error:
            raise _cannot("delete", path, error) from error


def is_temporary(path: pathlib.Path) -> bool:
    """Whether a file is what `write_atomically` leaves where it is killed."""
    return path.name.startswith(_TEMPORARY) and path.name.endswith(_ENDING)


def is_taken(path: pathlib.Path, ignored: Collection[str] = ()) -> bool:
    """Whether a path is a file or holds more than temporaries and `ignored`; raises as `exists`."""
    if not is_dir(path):
        return exists(path)
    return any(p.name not in ignored and not is_temporary(p) for p in matching(path, "*"))


def remove(path: str | os.PathLike) -> None:
    """Deletes a file if it is there.

    Raises:
        InputError: if it cannot be deleted.
    """
    try:
        system.remove(pathlib.Path(path))
    except (OSError, ValueError) as error:
        raise _cannot("delete", path, error) from error


def rename(source: str | os.PathLike, target: str | os.PathLike) -> None:
    """Renames a file, in place of another one if there is one.

    Raises:
        InputError: if it cannot be renamed.
    """
    try:
        system.replace(pathlib.Path(source), pathlib.Path(target))
    except (OSError, ValueError) as error:
        raise _cannot("rename", source, error) from error


def exists(path: str | os.PathLike) -> bool:
    """Whether there is a file or a directory; False for names that no file can have.

    Raises:
        InputError: if the system does not say, such as for want of permission.
    """
    return _answer(os.stat, path) is not None


def is_file(path: str | os.PathLike) -> bool:
    """Whether there is a file; raises as `exists`."""
    status = _answer(os.stat, path)
    return status is not None and stat.S_ISREG(status.st_mode)


def is_dir(path: str | os.PathLike) -> bool:
    """Whether there is a directory; raises as `exists`."""
    status = _answer(os.stat, path)
    return status is not None and stat.S_ISDIR(status.st_mode)


def matching(directory: str | os.PathLike, pattern: str) -> list[pathlib.Path]:
    """What matches in a directory, sorted; nothing where there is none; raises as `exists`."""
    if (listing := _answer(os.scandir, directory)) is None:
        return []
    listing.close()  # `glob` takes a directory that may not be listed for an empty one.
    return sorted(pathlib.Path(directory).glob(pattern))


def _answer(ask: Callable[[str | os.PathLike], Any], path: str | os.PathLike) -> Any:
    """What the system says of a path; None of one that is not there or cannot be."""
    try:
        return ask(path)
    except OSError as error:
        if error.errno in _ABSENT:
            return None
        raise _cannot("use", path, error) from error
    except ValueError:  # A null character.
        return None


class GrowingFile:
    """A file that is written at its end, each piece by one call of the system.

    Raises:
        InputError: by all methods, if the file cannot be written.
    """

    def __init__(self, path: str | os.PathLike):
        """Opens the file; it and its directory are created if needed."""
        self.path = pathlib.Path(path)
        self._descriptor: int | None = None
        try:
            system.make_directory(self.path.parent)
            self._descriptor = system.open_end(self.path)
        except (OSError, ValueError) as error:
            raise _cannot("write", path, error) from error

    def add(self, content: bytes) -> None:
        """Writes at the end."""
        try:
            system.write(self._opened(), content)
        except OSError as error:
            raise _cannot("write", self.path, error) from error

    def sync(self) -> None:
        """Returns when the disk has what was written."""
        try:
            system.sync(self._opened())
        except OSError as error:
            raise _cannot("write", self.path, error) from error

    def close(self) -> None:
        """Closes the file; a second call does nothing."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            try:
                system.close(descriptor)
            except OSError as error:
                raise _cannot("write", self.path, error) from error

    def _opened(self) -> int:
        if self._descriptor is None:
            raise ValueError(f"{self.path} is closed")
        return self._descriptor


def read_bytes(path: str | os.PathLike) -> bytes:
    """Reads a file.

    Raises:
        InputError: if it cannot be read.
    """
    try:
        return system.read(pathlib.Path(path))
    except (OSError, ValueError) as error:
        raise _cannot("read", path, error) from error


def read_text(path: str | os.PathLike) -> str:
    """Reads a file of UTF-8.

    Raises:
        InputError: if it cannot be read or is something else.
    """
    try:
        return read_bytes(path).decode("utf-8")
    except UnicodeDecodeError as error:
        raise _cannot("read", path, error) from error


def write_arrays(
    path: str | os.PathLike, arrays: Mapping[str, np.ndarray], compressed: bool = False
) -> None:
    """Writes named arrays as .npz, atomically."""
    buffer = io.BytesIO()
    save: Callable[..., None] = np.savez_compressed if compressed else np.savez
    save(buffer, **arrays)
    write_atomically(path, buffer.getvalue())


class ArrayHeader(NamedTuple):
    """What a file says of an array before its numbers."""

    shape: tuple[int, ...]
    dtype: np.dtype


def read_array_headers(path: str | os.PathLike) -> dict[str, ArrayHeader]:
    """Reads what a .npz file holds by name, without its numbers, which may unpack to far more.

    Raises:
        InputError: if the file is missing, damaged, holds anything but plain arrays, or more
            than `MAX_ARRAY_BYTES` of them.
    """
    with reading_arrays(path):
        return _headers(system.read(pathlib.Path(path)))


def _headers(content: bytes) -> dict[str, ArrayHeader]:
    headers, total = {}, 0
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        for member in archive.infolist():
            if not member.filename.endswith(".npy"):
                raise ValueError(f"it holds {member.filename}, which is no array")
            with archive.open(member) as file:
                header = _read_header(file)
                size = file.tell() + math.prod(header.shape) * header.dtype.itemsize
            if size != member.file_size:
                raise ValueError(f"{member.filename} has the wrong size")
            total += size
            if total > MAX_ARRAY_BYTES:
                raise ValueError(f"its arrays are larger than {MAX_ARRAY_BYTES} bytes")
            headers[member.filename.removesuffix(".npy")] = header
    return headers


def read_arrays(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Reads the arrays of a .npz file by name; never unpickles.

    Raises:
        InputError: as `read_array_headers`.
    """
    with reading_arrays(path):
        content = system.read(pathlib.Path(path))
        _headers(content)
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            return {name: file[name] for name in file.files}


def read_array(path: str | os.PathLike) -> np.ndarray:
    """Reads the array of a .npy file; never unpickles.

    Raises:
        InputError: as `read_array_headers`.
    """
    with reading_arrays(path):
        content = system.read(pathlib.Path(path))
        file = io.BytesIO(content)
        header = _read_header(file)
        size = math.prod(header.shape) * header.dtype.itemsize
        if file.tell() + size != len(content):
            raise ValueError("it has the wrong size")
        file.seek(0)
        return np.lib.format.read_array(file, allow_pickle=False)


@contextlib.contextmanager
def reading_arrays(path: str | os.PathLike) -> Iterator[None]:
    """Turns whatever fails in reading a file of arrays into an InputError."""
    try:
        yield
    except Exception as error:  # Damage surfaces as any of a dozen types from zipfile and NumPy.
        raise errors.InputError(
            f"cannot read arrays from {path}: {errors.reason(error)}"
        ) from error


def _read_header(file: IO[bytes]) -> ArrayHeader:
    version = np.lib.format.read_magic(file)
    readers = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    if version not in readers:
        raise ValueError(f"version {version} of the format is unknown")
    shape, _, dtype = readers[version](file)
    if dtype.hasobject:
        raise ValueError("it holds Python objects, which are not read")
    return ArrayHeader(shape, dtype)


def write_json(path: str | os.PathLike, values: Any, indent: int | None = 2) -> None:
    """Writes JSON for people to read, or on one line with `indent` None, atomically.

    Raises:
        InputError: if a number is not finite, or the file cannot be written.
    """
    try:
        text = json.dumps(values, indent=indent, allow_nan=False)
    except ValueError as error:
        raise _cannot("write", path, error) from error
    write_atomically(path, (text + "\n").encode())


def parse_json(text: str) -> Any:
    """Parses JSON as `write_json` writes it: all its numbers are finite.

    Raises:
        ValueError: if it is not JSON, or nested too deep.
    """
    try:
        return json.loads(text, parse_float=_finite, parse_constant=_finite)
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def read_json(path: str | os.PathLike) -> Any:
    """Reads a JSON file.

    Raises:
        InputError: if it is missing or is not JSON, see `parse_json`.
    """
    try:
        return parse_json(system.read(pathlib.Path(path)).decode("utf-8"))
    except (OSError, ValueError) as error:
        raise _cannot("read", path, error) from error


def read_json_object(path: str | os.PathLike) -> dict[str, Any]:
    """Reads a JSON file that holds an object.

    Raises:
        InputError: if it is missing, is not JSON or holds something else.
    """
    values = read_json(path)
    if not isinstance(values, dict):
        raise errors.InputError(f"cannot read {path}: it holds no JSON object")
    return values


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"it holds {text}, which is no number of JSON")
    return value


def _cannot(do: str, path: str | os.PathLike, error: Exception) -> errors.InputError:
    reason = getattr(error, "strerror", None) or error
    return errors.InputError(f"cannot {do} {path}: {reason}")
