"""Pages of docs/ that show a terminal: their commands run, and what they print is what is shown.

In a ```console block "$ " begins a command, which goes on below a line that ends in a backslash.
The lines after it are some of what it prints, in order; "..." stands for others, and "^C" for an
interrupt after the line above it.
"""

import os
import pathlib
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from typing import NamedTuple

REPOSITORY = pathlib.Path(__file__).parents[1]
INTERRUPT = "^C"
_DECISIONS = "new best|no improvement|next stage|stop"


class Step(NamedTuple):
    """A command and the lines that the page shows of its output."""

    command: str
    shown: tuple[str, ...]


def steps(page: str) -> Iterator[Step]:
    """The commands of a page, in order."""
    for block in re.findall(r"```console\n(.*?)```", page, re.DOTALL):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, *lines = re.sub(r"\\\n\s*", "", part).splitlines()
            yield Step(command, tuple(line for line in lines if line.strip() not in ("...", "")))


def environment(folder: pathlib.Path) -> dict[str, str]:
    """That of a terminal in which this Python and its TensorBoard are installed."""
    folder.mkdir()
    for name, module in (("python", ""), ("tensorboard", "-m tensorboard.main ")):
        script = folder / name
        script.write_text(f'#!/bin/sh\nexec "{sys.executable}" {module}"$@"\n')
        script.chmod(0o755)
    return {
        **os.environ,
        "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(REPOSITORY),
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }


def run(step: Step, folder: pathlib.Path, variables: Mapping[str, str]) -> list[str]:
    """Runs a command and returns the lines that it prints on both streams."""
    waits_for = None
    if INTERRUPT in step.shown:
        waits_for = masked(step.shown[step.shown.index(INTERRUPT) - 1])
    process = subprocess.Popen(
        ["bash", "-c", step.command],
        cwd=folder,
        env=variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    lines = []
    with process:
        for line in process.stdout:
            lines.append(line.rstrip("\n"))
            if waits_for is not None and masked(line) == waits_for:
                waits_for = None
                os.killpg(process.pid, signal.SIGINT)
    return lines


def missing(step: Step, lines: list[str]) -> str | None:
    """The first line that is shown but not printed after those above it; None if there is none."""
    printed = iter(map(masked, lines))
    for line in step.shown:
        if line != INTERRUPT and masked(line) not in printed:
            return line
    return None


def masked(line: str) -> str:
    """A line without what differs between computers: numbers, and what follows from them."""
    line = re.sub(rf": ({_DECISIONS})$", ": DECISION", line.strip())
    line = re.sub(r"[-+]?\d[\d.,:e]*(e[-+]\d+)?", "#", line)
    return re.sub(r"-{2,}", "--", " ".join(line.split()))
