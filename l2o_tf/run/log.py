"""run.log: what a person was told of a run, and when."""

import datetime
import pathlib

from l2o_tf.core import files


class RunLog:
    """Appends lines with the time to a file.

    Raises:
        InputError: by all methods, if the file cannot be written.
    """

    def __init__(self, path: pathlib.Path):
        self._file = files.GrowingFile(path)

    def add(self, text: str) -> None:
        """Appends a text, the time before its first line."""
        now = datetime.datetime.now().isoformat(" ", "seconds")
        self._file.add(f"{now} {text.strip()}\n".encode())

    def close(self) -> None:
        """Closes the file."""
        self._file.close()
