"""The directory of a meta-training run.

config.json          the flags, and the threads that the run was begun with
checkpoints/         epoch_*.npz, the last three; each holds all of `trainer.Progress`
metrics.csv          one line per epoch and validation, the same bits for the same flags
stages/stage_*/      the best rule of each curriculum stage
snapshots/           epoch_*.npz, the weights that were validated
initial/             the rule that training started from, if it was given one
rule.npz, rule.json  the best rule so far, the export
events.out.*         TensorBoard
run.log              what a person was told, and when
.lock                held while a process trains here
"""

import contextlib
import dataclasses
import datetime
import json
import os
import pathlib
import re
import shlex
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from l2o_tf import artifacts
from l2o_tf.core import errors, files, locks, plugins
from l2o_tf.optimizees.base import OPTIMIZEES
from l2o_tf.rules.base import RULES
from l2o_tf.run import config, metrics, snapshots
from l2o_tf.training import curriculum, trainer

KEPT_CHECKPOINTS = 3
_CHECKPOINT = re.compile(r"epoch_(\d+)_(\d+)\.npz")
_LOCK = ".lock"
_THREADS, _REPLICAS = "threads", "replicas"  # In config.json, but no flags.


class Checkpoint(NamedTuple):
    """All that a run goes on from.

    Attributes:
        progress: where training stands.
        digest: of the lines of metrics.csv up to there, see `metrics.MetricsFile`.
        exported: the card of the exported rule; None before the first export.
        pace: seconds per optimizee step, by kind of event, see `remaining.Pace`.
    """

    progress: trainer.Progress
    digest: str | None = None
    exported: dict[str, Any] | None = None
    pace: dict[str, float] = {}


@contextlib.contextmanager
def with_workdir(
    run_config: config.TrainConfig, tell: Callable[[str], None]
) -> Iterator[config.TrainConfig]:
    """The flags with a workdir: runs/RULE-DATE-TIME where they have none, which `tell` is given.

    That directory is created, so that two runs of the same second have different ones, and removed
    if nothing comes of it.
    """
    if run_config.workdir:
        yield run_config
        return
    path = _claim(run_config.rule)
    tell(f"--workdir={shlex.quote(path)}")
    try:
        yield dataclasses.replace(run_config, workdir=path)
    finally:
        with contextlib.suppress(OSError):  # It is not empty.
            os.removedirs(path)  # And "runs", if there was none before.


def _claim(rule: str) -> str:
    name = re.sub(r"[^\w.-]", "_", rule)
    base = pathlib.Path("runs") / f"{name}-{datetime.datetime.now():%Y%m%d-%H%M%S}"
    path, number = base, 1
    while True:
        try:
            path.mkdir(parents=True)
            return str(path)
        except FileExistsError:
            number += 1
            path = base.with_name(f"{base.name}-{number}")
        except OSError as error:
            raise errors.InputError(
                f"cannot create {path}: {errors.reason(error)}; choose a --workdir"
            ) from None


class RunDirectory:
    """Creates, checks and resumes a run's directory."""

    def __init__(self, path: str):
        self.path = pathlib.Path(path)

    def with_initial_rule(self, run_config: config.TrainConfig) -> config.TrainConfig:
        """The flags, --init_from being the run's own copy of that rule where it has one."""
        if run_config.init_from and files.exists(self.initial / artifacts.RULE_CARD):
            return dataclasses.replace(run_config, init_from=str(self.initial))
        return run_config

    def check(self, run_config: config.TrainConfig, num_replicas: int | None = 1) -> None:
        """Checks that the directory is new, empty or holds a run with the same flags.

        Args:
            run_config: the flags.
            num_replicas: how many replicas are to train; None where nothing is to.

        Raises:
            InputError: if it holds another run or something else.
        """
        if files.exists(self._config):
            recorded = files.read_json_object(self._config)
            recorded.pop(_THREADS, None)
            begun_with = recorded.pop(_REPLICAS, 1)
            plugins.require(recorded.pop("plugins", []), f"the run in {self.path}")
            config.check_same_run(run_config, recorded)
            if num_replicas not in (begun_with, None):
                raise errors.InputError(
                    f"{self.path} holds a run of {begun_with} replicas, not of {num_replicas}: "
                    "resume it with as many processes or devices, or use another --workdir"
                )
        elif files.is_taken(self.path, [_LOCK]):
            raise errors.InputError(
                f"--workdir={self.path} exists and holds no run; choose an empty or new directory"
            )

    def lock(self) -> contextlib.AbstractContextManager[None]:
        """Holds the directory for this process, creating it if needed.

        Raises:
            InputError: if another process trains there; the message names it.
        """
        return locks.exclusive(self.path / _LOCK, f"the run directory {self.path}")

    def create(self, run_config: config.TrainConfig, threads: int, num_replicas: int = 1) -> int:
        """Writes the flags of a run that has passed `check`, unless they are there.

        Args:
            run_config: the flags.
            threads: how many threads this process computes with.
            num_replicas: how many replicas train.

        Returns:
            How many the process had that began the run.
        """
        kept_apart = self._checkpoints, self.initial, self.path / snapshots.DIRECTORY
        for folder in (self.path, *kept_apart, *files.matching(self.path, "stages/stage_*")):
            files.remove_temporaries(folder)
        if files.exists(self._config):
            return files.read_json_object(self._config).get(_THREADS, threads)
        own = [RULES.plugin(run_config.rule), *map(OPTIMIZEES.plugin, run_config.optimizee)]
        needed = list(dict.fromkeys(name for name in (*run_config.plugins, *own) if name))
        recorded: dict[str, Any] = {"plugins": needed} if needed else {}
        if num_replicas > 1:
            recorded[_REPLICAS] = num_replicas
        files.write_json(self._config, {**run_config.identity(), **recorded, _THREADS: threads})
        return threads

    @property
    def metrics(self) -> pathlib.Path:
        """The path of metrics.csv."""
        return self.path / "metrics.csv"

    @property
    def initial(self) -> pathlib.Path:
        """The folder of the rule that training started from."""
        return self.path / "initial"

    @property
    def log(self) -> pathlib.Path:
        """The path of run.log."""
        return self.path / "run.log"

    def save(self, checkpoint: Checkpoint) -> None:
        """Writes a checkpoint and deletes all but the last three."""
        progress = checkpoint.progress
        name = f"epoch_{progress.schedule.epoch:06d}_{progress.num_events:06d}.npz"
        files.write_arrays(self._checkpoints / name, to_arrays(checkpoint))
        for old in self._saved()[:-KEPT_CHECKPOINTS]:
            files.remove(old)

    def restore(self, like: trainer.Progress, warn: Callable[[str], None]) -> Checkpoint | None:
        """Reads the last checkpoint that is whole; None if the run has not begun.

        Args:
            like: the progress of a run that has not started, for the structure.
            warn: is told of damaged checkpoints, which get other names.

        Raises:
            InputError: if no checkpoint can be used, if there is none though the run has begun, or
                if the lines of metrics.csv up to there are missing.
        """
        unusable = []
        for path in reversed(self._saved()):
            try:
                checkpoint = from_arrays(files.read_arrays(path), like, path)
            except errors.InputError as error:
                unusable.append((path, error))
                continue
            # These lines were on the disk before the checkpoint: an older one would not help.
            metrics.lines(self.metrics, checkpoint.progress.num_events, checkpoint.digest)
            for damaged, reason in unusable:
                files.rename(damaged, damaged.with_name(f"{damaged.name}.damaged"))
                warn(f"warning: {reason}; going on from {path.name} instead")
            return checkpoint
        if unusable:
            raise unusable[0][1]
        if files.exists(self.metrics):
            raise errors.InputError(
                f"{self._checkpoints} has no checkpoint, but {self.metrics} has a run's events: "
                "put the checkpoints back, or train anew in another --workdir"
            )
        return None

    @property
    def _config(self) -> pathlib.Path:
        return self.path / "config.json"

    @property
    def _checkpoints(self) -> pathlib.Path:
        return self.path / "checkpoints"

    def _saved(self) -> list[pathlib.Path]:
        """The checkpoints, the last one last."""
        found = {}
        for path in files.matching(self._checkpoints, "epoch_*.npz"):
            if match := _CHECKPOINT.fullmatch(path.name):
                found[path] = tuple(map(int, match.groups()))
        return sorted(found, key=found.__getitem__)


def to_arrays(checkpoint: Checkpoint) -> dict[str, np.ndarray]:
    """A checkpoint as arrays by name."""
    progress = checkpoint.progress
    arrays = {
        f"{i:03d}": np.asarray(leaf) for i, leaf in enumerate(tf.nest.flatten(_tensors(progress)))
    }
    state = {
        "schedule": progress.schedule.to_json(),
        "num_events": progress.num_events,
        "metrics_digest": checkpoint.digest,
        "exported": checkpoint.exported,
        "pace": checkpoint.pace,
    }
    arrays["state"] = np.frombuffer(json.dumps(state, allow_nan=False).encode(), np.uint8)
    return arrays


def from_arrays(
    arrays: Mapping[str, np.ndarray], like: trainer.Progress, source: str | os.PathLike
) -> Checkpoint:
    """The inverse of `to_arrays`.

    Args:
        arrays: what it returned.
        like: the progress of a run that has not started, for the structure.
        source: where they are from.

    Raises:
        InputError: if they are not of this run.
    """
    template = tf.nest.flatten(_tensors(like))
    names = [f"{i:03d}" for i in range(len(template))]
    fits = arrays.keys() == {*names, "state"} and all(
        arrays[n].shape == t.shape and arrays[n].dtype == t.dtype.as_numpy_dtype
        for n, t in zip(names, template)
    )
    if not fits:
        raise errors.InputError(f"{source} does not fit this run")
    leaves = [tf.constant(arrays[name]) for name in names]
    meta, validated, best = tf.nest.pack_sequence_as(_tensors(like), leaves)
    try:
        state = files.parse_json(arrays["state"].tobytes().decode())
        schedule = curriculum.State.from_json(state["schedule"])
        progress = trainer.Progress(meta, validated, best, schedule, state["num_events"])
        # Older versions did not write the rest.
        checkpoint = Checkpoint(
            progress, state.get("metrics_digest"), state.get("exported"), state.get("pace", {})
        )
        if _is_sound(checkpoint):
            return checkpoint
    except (KeyError, TypeError, ValueError, AttributeError):
        pass
    raise errors.InputError(f"{source} does not fit this run")


def _is_sound(checkpoint: Checkpoint) -> bool:
    """Whether what JSON has no types for is what it must be."""
    progress, digest, exported, pace = checkpoint
    schedule = progress.schedule
    counts = schedule.stage, schedule.epoch, schedule.steps, schedule.period_epoch, schedule.periods
    return (
        _are_counts(*counts, progress.num_events)
        and isinstance(schedule.best_loss, int | float)
        and isinstance(schedule.reason, str)
        and (digest is None or isinstance(digest, str))
        and (exported is None or isinstance(exported, dict))
        and (exported is None or _are_counts(exported["stage"]))
        and all(isinstance(seconds, float) for seconds in pace.values())
    )


def _are_counts(*values: Any) -> bool:
    return all(type(value) is int and value >= 0 for value in values)


def _tensors(progress: trainer.Progress):
    return progress.meta, progress.validated, progress.best
