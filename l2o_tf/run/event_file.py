"""TensorBoard event files, written through `core.files`: a full disk is one clear line.

The format is that of TFRecord files, see `tensorboard.summary.writer.record_writer`; every event
is one write, so that a killed process leaves at most one incomplete record, at the end.
"""

import os
import pathlib
import socket
import time

from tensorboard.compat.proto import event_pb2, summary_pb2
from tensorboard.summary.writer import record_writer

from l2o_tf.core import files


class EventFile:
    """A new file of events in a directory.

    Raises:
        InputError: by all methods, if the file cannot be written.
    """

    def __init__(self, directory: pathlib.Path):
        now = time.time()
        name = f"events.out.tfevents.{int(now):010d}.{socket.gethostname()}.{os.getpid()}.0.v2"
        self._file = files.GrowingFile(directory / name)
        self._records = record_writer.RecordWriter(self)
        self._add(event_pb2.Event(wall_time=now, file_version="brain.Event:2"))

    def add(self, step: int, summaries: list[summary_pb2.Summary]) -> None:
        """Writes all summaries of one step at once."""
        merged = summary_pb2.Summary()
        for summary in summaries:
            merged.MergeFrom(summary)
        self._add(event_pb2.Event(wall_time=time.time(), step=step, summary=merged))

    def write(self, record: bytes) -> None:
        """Appends a whole record; called by the record writer."""
        self._file.add(record)

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def _add(self, event: event_pb2.Event) -> None:
        self._records.write(event.SerializeToString())
