"""The directory of a meta-training run.

    config.json          the flags
    checkpoints/         epoch_*.npz, the last three; each holds all of `trainer.Progress`
    metrics.csv          one line per epoch and validation, the same bits for the same flags
    stages/stage_*/      the best rule of each curriculum stage
    snapshots/           epoch_*.npz, the weights that were validated
    rule.npz, rule.json  the best rule so far, the export
    events.out.*         TensorBoard
"""

import json
import pathlib

import numpy as np
import tensorflow as tf

from l2o_tf.core import errors, files, plugins
from l2o_tf.optimizees.base import OPTIMIZEES
from l2o_tf.rules.base import RULES
from l2o_tf.run import config
from l2o_tf.training import curriculum, trainer

KEPT_CHECKPOINTS = 3


class RunDirectory:
    """Creates, checks and resumes a run's directory."""

    def __init__(self, path: str):
        self.path = pathlib.Path(path)

    def check(self, run_config: config.TrainConfig) -> None:
        """Checks that the directory is new, empty or holds a run with the same flags.

        Raises:
            InputError: if it holds another run or something else.
        """
        if self._config.exists():
            recorded = files.read_json(self._config)
            plugins.require(recorded.pop("plugins", []), f"the run in {self.path}")
            config.check_same_run(run_config, recorded)
        elif self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir())):
            raise errors.InputError(
                f"--workdir={self.path} exists and holds no run; choose an empty or new directory"
            )

    def create(self, run_config: config.TrainConfig) -> None:
        """Creates the directory of a run that has passed `check`."""
        own = [RULES.plugin(run_config.rule), *map(OPTIMIZEES.plugin, run_config.optimizee)]
        needed = list(dict.fromkeys(name for name in (*run_config.plugins, *own) if name))
        recorded = {"plugins": needed} if needed else {}
        files.write_json(self._config, {**run_config.identity(), **recorded})

    @property
    def metrics(self) -> pathlib.Path:
        """The path of metrics.csv."""
        return self.path / "metrics.csv"

    def save(self, progress: trainer.Progress) -> None:
        """Writes a checkpoint and deletes all but the last three."""
        arrays = {
            f"{i:03d}": np.asarray(leaf) for i, leaf in enumerate(tf.nest.flatten(_tensors(progress)))
        }
        state = {"schedule": progress.schedule.to_json(), "num_events": progress.num_events}
        arrays["state"] = np.frombuffer(json.dumps(state).encode(), np.uint8)
        name = f"epoch_{progress.schedule.epoch:06d}_{progress.num_events:06d}.npz"
        files.write_arrays(self._checkpoints / name, arrays)
        for old in self._saved()[:-KEPT_CHECKPOINTS]:
            old.unlink()

    def restore(self, like: trainer.Progress) -> trainer.Progress | None:
        """Reads the last checkpoint; None if there is none.

        Args:
            like: the progress of a run that has not started, for the structure.

        Raises:
            InputError: if the checkpoint is damaged or of another structure.
        """
        saved = self._saved()
        if not saved:
            return None
        arrays = files.read_arrays(saved[-1])
        template = tf.nest.flatten(_tensors(like))
        names = [f"{i:03d}" for i in range(len(template))]
        fits = arrays.keys() == {*names, "state"} and all(
            arrays[n].shape == t.shape and arrays[n].dtype == t.dtype.as_numpy_dtype
            for n, t in zip(names, template)
        )
        if not fits:
            raise errors.InputError(
                f"{saved[-1]} does not fit this run; delete it to go on from the one before"
            )
        leaves = [tf.constant(arrays[name]) for name in names]
        meta, validated, best = tf.nest.pack_sequence_as(_tensors(like), leaves)
        state = json.loads(arrays["state"].tobytes())
        schedule = curriculum.State.from_json(state["schedule"])
        return trainer.Progress(meta, validated, best, schedule, state["num_events"])

    @property
    def _config(self) -> pathlib.Path:
        return self.path / "config.json"

    @property
    def _checkpoints(self) -> pathlib.Path:
        return self.path / "checkpoints"

    def _saved(self) -> list[pathlib.Path]:
        return sorted(self._checkpoints.glob("epoch_*.npz"))


def _tensors(progress: trainer.Progress):
    return progress.meta, progress.validated, progress.best
