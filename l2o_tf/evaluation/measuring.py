"""Measures snapshots of rules: one trajectory of an optimizee at a time."""

import numpy as np

from l2o_tf import artifacts
from l2o_tf.core import seeds
from l2o_tf.data import datasets
from l2o_tf.evaluation import runner, selection, tasks
from l2o_tf.rules.base import UpdateRule


def seed_of_run(seed: int) -> seeds.Seed:
    """The seed of the trajectory that is seed number `seed` of a selection."""
    return seeds.make_seed(seed, "selection")


class Bench:
    """Data sets, rules and compiled loops, each made once and when first needed."""

    def __init__(self, data_dir: str | None = None):
        self._data_dir = data_dir
        self._datasets: dict[tuple[str, str], datasets.Dataset] = {}
        self._runners: dict[tasks.Task, runner.Runner] = {}
        self._loaded: tuple[selection.Snapshot, UpdateRule | None] | None = None

    def measure(self, measurement: selection.Measurement) -> selection.Measured:
        """Runs one trajectory; a rule whose weights are not finite counts as diverged.

        Raises:
            InputError: for a rule or data that cannot be used, or a rule that has been replaced
                since it was found.
        """
        snapshot, task, seed = measurement
        rule = self._rule(snapshot)
        if rule is None:
            return selection.measured(np.full([task.num_steps], np.nan, np.float32))
        on = self.runner(task)
        return selection.measured(on.run(rule, seed_of_run(seed), task.num_steps))

    def runner(self, task: tasks.Task) -> runner.Runner:
        """The runner of a task, the same for any number of steps."""
        key = task._replace(num_steps=0)
        if key not in self._runners:
            data = self._dataset(task.dataset, task.split) if task.dataset else None
            self._runners[key] = runner.Runner(task.create(data))
        return self._runners[key]

    def _dataset(self, name: str, split: str) -> datasets.Dataset:
        if (name, split) not in self._datasets:
            self._datasets[name, split] = datasets.load(name, split, self._data_dir)
        return self._datasets[name, split]

    def _rule(self, snapshot: selection.Snapshot) -> UpdateRule | None:
        """The rule; None if its weights are not finite."""
        if self._loaded is None or self._loaded[0] != snapshot:
            arrays, rule = artifacts.read_weights(snapshot.path), None
            # Of weights that are no numbers at all `load_rule` says so.
            if all(np.isfinite(a).all() for a in arrays.values() if a.dtype.kind == "f"):
                rule = artifacts.load_rule(snapshot.directory, snapshot.path)
            # After it was loaded, so that what was loaded is what is checked.
            selection.check(snapshot)
            self._loaded = snapshot, rule
        return self._loaded[1]
