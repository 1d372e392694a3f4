"""Evaluation, tuning and selection survive a fault at any of their operations on files."""

import numpy as np
import pytest

from l2o_tf import artifacts, rules
from l2o_tf.core import files
from l2o_tf.evaluation import figures, runner, selecting, selection_report, session
from l2o_tf.evaluation.config import EvaluateConfig, SelectConfig, TuneConfig
from tests.reliability import faults

COMMON = {"optimizees": ("simple",), "num_steps": 120, "num_seeds": 2}


def losses_of(rule, seed, num_steps, progress=None):
    """What a run of a rule gives, made up but different for each."""
    rate = float(rule.weights()["learning_rate"])
    curve = np.exp(-rate * np.arange(num_steps)) + 0.01 * int(seed[0])
    return curve.astype(np.float32)


def evaluate(directory):
    flags = {"rules": ("adam:0.01", "half=sgd:0.5", "tuned:rmsprop"), **COMMON}
    paths = {"workdir": f"{directory}/evaluation", "tuned_dir": f"{directory}/tuned"}
    session.evaluate(EvaluateConfig(**flags, **paths), lambda _: None)


def tune(directory):
    flags = {"rules": ("sgd", "adam"), "rates": (0.01, 0.1), **COMMON}
    session.tune(TuneConfig(**flags, tuned_dir=f"{directory}/tuned"), lambda _: None)


def select(directory):
    runs = (str(directory.parents[1] / "runs"),)
    flags = {"optimizees": ("simple",), "num_steps": 200, "rungs": (100,), "num_seeds": 2}
    config = SelectConfig(runs=runs, workdir=f"{directory}/selected", **flags)
    selecting.select(config, lambda _: None, lambda: None)


def make_runs(directory):
    """Two runs of three snapshots each."""
    for run, first in (("a", 0.01), ("b", 0.02)):
        rule = rules.create("global_learning_rate")
        artifacts.save_rule(directory / run, rule, card={"training": {"seed": 3}})
        for epoch in (1, 2, 3):
            arrays = {"learning_rate": np.float32(first * epoch)}
            files.write_arrays(directory / run / "snapshots" / f"epoch_{epoch:06d}.npz", arrays)


def final_files(directory):
    """But for what has the directory in it."""
    kept = [
        path
        for path in sorted(directory.rglob("*"))
        if path.suffix in (".json", ".npz", ".csv", ".txt")
        and not files.is_temporary(path)
        and path.name != "selection.json"
    ]
    return {str(path.relative_to(directory)): path.read_bytes() for path in kept}


@pytest.fixture(params=[evaluate, tune, select], ids=["evaluate", "tune", "select"])
def harness(request, tmp_path, monkeypatch):
    monkeypatch.setattr(runner.Runner, "__init__", lambda self, optimizee: None)
    monkeypatch.setattr(runner.Runner, "run", lambda self, *args: losses_of(*args))
    # Drawing takes longer than all the rest; a figure is one file, written as all are.
    monkeypatch.setattr(figures, "quick_look", lambda runs, path: files.write_atomically(path, b""))
    monkeypatch.setattr(
        selection_report, "draw", lambda rungs, path, title: files.write_atomically(path, b"")
    )
    make_runs(tmp_path / "runs")
    (tmp_path / "commands").mkdir()
    return faults.Harness(
        request.param,
        final_files,
        tmp_path / "commands",
        lambda system: monkeypatch.setattr(files, "system", system),
    )


def test_some_faults_at_some_operations(harness):
    for fault in harness.sample(20, seed=0):
        harness.survives(fault)


@pytest.mark.slow
def test_every_fault_at_every_operation(harness, request, capsys):
    for fault in harness.every_fault(faults.SHARE):
        harness.survives(fault)
    with capsys.disabled():
        print("\n" + harness.tally.report(request.node.callspec.id))
