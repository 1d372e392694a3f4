"""Which validated weights a run keeps: a function of the epoch alone."""

import types

import numpy as np
import pytest

from l2o_tf.core import files
from l2o_tf.run import snapshots
from l2o_tf.training.curriculum import Decision


def validation(epoch, decision=Decision.CONTINUE):
    weights = {"w": np.full([2], epoch, np.float32), "b": np.zeros([], np.float32)}
    progress = types.SimpleNamespace(schedule=types.SimpleNamespace(epoch=epoch), validated=weights)
    return types.SimpleNamespace(decision=decision, progress=progress)


def train(run, epochs, period_epochs, max_snapshots):
    for epoch in epochs:
        snapshots.save(run, validation(epoch), period_epochs, max_snapshots)


def kept(run):
    return [snapshots.epoch_of(path) for path in snapshots.find(run / "snapshots")]


@pytest.mark.parametrize(
    "decision, saved",
    [
        (Decision.KEEP, True),
        (Decision.CONTINUE, True),
        (Decision.STOP, True),
        (Decision.ADVANCE, False),
        (None, False),
    ],
)
def test_what_was_validated_is_kept_and_what_was_restored_is_not(tmp_path, decision, saved):
    snapshots.save(tmp_path, validation(30, decision), period_epochs=10, max_snapshots=5)
    assert kept(tmp_path) == ([30] if saved else [])
    if saved:
        arrays = files.read_arrays(tmp_path / "snapshots" / "epoch_000030.npz")
        assert arrays.keys() == {"w", "b"} and arrays["w"].tolist() == [30, 30]


def test_files_with_other_names_are_left_alone(tmp_path):
    (tmp_path / "snapshots").mkdir()
    own = tmp_path / "snapshots" / "epoch_000010_mine.npz"
    own.write_bytes(b"mine")
    train(tmp_path, range(10, 60, 10), 10, max_snapshots=2)
    assert kept(tmp_path) == [40, 50] and own.read_bytes() == b"mine"


@pytest.mark.parametrize(
    "last, max_snapshots, expected",
    [
        (80, 8, [10, 20, 30, 40, 50, 60, 70, 80]),
        (90, 8, [20, 40, 60, 80, 90]),
        (160, 8, [20, 40, 60, 80, 100, 120, 140, 160]),
        (170, 8, [40, 80, 120, 160, 170]),
        (85, 8, [20, 40, 60, 80, 85]),  # A budget of steps ends amid a period.
        (90, 1, [90]),
        (90, 0, []),
    ],
)
def test_every_second_one_is_dropped_beyond_the_bound(tmp_path, last, max_snapshots, expected):
    train(tmp_path, [*range(10, last, 10), last], 10, max_snapshots)
    assert kept(tmp_path) == expected


def test_a_run_that_went_back_to_a_checkpoint_keeps_the_same(tmp_path):
    for name, epochs in (("at_once", range(1, 41)), ("resumed", [*range(1, 30), *range(9, 41)])):
        train(tmp_path / name, epochs, 1, 8)
    assert kept(tmp_path / "at_once") == kept(tmp_path / "resumed") == [8, 16, 24, 32, 40]
