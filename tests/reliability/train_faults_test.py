"""Training survives a fault at any of its operations on files: nothing is lost or different."""

import random

import pytest

from l2o_tf.core import files
from l2o_tf.run import build, config, session
from tests.reliability import faults, toy_run


@pytest.fixture(scope="module")
def parts():
    return toy_run.parts()


@pytest.fixture
def harness(parts, tmp_path, monkeypatch):
    monkeypatch.setattr(build, "parts", lambda *_: parts)

    def train(directory):
        session.train(config.TrainConfig(**toy_run.FLAGS, workdir=str(directory / "run")))

    def final_files(directory):
        """But for checkpoints, TensorBoard and the log, in which times and resumptions are."""
        run = directory / "run"
        kept = [run / name for name in ("config.json", "metrics.csv", "rule.npz", "rule.json")]
        kept += sorted(run.glob("stages/*/*")) + sorted(run.glob("snapshots/*"))
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
    for fault in harness.every_fault(faults.SHARE):
        harness.survives(fault)
    with capsys.disabled():
        print("\n" + harness.tally.report(f"train, {harness.operations} operations"))
    assert harness.operations >= 300 and harness.tally.faults >= 2500 * faults.SHARE


@pytest.mark.slow
def test_faults_while_recovering_from_faults(harness, capsys):
    draw = random.Random(1)
    for _ in range(round(300 * faults.SHARE)):
        several = [
            faults.Fault(draw.randrange(harness.operations), draw.choice(faults.KINDS))
            for _ in range(draw.randint(2, 4))
        ]
        harness.survives(*several)
    with capsys.disabled():
        print("\n" + harness.tally.report("train, several faults in a row"))
