"""The exported rule of a run: the best by validation, with a card."""

import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from l2o_tf import artifacts
from l2o_tf.core import errors, files
from l2o_tf.rules.base import UpdateRule, Weights
from l2o_tf.run import config, directory, metrics
from l2o_tf.training import curriculum, trainer

_CHOSEN = "lowest validation loss of its curriculum stage, the last that improved"
Facts = dict[str, Any]  # What a card says beside the flags: JSON values.


def card(training: Mapping[str, Any], facts: Mapping[str, Any]) -> dict[str, Any]:
    """What the card of an exported rule says besides the rule: `training` are the run's flags."""
    return {"training": training, **facts, "chosen_because": _CHOSEN}


def stage_folder(run: pathlib.Path, stage: int) -> pathlib.Path:
    """Where the best rule of a curriculum stage is exported to."""
    return run / "stages" / f"stage_{stage}"


class Exporter:
    """Writes rule.npz and rule.json, and the same for the stage."""

    def __init__(
        self, run: directory.RunDirectory, rule: UpdateRule, run_config: config.TrainConfig
    ):
        self._run, self._rule = run, rule
        self._training = run_config.identity()

    def add(self, event: trainer.Event) -> Facts | None:
        """Exports the rule of a validation that found it best; returns the facts of its card."""
        keep = curriculum.Decision.KEEP
        if not isinstance(event, trainer.ValidationDone) or event.decision is not keep:
            return None
        facts = _facts(event.progress.schedule.epoch, event.stage, event.num_steps, event.loss)
        self._write(event.progress.best, facts)
        return facts

    def renew(self, checkpoint: directory.Checkpoint) -> Facts | None:
        """Exports the best rule of a checkpoint again unless its files are there and whole.

        To be called when metrics.csv holds the events of the checkpoint and no more.

        Returns:
            The facts of its card; None if no rule has been the best yet.

        Raises:
            InputError: if it cannot be written.
        """
        facts = checkpoint.exported or self._recorded()
        if facts and not self._is_written(checkpoint.progress.best, facts):
            self._write(checkpoint.progress.best, facts)
        return facts

    def _recorded(self) -> Facts | None:
        """What metrics.csv knows, for checkpoints of older versions that do not say."""
        keep = curriculum.Decision.KEEP.value
        validations = metrics.read_validations(self._run.metrics)
        best = [row for row in validations if row["decision"] == keep]
        if not best:
            return None
        last = best[-1]
        return _facts(last["epoch"], last["stage"], last["num_steps"], last["loss"])

    def _write(self, weights: Weights, facts: Facts) -> None:
        for folder in self._folders(facts):
            artifacts.save_rule(folder, self._rule, weights, card(self._training, facts))

    def _is_written(self, weights: Weights, facts: Facts) -> bool:
        expected = {**card(self._training, facts), **artifacts.description(self._rule)}
        for folder in self._folders(facts):
            try:
                found = files.read_json(folder / artifacts.RULE_CARD)
                arrays = files.read_arrays(folder / artifacts.RULE_ARRAYS)
            except errors.InputError:
                return False
            if found != _as_read(expected) or arrays.keys() != weights.keys():
                return False
            if any(arrays[k].tobytes() != np.asarray(v).tobytes() for k, v in weights.items()):
                return False
        return True

    def _folders(self, facts: Facts):
        return self._run.path, stage_folder(self._run.path, facts["stage"])


def _facts(epoch: int, stage: int, num_steps: int, loss: float) -> Facts:
    return {
        "epoch": epoch,
        "stage": stage,
        "validation_steps": num_steps,
        "validation_loss": loss,
    }


def _as_read(value: Any) -> Any:
    """A JSON value as it is read again: tuples are lists."""
    if isinstance(value, dict):
        return {key: _as_read(item) for key, item in value.items()}
    return [_as_read(item) for item in value] if isinstance(value, list | tuple) else value
