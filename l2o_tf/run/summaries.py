"""TensorBoard events of a meta-training."""

import json
import math
import pathlib
import time

import numpy as np
import tensorflow as tf
from tensorboard.plugins.hparams import api as hparams

from l2o_tf.training import trainer

_SMALLEST_UPDATE = 1e-12  # What an update of 0 counts as, so that its logarithm exists.
_METRICS = ("validation/loss", "validation/best_loss")  # The columns in which runs compare.


class TensorBoardSummaries:
    """Writes every event of training; the step axis is the number of epochs."""

    def __init__(self, directory: pathlib.Path, config: dict, first_epoch: int):
        """Opens the events of a run.

        Args:
            directory: the run's directory.
            config: its flags, JSON values; they are the run's row in the table of HParams.
            first_epoch: the epochs that it has had so far.
        """
        self._writer = tf.summary.create_file_writer(str(directory))
        self._last_time = time.monotonic()
        if first_epoch == 0:
            with self._writer.as_default(step=0):
                text = json.dumps(config, indent=2)
                tf.summary.text("config", f"```\n{text}\n```")
                # Without the names of the flags the table of HParams stays empty.
                hparams.hparams_config(
                    [hparams.HParam(name) for name in config],
                    [hparams.Metric(tag) for tag in _METRICS],
                )
                flags = {name: _to_scalar(value) for name, value in config.items()}
                hparams.hparams(flags, trial_id=directory.name)

    def add(self, event: trainer.Event) -> None:
        """Writes one event."""
        state = event.progress.schedule
        with self._writer.as_default(step=state.epoch):
            if isinstance(event, trainer.EpochDone):
                self._add_epoch(event)
            else:
                self._add_validation(event)

    def close(self) -> None:
        """Flushes what is left."""
        self._writer.close()

    def _add_epoch(self, event: trainer.EpochDone) -> None:
        now = time.monotonic()
        for kind, unrolls in event.by_loss().items():
            tf.summary.scalar(f"train/{kind}", event.losses[unrolls].mean())
            norm = event.gradient_norms[unrolls].mean()
            tf.summary.scalar(f"train/gradient_norm_{kind}", norm)
        tf.summary.scalar("train/skipped_meta_steps", event.progress.meta.skipped)
        tf.summary.scalar("schedule/stage", event.stage)
        tf.summary.scalar("schedule/num_steps", event.num_steps)
        tf.summary.scalar("schedule/analytical_share", event.analytical_share)
        tf.summary.scalar("speed/steps_per_second", event.num_steps / (now - self._last_time))
        self._last_time = now

    def _add_validation(self, event: trainer.ValidationDone) -> None:
        tf.summary.scalar(f"validation/{event.kind}_loss_stage_{event.stage}", event.loss)
        for tag, loss in zip(_METRICS, (event.loss, event.progress.schedule.best_loss)):
            if math.isfinite(loss):  # A stage that has just begun has no best loss.
                tf.summary.scalar(tag, loss)
        sizes = np.log10(np.maximum(event.update_sizes, _SMALLEST_UPDATE))
        tf.summary.histogram("updates/log10_of_size", sizes)
        for name, weights in event.progress.meta.weights.items():
            tf.summary.histogram(f"weights/{name}", weights)
        # The optimizee's loss over the steps of a trajectory, a curve per validation.
        curve = np.mean(event.losses, axis=0)
        steps = np.linspace(0, event.num_steps, len(curve), endpoint=False)
        name = f"validation_curves/epoch_{event.progress.schedule.epoch:06d}_{event.kind}"
        for step, loss in zip(steps, curve):
            tf.summary.scalar(name, loss, step=int(step))
        self._last_time = time.monotonic()


def _to_scalar(value) -> bool | int | float | str:
    """A flag's value as HParams take it."""
    if value is None:
        return ""
    return ",".join(map(str, value)) if isinstance(value, list) else value
