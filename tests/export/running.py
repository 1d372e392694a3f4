"""Runs what a bundle holds, in a process of its own, which imports no TensorFlow."""

import os
import pathlib
import subprocess
import sys

_WITHOUT_TENSORFLOW = """\
import runpy, sys
sys.modules["tensorflow"] = None
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def run_bundle(directory: pathlib.Path, *flags: str) -> str:
    """Runs `run_bundle.py` on the CPU; returns what it said."""
    result = _run(directory, *flags)
    assert result.returncode == 0, result.stderr
    return result.stdout


def refusal(directory: pathlib.Path, *flags: str) -> str:
    """Runs `run_bundle.py` on what it refuses; returns the line that says why."""
    result = _run(directory, *flags)
    assert result.returncode == 2, result.stderr
    (line,) = [x for x in result.stderr.splitlines() if x.startswith("error: ")]
    assert "Traceback" not in result.stderr
    return line


def _run(directory: pathlib.Path, *flags: str) -> subprocess.CompletedProcess[str]:
    script = [sys.executable, "-c", _WITHOUT_TENSORFLOW, str(directory / "run_bundle.py"), *flags]
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    return subprocess.run(script, capture_output=True, text=True, env=environment)
