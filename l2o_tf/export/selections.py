"""Bundles of selections: all snapshots of trainings on the horizon that counts, at once."""

import pathlib
from typing import Any

import numpy as np

from l2o_tf import artifacts
from l2o_tf.core import errors
from l2o_tf.data import datasets
from l2o_tf.evaluation import config, measuring, selecting, selection, tasks
from l2o_tf.export import bundle, classifiers, trajectory_bundle

_KIND = "select"


def write(
    directory: str, flags: config.SelectConfig, widths: tuple[int, ...], with_data: bool = True
) -> int:
    """Writes a bundle that measures every snapshot on the whole horizon.

    Args:
        directory: where to.
        flags: the selection, of one rung.
        widths: how many trajectories the programs run at once.
        with_data: whether the images are part of the bundle.

    Returns:
        The number of runs.

    Raises:
        InputError: for runs, an optimizee or data that cannot be used or cannot run in lanes.
    """
    candidates = selection.find(flags.runs)
    to_measure = tasks.held_out(flags)
    made = {name: _optimizee(task, flags.data_dir) for name, task in to_measure.items()}
    groups = trajectory_bundle.Groups()
    for snapshot in {one.fingerprint: one for one in candidates}.values():
        rule = artifacts.load_rule(snapshot.directory, snapshot.path)
        for name, task in to_measure.items():
            described = {"run": snapshot.run, "epoch": snapshot.epoch, **task._asdict()}
            groups.add(name, snapshot.fingerprint, rule, described)
    return trajectory_bundle.write(
        directory,
        _KIND,
        list(groups.values()),
        made,
        {seed: measuring.seed_of_run(seed) for seed in range(flags.num_seeds)},
        trajectory_bundle.Extent(flags.num_steps, widths, with_data),
        {"flags": flags.to_json(), "fingerprints": {}},
    )


def _optimizee(task: tasks.Task, data_dir: str | None) -> classifiers.Classifier:
    if not task.dataset:
        raise errors.InputError(f"{task.optimizee} cannot run in lanes: it has no images")
    data = datasets.load(task.dataset, task.split, data_dir)
    return classifiers.vectorizable(task.create(data))


def take_back(directory: str, workdir: str) -> list[str]:
    """Writes the measurements of a selection, as `select` would have.

    Args:
        directory: the folder that `run_bundle.py` wrote.
        workdir: the selection's directory, which may hold other measurements.

    Returns:
        The runs that were selected among.

    Raises:
        InputError: if there are no results, or they are of another version or kind.
    """

    def parse(about: dict[str, Any], losses: dict[int, np.ndarray]):
        values = bundle.config_values(about["flags"])
        flags = config.SelectConfig(**{**values, "workdir": workdir})
        runs = [(run, losses[i]) for i, run in enumerate(about["runs"]) if i in losses]
        measured = [
            (_measurement(run, flags.num_steps), selection.measured(of_run)) for run, of_run in runs
        ]
        return flags, measured

    flags, measured = trajectory_bundle.read(directory, _KIND, parse)
    selecting.adopt(flags, measured)
    return list(flags.runs)


def _measurement(run: dict[str, Any], num_steps: int) -> selection.Measurement:
    nowhere = pathlib.Path()
    snapshot = selection.Snapshot(run["run"], run["epoch"], nowhere, nowhere, run["rule"])
    fields = {name: run[name] for name in tasks.Task._fields}
    task = tasks.Task(**{**fields, "num_steps": num_steps})
    return selection.Measurement(snapshot, task, run["seed"])
