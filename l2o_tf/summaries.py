"""TensorBoard events of a meta-training."""

import json
import pathlib
import time

import numpy as np
import tensorflow as tf

from l2o_tf.training import trainer


class TensorBoardSummaries:
    """Writes every event of training; the step axis is the number of epochs."""

    def __init__(self, directory: pathlib.Path, config: dict, first_epoch: int):
        self._writer = tf.summary.create_file_writer(str(directory))
        self._last_time = time.monotonic()
        if first_epoch == 0:
            with self._writer.as_default(step=0):
                text = json.dumps(config, indent=2)
                tf.summary.text("config", f"```\n{text}\n```")

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
        tf.summary.scalar(f"train/{event.kind}", event.losses.mean())
        tf.summary.scalar(f"train/gradient_norm_{event.kind}", event.gradient_norms.mean())
        tf.summary.scalar("train/skipped_meta_steps", event.progress.meta.skipped)
        tf.summary.scalar("schedule/stage", event.stage)
        tf.summary.scalar("schedule/num_steps", event.num_steps)
        tf.summary.scalar("speed/steps_per_second", event.num_steps / (now - self._last_time))
        self._last_time = now

    def _add_validation(self, event: trainer.ValidationDone) -> None:
        tf.summary.scalar(f"validation/{event.kind}_loss_stage_{event.stage}", event.loss)
        for name, weights in event.progress.meta.weights.items():
            tf.summary.histogram(f"weights/{name}", weights)
        # The optimizee's loss over the steps of a trajectory, a curve per validation.
        curve = np.mean(event.losses, axis=0)
        steps = np.linspace(0, event.num_steps, len(curve), endpoint=False)
        name = f"validation_curves/epoch_{event.progress.schedule.epoch}_{event.kind}"
        for step, loss in zip(steps, curve):
            tf.summary.scalar(name, loss, step=int(step))
        self._last_time = time.monotonic()
