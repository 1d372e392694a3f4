"""Locks between processes that survive crashes: the system releases a lock with its holder."""

import contextlib
import os
import pathlib
import socket
import time
from collections.abc import Iterator

from l2o_tf.core import errors

try:
    import fcntl
except ImportError:  # Windows: nothing is locked.
    fcntl = None  # type: ignore[assignment]  # A module of Unix may be missing.

_MAX_HOLDER = 200  # Characters of a lock file that are shown.


@contextlib.contextmanager
def exclusive(path: str | os.PathLike, what: str, wait: bool = False) -> Iterator[None]:
    """Holds a lock on a file while its body runs.

    The file stays afterwards, empty: to remove it would let two processes lock two files of one
    name. On file systems without locks, such as some network ones, nothing is locked.

    Args:
        path: the lock file; it and its directory are created if needed.
        what: what the lock protects, as the message names it, such as "the run directory X".
        wait: whether to wait for another holder, for locks that are held for a moment only.

    Raises:
        InputError: if another process (or another holder in this one) has the lock and `wait` is
            not set, or the file cannot be written; the message names the holder.
    """
    path = pathlib.Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Not truncated before it is locked: the holder's name is in it.
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise errors.InputError(f"cannot write {path}: {reason}") from error
    try:
        if not _lock(descriptor, wait):
            holder = os.pread(descriptor, _MAX_HOLDER, 0).decode(errors="replace").strip()
            raise errors.InputError(
                f"{what} is in use by {holder or 'another process'}: wait until that ends, or "
                "choose another directory"
            )
        since = time.strftime("%Y-%m-%d %H:%M:%S")
        _name(descriptor, f"process {os.getpid()} on {socket.gethostname()} since {since}\n")
        try:
            yield
        finally:
            _name(descriptor, "")
    finally:
        os.close(descriptor)


def _lock(descriptor: int, wait: bool) -> bool:
    """Whether the lock is ours now, or the file system has no locks."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True


def _name(descriptor: int, holder: str) -> None:
    """Writes who holds the lock; a full disk takes nothing but this name."""
    with contextlib.suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, holder.encode(), 0)
