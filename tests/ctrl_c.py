"""Runs commands of the package as a person does who presses Ctrl-C."""

import os
import pathlib
import re
import signal
import subprocess
import sys

REPOSITORY = pathlib.Path(__file__).parents[1]


def press_at(pattern: str, module: str, *flags: str) -> tuple[int, str]:
    """Runs `python -m module` and interrupts it at each line on stderr with `pattern`.

    Returns:
        The exit code and all of stderr.
    """
    # A job in the background ignores Ctrl-C, and so would the command.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    command = [sys.executable, "-m", module, *flags]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as process:
        lines = []
        for line in process.stderr:
            lines.append(line)
            if re.search(pattern, line):
                process.send_signal(signal.SIGINT)
        return process.wait(), "".join(lines)
