"""Evaluation and tuning survive a fault at any of their operations on files."""

import numpy as np
import pytest

from l2o_tf.core import files
from l2o_tf.evaluation import figures, report, runner, session
from l2o_tf.evaluation.config import EvaluateConfig, TuneConfig
from tests.reliability import faults

COMMON = {"optimizees": ("simple",), "num_steps": 120, "num_seeds": 2}


def losses_of(rule, seed, num_steps, progress):
    """What a run of a rule gives, made up but different for each."""
    rate = float(rule.options()["learning_rate"])
    curve = np.exp(-rate * np.arange(num_steps)) + 0.01 * int(seed[0])
    return curve.astype(np.float32)


def evaluate(directory):
    flags = {"rules": ("adam:0.01", "half=sgd:0.5", "tuned:rmsprop"), **COMMON}
    paths = {"workdir": f"{directory}/evaluation", "tuned_dir": f"{directory}/tuned"}
    session.evaluate(EvaluateConfig(**flags, **paths), lambda _: None)


def tune(directory):
    flags = {"rules": ("sgd", "adam"), "rates": (0.01, 0.1), **COMMON}
    session.tune(TuneConfig(**flags, tuned_dir=f"{directory}/tuned"), lambda _: None)


def final_files(directory):
    kept = [
        path
        for path in sorted(directory.rglob("*"))
        if path.suffix in (".json", ".npz", ".csv", ".txt") and not files.is_temporary(path)
    ]
    return {str(path.relative_to(directory)): path.read_bytes() for path in kept}


@pytest.fixture(params=[evaluate, tune], ids=["evaluate", "tune"])
def harness(request, tmp_path, monkeypatch):
    monkeypatch.setattr(runner.Runner, "__init__", lambda self, optimizee: None)
    monkeypatch.setattr(runner.Runner, "run", lambda self, *args: losses_of(*args))
    # Drawing takes longer than all the rest; a figure is one file, written as all are.
    monkeypatch.setattr(figures, "quick_look", lambda runs, path: files.write_atomically(path, b""))
    monkeypatch.setattr(report, "_write_tensorboard", lambda *_: None)
    return faults.Harness(
        request.param,
        final_files,
        tmp_path,
        lambda system: monkeypatch.setattr(files, "system", system),
        tidies_up=False,
    )


def test_some_faults_at_some_operations(harness):
    for fault in harness.sample(20, seed=0):
        harness.survives(fault)


@pytest.mark.slow
def test_every_fault_at_every_operation(harness, request, capsys):
    for fault in harness.every_fault():
        harness.survives(fault)
    with capsys.disabled():
        print("\n" + harness.tally.report(request.node.callspec.id))
