"""What a call of a bundle does and where its results go: never over those of another call."""

import contextlib
import errno
import os
import pathlib
import shlex
from collections.abc import Iterator

try:
    import fcntl
except ImportError:  # Windows: nothing is locked.
    fcntl = None

CHECKPOINT = "checkpoint.npz"
_RESULTS = (CHECKPOINT, "evaluation.npz", "results_*.zip")
_LOCK = ".lock"
# What the system says where it has no locks, such as some network file systems.
_LOCKLESS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL)


class InputError(Exception):
    """What is wrong with a flag or a folder, in one line; the exit code is 2."""


def chosen(lanes: str | None, count: int) -> list[int]:
    """The numbers that --lanes names; all `count` of them where it is not given.

    Raises:
        InputError: if they are no numbers, or there are no such lanes.
    """
    if lanes is None:
        return list(range(count))
    numbers = [int(part) if part.strip().isdecimal() else count for part in lanes.split(",")]
    if max(numbers) >= count:
        raise InputError(
            f"--lanes={lanes} must be numbers from 0 to {count - 1}, separated by commas"
        )
    return numbers


@contextlib.contextmanager
def reading(path: pathlib.Path, remedy: str = "start anew in another --out") -> Iterator[None]:
    """Turns whatever fails in reading a file, of results by default, into an InputError."""
    try:
        yield
    except Exception as error:  # Damage surfaces as any of a dozen types from zipfile and NumPy.
        raise InputError(f"cannot read {path}: {error}; {remedy}") from error


@contextlib.contextmanager
def held(directory: pathlib.Path, resumed: pathlib.Path | None = None) -> Iterator[None]:
    """Holds a folder for the results of this process while its body runs.

    The lock file stays afterwards: to remove it would let two processes lock two files of one name.

    Args:
        directory: where results go; created if needed.
        resumed: the folder that they go on from, which may be the same.

    Raises:
        InputError: if another process writes there, if there are results that are not gone on
            from, if there is nothing to go on from, or if the folder cannot be written.
    """
    if resumed is not None and not (resumed / CHECKPOINT).is_file():
        raise InputError(
            f"--resume={resumed} has no {CHECKPOINT} to go on from: start anew in another --out"
        )
    try:
        directory.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(directory / _LOCK, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise InputError(f"cannot write to --out={directory}: {error.strerror}") from error
    try:
        _lock(descriptor, directory)
        # Once it is locked: another process may have written here in the meantime.
        is_resumed = resumed is not None and resumed.resolve() == directory.resolve()
        if not is_resumed and any(any(directory.glob(pattern)) for pattern in _RESULTS):
            name = shlex.quote(str(directory))
            raise InputError(
                f"--out={name} holds the results of another call: go on from them with "
                f"--resume={name} --out={name}, or choose another --out"
            )
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, directory: pathlib.Path) -> None:
    """Locks an open file until it is closed or the process ends, however that ends."""
    if fcntl is None:
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise InputError(
            f"--out={directory} is in use by another process: wait until that ends, or choose "
            "another --out"
        ) from None
    except OSError as error:
        if error.errno not in _LOCKLESS:
            raise InputError(f"cannot lock --out={directory}: {error.strerror}") from error
