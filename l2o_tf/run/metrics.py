"""metrics.csv: one line per event of training, without anything that depends on the clock."""

import csv
import hashlib
import io
import pathlib
from collections.abc import Sequence
from typing import Any

from l2o_tf.core import errors, files
from l2o_tf.training import trainer

COLUMNS = (
    "event",
    "kind",
    "epoch",
    "stage",
    "num_steps",
    "loss",
    "last_loss",
    "gradient_norm",
    "skipped_meta_steps",
    "decision",
)
_OPTIMIZEE, _LOSS_ON = "optimizee", "loss_on_"  # Further columns where there are several.


class MetricsFile:
    """Appends events; the lines after the checkpoint that a run goes on from are cut off."""

    def __init__(
        self,
        path: pathlib.Path,
        num_events: int,
        digest: str | None = None,
        optimizees: Sequence[str] = (),
        validated: Sequence[str] = (),
    ):
        """Opens the file of a run that has had `num_events` events.

        Args:
            path: the file.
            num_events: the events so far.
            digest: what `digest` was after them; None if it was not recorded.
            optimizees: the names of those that are trained on.
            validated: the names of those that are validated on, if their losses are to be columns.

        Raises:
            InputError: if the lines of these events are not there.
        """
        self._optimizees = optimizees if len(optimizees) > 1 else ()
        self._validated = validated if len(validated) > 1 else ()
        named = [_OPTIMIZEE] if self._optimizees else []
        header = _line((*COLUMNS, *named, *(f"{_LOSS_ON}{name}" for name in self._validated)))
        kept = lines(path, num_events, digest) if num_events else header
        if kept.partition(b"\n")[0] + b"\n" != header:
            raise errors.InputError(
                f"{path} has other columns than {header.decode().strip()}: an older version began "
                "the run and validated it otherwise; train anew in another --workdir"
            )
        if not files.exists(path) or files.read_bytes(path) != kept:
            files.write_atomically(path, kept)
        self._hash = hashlib.sha256(kept)
        # Of all validation trajectories of these events together.
        self.validated_steps = _validated_steps(path, kept)
        self._file = files.GrowingFile(path)

    @property
    def digest(self) -> str:
        """Of all lines so far: what a checkpoint tells whole metrics from damaged ones with."""
        return self._hash.hexdigest()

    def add(self, event: trainer.Event) -> None:
        """Appends one event."""
        norm = decision = ""
        if isinstance(event, trainer.EpochDone):
            losses = event.main_losses
            loss = losses.mean()
            norm = f"{event.gradient_norms.mean():.9g}"
        else:
            losses, loss = event.losses, event.loss
            decision = "" if event.decision is None else event.decision.value
        progress = event.progress
        self._append(
            [
                progress.num_events,
                event.kind,
                progress.schedule.epoch,
                event.stage,
                event.num_steps,
                f"{loss:.9g}",
                f"{losses[..., -1].mean():.9g}",
                norm,
                int(progress.meta.skipped),
                decision,
                *self._named(event),
            ]
        )

    def sync(self) -> None:
        """Returns when the disk has all lines."""
        self._file.sync()

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def _named(self, event: trainer.Event) -> list[str]:
        """What only runs with several optimizees have."""
        if isinstance(event, trainer.EpochDone):
            names = [self._optimizees[event.optimizee]] if self._optimizees else []
            return names + [""] * len(self._validated)
        losses = [f"{loss:.9g}" for loss in event.by_optimizee] if self._validated else []
        return [""] * bool(self._optimizees) + losses

    def _append(self, row: list) -> None:
        content = _line(row)
        self._file.add(content)
        self._hash.update(content)


def lines(path: pathlib.Path, num_events: int, digest: str | None = None) -> bytes:
    """The header and the lines of the first events in a metrics.csv, checked.

    Raises:
        InputError: if they are missing, or are not those that `digest` was made of.
    """
    if not num_events:
        return _line(COLUMNS)
    if not files.exists(path):
        raise errors.InputError(f"{path} is missing: put it back to resume the run")
    found = files.read_bytes(path).splitlines(keepends=True)[: num_events + 1]
    if found and not (found[0].rstrip(b"\n") + b",").startswith(",".join((*COLUMNS, "")).encode()):
        raise errors.InputError(f"{path} has not the columns {','.join(COLUMNS)}")
    kept = b"".join(found)
    whole = len(found) == num_events + 1 and kept.endswith(b"\n")
    if not whole or (digest is not None and hashlib.sha256(kept).hexdigest() != digest):
        raise errors.InputError(
            f"{path} lacks some of the run's first {num_events} events or was changed: put a whole "
            "copy back to resume the run"
        )
    return kept


def read_validations(path: pathlib.Path) -> list[dict[str, Any]]:
    """The validation curve in a run's metrics.csv.

    Raises:
        InputError: if the file cannot be read.
    """
    content = files.read_bytes(path)
    try:
        return [
            {
                "epoch": int(row["epoch"]),
                "stage": int(row["stage"]),
                "num_steps": int(row["num_steps"]),
                "loss": float(row["loss"]),
                "decision": row["decision"],
            }
            for row in csv.DictReader(io.StringIO(content.decode(), newline=""), strict=True)
            if row["kind"] == "validation"
        ]
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        raise errors.InputError(f"cannot read the validations in {path}: {error}") from error


def _validated_steps(path: pathlib.Path, content: bytes) -> int:
    try:
        rows = csv.DictReader(io.StringIO(content.decode(), newline=""), strict=True)
        return sum(
            int(row["num_steps"]) for row in rows if row["kind"] in ("validation", "baseline")
        )
    except (TypeError, ValueError, csv.Error) as error:
        raise errors.InputError(f"cannot read the events in {path}: {error}") from error


def _line(row) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(row)
    return text.getvalue().encode()
