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
_RESULTS = ("evaluation.npz", "results_*.zip")
_LOCK = ".lock"
_UNFINISHED = b"no checkpoint yet\n"  # In the lock file, of a call that has just begun.
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
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
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"cannot read {path}: {reason}; {remedy}") from error


def unwritable(path: pathlib.Path, error: OSError) -> InputError:
    """What to say where a file of results cannot be written: how to go on without them."""
    mend = "make room" if error.errno in _NO_ROOM else "make it writable"
    has_checkpoint = (path.parent / CHECKPOINT).is_file()
    go_on = f"go on with {_resuming(path.parent)}" if has_checkpoint else "start again"
    return InputError(f"cannot write {path}: {error.strerror}; {mend} and {go_on}")


def _resuming(directory: pathlib.Path) -> str:
    """The flags that go on from the results of a folder, in it."""
    name = shlex.quote(str(directory))
    return f"--resume={name} --out={name}"


@contextlib.contextmanager
def held(directory: pathlib.Path, resumed: pathlib.Path | None = None) -> Iterator[None]:
    """Holds a folder for the results of this process while its body runs.

    Results of a call that was killed before its first checkpoint are removed, as nothing can go on
    from them; others without a checkpoint, such as copied ones, stay.

    Args:
        directory: where results go; created if needed.
        resumed: the folder that they go on from, which may be the same.

    Raises:
        InputError: if another process writes there, if there are results that are not gone on
            from, if there is nothing to go on from, or if the folder cannot be written.
    """
    if resumed is not None and not (resumed / CHECKPOINT).is_file():
        raise InputError(
            f"--resume={resumed} has no {CHECKPOINT} to go on from: start anew without --resume"
        )
    with _locked(directory) as lock:
        # Once it is locked: another process may have written here in the meantime.
        if resumed is None or resumed.resolve() != directory.resolve():
            _begin(directory, lock)
        try:
            yield
        finally:
            # Beside a checkpoint the mark says nothing, without results it would be of later ones.
            if (directory / CHECKPOINT).is_file() or not _results_in(directory):
                with contextlib.suppress(OSError):
                    os.ftruncate(lock, 0)


def _begin(directory: pathlib.Path, lock: int) -> None:
    """Takes a folder for the results of a call that does not go on from what is in it."""
    name = shlex.quote(str(directory))
    if (directory / CHECKPOINT).exists():
        raise InputError(
            f"--out={name} holds the results of another call: go on from them with "
            f"{_resuming(directory)}, or choose another --out"
        )
    found = _results_in(directory)
    if found and not os.fstat(lock).st_size:
        raise InputError(
            f"--out={name} holds {found[0].name} and no {CHECKPOINT} to go on from: choose another "
            "--out"
        )
    with _writing(directory):
        for path in found:
            path.unlink()
        os.write(lock, _UNFINISHED)


def _results_in(directory: pathlib.Path) -> list[pathlib.Path]:
    return [path for pattern in _RESULTS for path in directory.glob(pattern)]


@contextlib.contextmanager
def _writing(directory: pathlib.Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(f"cannot write to --out={directory}: {error.strerror}") from error


@contextlib.contextmanager
def _locked(directory: pathlib.Path) -> Iterator[int]:
    """Yields the lock file of a folder, which is created if needed, as it is locked.

    It stays afterwards: to remove it would let two processes lock two files of one name.
    """
    with _writing(directory):
        directory.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(directory / _LOCK, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        _lock(descriptor, directory)
        yield descriptor
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
