"""The operations of the operating system on files, in one class, so that tests can replace it."""

import errno
import os
import pathlib

try:
    import fcntl
except ImportError:  # Windows: nothing is locked.
    fcntl = None  # type: ignore[assignment]  # A module of Unix may be missing.

# What the system says where it has no locks, such as some network file systems.
_LOCKLESS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL)


class System:
    """What commands do to files of their own; each operation raises OSError."""

    def make_directory(self, path: pathlib.Path) -> None:
        """Creates a directory and those above it where they do not exist."""
        path.mkdir(parents=True, exist_ok=True)

    def create(self, path: pathlib.Path) -> int:
        """Opens a new file for writing; its mode follows from the umask."""
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)

    def open_end(self, path: pathlib.Path) -> int:
        """Opens a file, a new one if there is none, for writing at its end."""
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)

    def open_existing(self, path: pathlib.Path) -> int:
        """Opens a file that is there, to be locked, for which NFS wants one that may be written."""
        return os.open(path, os.O_RDWR)

    def open_lock(self, path: pathlib.Path) -> int:
        """Opens a file, a new one if there is none, to be locked; what is in it stays."""
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o666)

    def lock(self, descriptor: int, wait: bool = False) -> bool | None:
        """Locks an open file until it is closed or the process ends, however that ends.

        Args:
            descriptor: the file.
            wait: whether to wait for another holder.

        Returns:
            Whether the lock is ours now; None where there are no locks.
        """
        if fcntl is None:
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno in _LOCKLESS:
                return None
            raise
        return True

    def start_of(self, descriptor: int, size: int) -> bytes:
        """The first bytes of an open file, at most `size`."""
        return os.pread(descriptor, size, 0)

    def set_content(self, descriptor: int, content: bytes) -> None:
        """Replaces what is in an open file, in place."""
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, content, 0)

    def write(self, descriptor: int, content: bytes) -> None:
        """Writes all of `content`."""
        rest = memoryview(content)
        while rest:
            rest = rest[os.write(descriptor, rest) :]

    def sync(self, descriptor: int) -> None:
        """Returns when the disk has what was written."""
        os.fsync(descriptor)

    def close(self, descriptor: int) -> None:
        """Closes a file."""
        os.close(descriptor)

    def replace(self, source: pathlib.Path, target: pathlib.Path) -> None:
        """Renames a file, in place of another one if there is one."""
        os.replace(source, target)

    def remove(self, path: pathlib.Path) -> None:
        """Deletes a file if it is there."""
        path.unlink(missing_ok=True)

    def read(self, path: pathlib.Path) -> bytes:
        """The content of a file."""
        return path.read_bytes()
