"""Pages of docs/ that show a terminal: their commands run, and what they print is what is shown.

Below a command are lines that it prints, in order. "..." stands for other lines, within a line for
what differs from time to time, and "^C" for an interrupt after the line above it.
"""

import os
import pathlib
import re
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence

from tests import snippets

INTERRUPT, ELISION = "^C", "..."
# What another computer's rounding may change: of a number, and in natural logarithms.
RELATIVE, ABSOLUTE = 0.1, 0.1
_INTEGER, _DECIMAL = r"\d+", r"\d+\.\d+(?:e[-+]?\d+)?|\d+e[-+]?\d+"
_PIECES = re.compile(rf"(?P<elision>\.\.\.)|(?P<decimal>{_DECIMAL})|(?P<gap>\s+|-{{2,}})")


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
        "PYTHONPATH": str(snippets.REPOSITORY),
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }


def run(step: snippets.Step, folder: pathlib.Path, variables: Mapping[str, str]) -> list[str]:
    """Runs a command and returns the lines that it prints on both streams."""
    waits_for = None
    if INTERRUPT in step.shown:
        waits_for = step.shown[step.shown.index(INTERRUPT) - 1]
    process = subprocess.Popen(
        ["bash", "-c", step.command],
        cwd=folder,
        env=variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        # Where the tests run in the background, it is ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    lines = []
    with process:
        for line in process.stdout or ():  # A pipe, as asked for.
            lines.append(line.rstrip("\n"))
            if waits_for is not None and agree(waits_for, line):
                waits_for = None
                os.killpg(process.pid, signal.SIGINT)
    return lines


def missing(shown: Sequence[str], printed: Sequence[str]) -> str | None:
    """The first line that is shown but not printed after those above it; None if there is none.

    Lines that follow each other where they are shown do so where they are printed.
    """
    position, anywhere = 0, True
    for line in shown:
        if line in (ELISION, INTERRUPT):
            anywhere = True
            continue
        candidates = range(position, len(printed) if anywhere else position + 1)
        found = [i for i in candidates if i < len(printed) and agree(line, printed[i])]
        if not found:
            return line
        position, anywhere = found[0] + 1, False
    return None


def agree(shown: str, printed: str) -> bool:
    """Whether a line is the one that is shown, but for elisions, rounding and columns' widths."""
    shown, printed = shown.strip(), printed.strip()
    pattern, numbers, end = "", [], 0
    for piece in _PIECES.finditer(shown):
        pattern += re.escape(shown[end : piece.start()])
        if piece["decimal"]:
            numbers.append(float(piece[0]))
            pattern += f"({_DECIMAL}|{_INTEGER})"
        else:
            pattern += ".*" if piece["elision"] else r"\s+" if piece[0].isspace() else "-{2,}"
        end = piece.end()
    match = re.fullmatch(pattern + re.escape(shown[end:]), printed)
    return match is not None and all(
        abs(number - float(found)) <= ABSOLUTE + RELATIVE * number
        for number, found in zip(numbers, match.groups(), strict=True)
    )
