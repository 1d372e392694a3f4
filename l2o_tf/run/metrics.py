"""metrics.csv: one line per event of training, without anything that depends on the clock."""

import csv
import pathlib
from typing import Any

from l2o_tf.core import errors
from l2o_tf.training import trainer

COLUMNS = (
    "event", "kind", "epoch", "stage", "num_steps", "loss", "last_loss", "gradient_norm",
    "skipped_meta_steps", "decision",
)  # fmt: skip


class MetricsFile:
    """Appends events; the lines after the checkpoint that a run goes on from are cut off."""

    def __init__(self, path: pathlib.Path, num_events: int):
        """Opens the file of a run that has had `num_events` events.

        Raises:
            InputError: if the lines of these events are not there.
        """
        if num_events and not path.exists():
            raise errors.InputError(f"{path} is missing: put it back to resume the run")
        kept = path.read_text().splitlines(keepends=True)[: num_events + 1] if num_events else []
        path.write_text("".join(kept))
        self._file = path.open("a", newline="")
        self._writer = csv.writer(self._file, lineterminator="\n")
        if not num_events:
            self._writer.writerow(COLUMNS)

    def add(self, event: trainer.Event) -> None:
        """Appends one event."""
        is_epoch = isinstance(event, trainer.EpochDone)
        losses = event.main_losses if is_epoch else event.losses
        loss = losses.mean() if is_epoch else event.loss
        progress = event.progress
        self._writer.writerow(
            [
                progress.num_events,
                event.kind,
                progress.schedule.epoch,
                event.stage,
                event.num_steps,
                f"{loss:.9g}",
                f"{losses[..., -1].mean():.9g}",
                f"{event.gradient_norms.mean():.9g}" if is_epoch else "",
                int(progress.meta.skipped),
                "" if is_epoch or event.decision is None else event.decision.value,
            ]
        )
        self._file.flush()


def read_validations(path: pathlib.Path) -> list[dict[str, Any]]:
    """The validation curve in a run's metrics.csv.

    Raises:
        InputError: if the file cannot be read.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return [
                {
                    "epoch": int(row["epoch"]),
                    "stage": int(row["stage"]),
                    "num_steps": int(row["num_steps"]),
                    "loss": float(row["loss"]),
                    "decision": row["decision"],
                }
                for row in csv.DictReader(file)
                if row["kind"] == "validation"
            ]
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise errors.InputError(f"cannot read the validations in {path}: {error}") from error
