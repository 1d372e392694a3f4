"""TensorBoard events of a meta-training."""

import json
import math
import os
import pathlib
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from tensorboard.compat.proto import summary_pb2
from tensorboard.plugins.histogram import summary_v2 as histograms
from tensorboard.plugins.hparams import api as hparams
from tensorboard.plugins.hparams import plugin_data_pb2
from tensorboard.plugins.scalar import summary_v2 as scalars
from tensorboard.plugins.text import summary_v2 as texts

from l2o_tf.run.event_file import EventFile
from l2o_tf.training import trainer

_SMALLEST_UPDATE = 1e-12  # What an update of 0 counts as, so that its logarithm exists.
_METRICS = ("validation/best_loss", "validation/loss")  # The columns in which runs compare.
# TensorBoard ticks the first five flags of its list: by name those that it is told to differ, which
# only it could know, then the others.
_TICKED = ("curriculum", "imitation_r", "optimizee", "rule", "seed")


class TensorBoardSummaries:
    """Writes every event of training; the step axis is the number of epochs.

    Groups of tags are shown in the order of their names: train, which has the losses alone, and
    validation come first, then what one looks at when these are not as they should be.
    """

    def __init__(
        self,
        directory: pathlib.Path,
        config: dict,
        first_epoch: int,
        validated_steps: int = 0,
        optimizees: Sequence[str] = (),
        validated: Sequence[str] = (),
    ):
        """Opens the events of a run.

        Args:
            directory: the run's directory.
            config: its flags, JSON values; they are the run's row in the table of HParams.
            first_epoch: the epochs that it has had so far.
            validated_steps: the steps of all its validation trajectories so far.
            optimizees: the names of those that are trained on.
            validated: the names of those that are validated on, if there are several to be named.
        """
        self._file = EventFile(directory)
        self._last_time = time.monotonic()
        self._validated_steps = validated_steps
        self._optimizees = optimizees if len(optimizees) > 1 else ()
        self._validated = validated
        if first_epoch == 0:
            text = json.dumps(config, indent=2)
            self._file.add(
                0,
                [texts.text_pb("config", f"```\n{text}\n```"), *_table_of_runs(directory, config)],
            )

    def add(self, event: trainer.Event) -> None:
        """Writes one event."""
        if isinstance(event, trainer.EpochDone):
            found = self._epoch(event)
        else:
            found = self._validation(event)
            self._add_curve(event)
        self._file.add(event.progress.schedule.epoch, found)

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def _epoch(self, event: trainer.EpochDone) -> list[summary_pb2.Summary]:
        now = time.monotonic()
        values = {}
        for kind, unrolls in event.by_loss().items():
            values[f"train/{kind}"] = event.losses[unrolls].mean()
            if self._optimizees:
                name = self._optimizees[event.optimizee]
                values[f"train/{kind}_on_{name}"] = values[f"train/{kind}"]
            values[f"watch/gradient_norm_{kind}"] = event.gradient_norms[unrolls].mean()
        values["watch/skipped_meta_steps"] = int(event.progress.meta.skipped)
        values["watch/stage"] = event.stage
        values["watch/num_steps"] = event.num_steps
        values["watch/analytical_share"] = event.analytical_share
        values["watch/steps_per_second"] = event.num_steps / (now - self._last_time)
        self._last_time = now
        return [scalars.scalar_pb(name, value) for name, value in values.items()]

    def _validation(self, event: trainer.ValidationDone) -> list[summary_pb2.Summary]:
        # One curve for a stage, which begins with the baseline: cards of a single point would come
        # before the losses of all stages.
        found = [scalars.scalar_pb(f"validation/loss_stage_{event.stage}", event.loss)]
        for tag, loss in zip(_METRICS, (event.progress.schedule.best_loss, event.loss)):
            if math.isfinite(loss):  # A stage that has just begun has no best loss.
                found.append(scalars.scalar_pb(tag, loss))
        for name, loss in zip(self._validated, event.by_optimizee):
            found.append(scalars.scalar_pb(f"validation/loss_on_{name}", loss))
        sizes = np.log10(np.maximum(event.update_sizes, _SMALLEST_UPDATE))
        found.append(histograms.histogram_pb("weights/log10_of_update_size", sizes))
        for name, weights in event.progress.meta.weights.items():
            found.append(histograms.histogram_pb(f"weights/{name}", np.asarray(weights)))
        self._last_time = time.monotonic()
        return found

    def _add_curve(self, event: trainer.ValidationDone) -> None:
        """The optimizee's loss over the steps of a validation, one validation after the other."""
        curve = np.mean(event.losses, axis=0)
        length = event.num_steps / len(curve)
        for k, loss in enumerate(curve):
            step = self._validated_steps + int(k * length)
            self._file.add(step, [scalars.scalar_pb("validation/curve", loss)])
        self._validated_steps += event.num_steps


def _table_of_runs(directory: pathlib.Path, config: dict) -> list[summary_pb2.Summary]:
    """What the table of HParams has of a run: a row with its flags, and what the columns are."""
    columns = hparams.hparams_config_pb(
        [hparams.HParam(name) for name in sorted(config)],
        [hparams.Metric(tag) for tag in _METRICS],
    )
    plugin = columns.value[0].metadata.plugin_data
    content = plugin_data_pb2.HParamsPluginData.FromString(plugin.content)
    for info in content.experiment.hparam_infos:
        info.differs = info.name in _TICKED
    plugin.content = content.SerializeToString()
    row = hparams.hparams_pb(
        {name: _to_scalar(value) for name, value in config.items()}
        | {"seed": str(config["seed"])},  # A name, of which a table needs no decimals.
        trial_id=_trial(directory),
    )
    return [columns, row]


def _trial(directory: pathlib.Path) -> str:
    """The name of a run's row: its last two names, of which a narrow column shows some, and where.

    Runs in different directories often have the same last names, and rows of one name are one.
    """
    path = pathlib.Path(os.path.abspath(directory))
    return f"{path.parent.name}/{path.name} in {path.parent.parent}"


def _to_scalar(value: Any) -> bool | int | float | str:
    """A flag's value as HParams take it."""
    if value is None:
        return ""
    return ",".join(map(str, value)) if isinstance(value, list) else value
