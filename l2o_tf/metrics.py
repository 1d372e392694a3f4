"""metrics.csv: one line per event of training, without anything that depends on the clock."""

import csv
import pathlib

from l2o_tf import errors
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
