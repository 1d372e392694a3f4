"""Faults of the file system, injected at any operation of a command, and what must follow.

`files.system` is what all commands write and read through. Here it counts its operations and lets
one of them fail: the process dies before, within or after it, Ctrl-C arrives, the disk is full or
broken. The command then runs again, as a person would run it, without faults: its files must be
the same, byte by byte, as those of a run without any.
"""

import collections
import contextlib
import errno
import os
import pathlib
import random
from collections.abc import Callable, Iterable
from typing import NamedTuple

from l2o_tf.core import errors, file_system, files


class Crash(BaseException):
    """The process is gone: nothing that it still tries has an effect."""


class Fault(NamedTuple):
    """What happens at the operation number `operation`, counted from 0."""

    operation: int
    kind: str


# "within" is a write of which half arrives; "from now on" a disk that stays full.
KINDS = (
    "crash before",
    "crash within",
    "crash after",
    "interrupt before",
    "interrupt after",
    "disk full",
    "disk full within",
    "disk full from now on",
    "broken disk",
)
# The part of all faults that the slow tests try: CI, which has no time for all, sets it to less.
SHARE = float(os.environ.get("FAULT_SHARE", "1"))
_WRITING = (
    "make_directory",
    "create",
    "open_end",
    "open_lock",
    "write",
    "set_content",
    "sync",
    "replace",
)
_OPENING = ("create", "open_end", "open_lock", "open_existing")
_OF_DESCRIPTORS = ("lock", "start_of", "write", "set_content", "sync", "close")


class FaultySystem(file_system.System):
    """A file system with faults that only writes below one directory."""

    def __init__(self, root: pathlib.Path, faults: Iterable[Fault] = ()):
        self._root = root
        self._faults = dict(faults)
        self._full, self._dead = False, False
        self._open: set[int] = set()
        self.operations: list[str] = []
        self.injected: list[str] = []

    def make_directory(self, path):
        self._do("make_directory", path)

    def create(self, path):
        return self._do("create", path)

    def open_end(self, path):
        return self._do("open_end", path)

    def open_lock(self, path):
        return self._do("open_lock", path)

    def open_existing(self, path):
        return self._do("open_existing", path)

    def lock(self, descriptor, wait=False):
        return self._do("lock", descriptor, wait)

    def start_of(self, descriptor, size):
        return self._do("start_of", descriptor, size)

    def set_content(self, descriptor, content):
        self._do("set_content", descriptor, content)

    def write(self, descriptor, content):
        self._do("write", descriptor, content)

    def sync(self, descriptor):
        self._do("sync", descriptor)

    def close(self, descriptor):
        self._do("close", descriptor)

    def replace(self, source, target):
        self._do("replace", source, target)

    def remove(self, path):
        self._do("remove", path)

    def read(self, path):
        return self._do("read", path)

    def _do(self, name, *args):
        if self._dead:
            raise Crash
        kind = self._faults.get(len(self.operations), "")
        self.operations.append(name)
        self._check(name, args)
        kind = self._fitting(kind, name)
        if kind:
            self.injected.append(f"{kind} {name}")
        if kind == "crash before":
            self._die()
        if kind == "interrupt before":
            raise KeyboardInterrupt
        if kind == "disk full from now on":
            self._full = True
        if kind == "disk full" or (self._full and name in _WRITING):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if kind == "broken disk":
            if name == "close":  # Linux closes a file also where this fails.
                super().close(*args)
                self._open.discard(args[0])
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        if kind.endswith(" within"):
            super().write(args[0], args[1][: len(args[1]) // 2])
            if kind == "crash within":
                self._die()
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        result = None if name == "sync" else getattr(super(), name)(*args)  # Slow, and no help.
        if name in _OPENING:
            self._open.add(result)
        elif name == "close":
            self._open.discard(args[0])
        if kind == "crash after":
            self._die()
        if kind == "interrupt after":
            raise KeyboardInterrupt
        return result

    def _fitting(self, kind: str, name: str) -> str:
        """What of a fault an operation can suffer."""
        if kind.endswith(" within") and name != "write":
            kind = kind.replace("within", "before").replace("full before", "full")
        if kind.startswith("disk full") and name not in _WRITING:
            return "broken disk"
        return kind

    def _check(self, name, args) -> None:
        if name == "read" or name in _OF_DESCRIPTORS:
            return
        for path in args:
            outside = not pathlib.Path(os.path.abspath(path)).is_relative_to(self._root)
            assert not outside, f"{name} of {path}, which is not below {self._root}"

    def end(self):
        """Closes what is open, as the end of a process does."""
        for descriptor in self._open:
            with contextlib.suppress(OSError):
                os.close(descriptor)
        self._open.clear()

    def _die(self):
        self._dead = True
        self.end()
        raise Crash


class Tally:
    """How many faults there were, and what came of the commands that had them."""

    def __init__(self):
        self.outcomes = collections.Counter()
        self.by_kind = collections.Counter()

    def add(self, outcome: str, injected: Iterable[str]) -> None:
        """Counts a command that ended with `outcome`."""
        self.outcomes[outcome] += 1
        self.by_kind.update(injected)

    @property
    def faults(self) -> int:
        """The number of faults that happened."""
        return sum(self.by_kind.values())

    def report(self, command: str) -> str:
        """One line."""
        ends = ", ".join(f"{count} {name}" for name, count in sorted(self.outcomes.items()))
        return f"{command}: {self.faults} faults injected, all survived; the commands ended: {ends}"


class Harness:
    """A command under faults.

    Args:
        command: runs in a directory of its own, as the command line would; raises as it does.
        final_files: what must be the same in the end: the content of files by name.
        root: where to make directories.
        patch: sets `files.system`.
    """

    def __init__(
        self,
        command: Callable[[pathlib.Path], None],
        final_files: Callable[[pathlib.Path], dict[str, bytes]],
        root: pathlib.Path,
        patch: Callable[[file_system.System], None],
    ):
        self._command, self._final_files, self._patch = command, final_files, patch
        self._root, self._number = root, 0
        self.tally = Tally()
        directory = self._directory()
        system = FaultySystem(directory)
        patch(system)
        command(directory)
        self.operations = len(system.operations)
        self.expected = final_files(directory)
        assert self.expected

    def every_fault(self, share: float = 1.0) -> list[Fault]:
        """Every kind of fault at every operation of an undisturbed command, or a share of them."""
        every = [Fault(i, kind) for i in range(self.operations) for kind in KINDS]
        return random.Random(1).sample(every, round(share * len(every)))

    def survives(self, *faults: Fault) -> None:
        """Runs the command with the first fault, again with the second, ..., then without."""
        directory = self._directory()
        for fault in faults:
            system = FaultySystem(directory, [fault])
            outcome = self._run(directory, system)
            self.tally.add(outcome, system.injected)
            if outcome == "done":
                self._compare(directory, faults)
        outcome = self._run(directory, FaultySystem(directory))
        assert outcome == "done", f"after {faults} the command cannot go on: {outcome}"
        self._compare(directory, faults)
        left = [path for path in directory.rglob("*") if files.is_temporary(path)]
        assert not left, f"{faults} left {left}"

    def sample(self, count: int, seed: int) -> list[Fault]:
        """Some of `every_fault`."""
        return random.Random(seed).sample(self.every_fault(), count)

    def _compare(self, directory: pathlib.Path, faults) -> None:
        """Names what differs; pytest would take minutes to show how."""
        found, expected = self._final_files(directory), self.expected
        different = sorted(n for n in {*found, *expected} if found.get(n) != expected.get(n))
        assert not different, f"{faults} changed {different} in {directory}"

    def _directory(self) -> pathlib.Path:
        self._number += 1
        directory = self._root / str(self._number)
        directory.mkdir()
        return directory

    def _run(self, directory: pathlib.Path, system: FaultySystem) -> str:
        """How the command ended; any other exception would be a traceback."""
        self._patch(system)
        try:
            self._command(directory)
        except Crash:
            return "killed"
        except (errors.Interrupted, KeyboardInterrupt):
            return "interrupted"
        except errors.InputError as error:
            assert "\n" not in str(error), error
            return "with one line of error"
        finally:
            system.end()
        return "done"
