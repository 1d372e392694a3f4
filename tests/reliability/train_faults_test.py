"""Training survives a fault at any of its operations on files: nothing is lost or different."""

import math
import random

import numpy as np
import pytest
import tensorflow as tf

from l2o_tf.core import files
from l2o_tf.run import build, config, session
from l2o_tf.training import curriculum
from tests.reliability import faults

FLAGS = {
    "rule": "global_learning_rate",
    "rule_options": '{"initial_rate": 0.001}',
    "optimizee": ("simple",),
    "dataset": "digits",
    "curriculum": True,
    "curriculum_steps": (20, 40),
    "period_epochs": 2,
    "min_periods": 2,
    "num_epochs": 9,
    "validation_epochs": 1,
    "weight_average": 0.5,
    "checkpoint_seconds": 0.0,
}


class Replay:
    """A trainer that has trained once: the same events, from wherever it is asked to go on."""

    def __init__(self, trainer):
        self._start = trainer.initial_progress()
        self._events = list(trainer.run(self._start))

    def initial_progress(self):
        return self._start

    def run(self, progress):
        known = [self._start, *(event.progress for event in self._events)][progress.num_events]
        assert progress.schedule == known.schedule
        for found, expected in zip(tf.nest.flatten(progress), tf.nest.flatten(known)):
            if tf.is_tensor(expected):
                assert np.asarray(found).tobytes() == expected.numpy().tobytes()
        yield from self._events[progress.num_events :]


@pytest.fixture(scope="module")
def parts():
    """Both stages have a best rule; the losses of validations are made up for that."""
    decide, losses = curriculum.after_validation, {2: 3.0, 4: 4.0, 6: math.nan, 8: 2.0, 9: 1.0}

    def scripted(schedule, state, loss):
        return decide(schedule, state, losses[state.epoch])

    made = build.parts(config.TrainConfig(**FLAGS))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(curriculum, "after_validation", scripted)
        return made._replace(trainer=Replay(made.trainer))


@pytest.fixture
def harness(parts, tmp_path, monkeypatch):
    monkeypatch.setattr(build, "parts", lambda _: parts)

    def train(directory):
        session.train(config.TrainConfig(**FLAGS, workdir=str(directory / "run")))

    def final_files(directory):
        """But for checkpoints, TensorBoard and the log, in which times and resumptions are."""
        run = directory / "run"
        kept = [run / name for name in ("config.json", "metrics.csv", "rule.npz", "rule.json")]
        kept += sorted((run / "stages").rglob("*.*"))
        # The path is in no file but the log.
        return {str(p.relative_to(run)): p.read_bytes() for p in kept if not files.is_temporary(p)}

    return faults.Harness(
        train, final_files, tmp_path, lambda system: monkeypatch.setattr(files, "system", system)
    )


def test_some_faults_at_some_operations(harness):
    for fault in harness.sample(40, seed=0):
        harness.survives(fault)


def test_an_undisturbed_training_exports_both_stages(harness):
    names = {"stages/stage_0/rule.npz", "stages/stage_1/rule.npz", "rule.npz", "rule.json"}
    assert names < harness.expected.keys()
    assert harness.expected["rule.npz"] == harness.expected["stages/stage_1/rule.npz"]


@pytest.mark.slow
def test_every_fault_at_every_operation(harness, capsys):
    for fault in harness.every_fault():
        harness.survives(fault)
    with capsys.disabled():
        print("\n" + harness.tally.report(f"train, each of {harness.operations} operations"))
    assert harness.tally.faults >= 1000


@pytest.mark.slow
def test_faults_while_recovering_from_faults(harness, capsys):
    draw = random.Random(1)
    for _ in range(300):
        several = [
            faults.Fault(draw.randrange(harness.operations), draw.choice(faults.KINDS))
            for _ in range(draw.randint(2, 4))
        ]
        harness.survives(*several)
    with capsys.disabled():
        print("\n" + harness.tally.report("train, several faults in a row"))
