"""Tests of locks between processes."""

import os
import re
import subprocess
import sys

import pytest

from l2o_tf.core import errors, locks

_HOLD = """
import sys, time
from l2o_tf.core import locks
with locks.exclusive(sys.argv[1], "it"):
    print(flush=True)
    time.sleep(60)
"""
_COUNT = """
import pathlib, sys
from l2o_tf.core import locks
count = pathlib.Path(sys.argv[1])
for _ in range(100):
    with locks.exclusive(sys.argv[1] + ".lock", "the counter", wait=True):
        count.write_text(str(int(count.read_text()) + 1))
"""


def _python(code, path):
    arguments = [sys.executable, "-c", code, str(path)]
    return subprocess.Popen(
        arguments, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": "."}
    )


@pytest.fixture
def holder(tmp_path):
    """Another process that holds tmp_path/lock until it is killed."""
    with _python(_HOLD, tmp_path / "lock") as process:
        process.stdout.readline()
        yield process
        process.kill()


def test_holder_is_named_in_one_line(tmp_path, holder):
    with pytest.raises(errors.InputError) as caught, locks.exclusive(tmp_path / "lock", "the run"):
        pass
    assert re.fullmatch(
        rf"the run is in use by process {holder.pid} on \S+ since \d{{4}}-\d\d-\d\d [\d:]{{8}}: .*",
        str(caught.value),
    )


def test_kill_of_the_holder_releases_the_lock(tmp_path, holder):
    holder.kill()
    holder.wait()
    with locks.exclusive(tmp_path / "lock", "it"):
        assert f"process {os.getpid()} " in (tmp_path / "lock").read_text()
    assert (tmp_path / "lock").read_text() == ""


def test_two_holders_in_one_process_exclude_each_other(tmp_path):
    lock = tmp_path / "new" / "lock"
    mine = pytest.raises(errors.InputError, match=f"process {os.getpid()} ")
    with locks.exclusive(lock, "it"), mine, locks.exclusive(lock, "it"):
        pass
    with locks.exclusive(lock, "it"):
        pass


def test_waiting_loses_no_update(tmp_path):
    count = tmp_path / "count"
    count.write_text("0")
    for process in [_python(_COUNT, count) for _ in range(3)]:
        with process:
            assert process.wait() == 0
    assert count.read_text() == "300"


@pytest.mark.parametrize("name", ["a" * 300, "a\0b"])
def test_names_that_the_system_refuses(tmp_path, name):
    refused = pytest.raises(errors.InputError, match="cannot lock")
    with refused, locks.exclusive(tmp_path / name, "it"):
        pass
