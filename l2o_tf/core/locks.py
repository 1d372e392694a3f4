"""Locks between processes that survive crashes: the system releases a lock with its holder."""

import contextlib
import os
import pathlib
import socket
import time
from collections.abc import Iterator

from l2o_tf.core import errors, files

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
            not set (the message names the holder), or the file cannot be locked.
    """
    path = pathlib.Path(path)
    with contextlib.ExitStack() as opened:
        try:
            files.system.make_directory(path.parent)
            # Not truncated before it is locked: the holder's name is in it.
            descriptor = files.system.open_lock(path)
            opened.callback(_close, descriptor)
            ours = files.system.lock(descriptor, wait)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise errors.InputError(f"cannot lock {path}: {reason}") from error
        if ours is False:
            raise errors.InputError(
                f"{what} is in use by {_holder(descriptor) or 'another process'}: wait until that "
                "ends, or choose another directory"
            )
        since = time.strftime("%Y-%m-%d %H:%M:%S")
        _name(descriptor, f"process {os.getpid()} on {socket.gethostname()} since {since}\n")
        try:
            yield
        finally:
            _name(descriptor, "")


def _close(descriptor: int) -> None:
    """Ends the lock; what was done under it is done, also where this fails."""
    with contextlib.suppress(OSError):
        files.system.close(descriptor)


def _holder(descriptor: int) -> str:
    with contextlib.suppress(OSError):
        return files.system.start_of(descriptor, _MAX_HOLDER).decode(errors="replace").strip()
    return ""


def _name(descriptor: int, holder: str) -> None:
    """Writes who holds the lock; a full disk takes nothing but this name."""
    with contextlib.suppress(OSError):
        files.system.set_content(descriptor, holder.encode())
