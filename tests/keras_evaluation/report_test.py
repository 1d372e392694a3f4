import csv
import math

import numpy as np
import pytest

from l2o_tf.core import errors
from l2o_tf.keras_evaluation import report, store, training

KINDS = {
    "fast": "rule",
    "slow": "rule",
    "gone": "rule",
    "keras adam:0.01": "adam",
    "keras adam:0.1": "adam",
    "keras adamw:0.01": "adamw",
    "keras adamw:0.1": "adamw",
}


def run(rate, num_steps=200, validation=None, diverged_at=None, cpu_ms=2.0, size=8.0):
    losses = np.exp(-rate * np.arange(1, (diverged_at or num_steps + 1))).tolist()
    return training.Run(losses, diverged_at, validation, 10, size, cpu_ms, 3.0, 0)


@pytest.fixture
def runs():
    """Exponential curves on two tasks, twice as steep on the second, with two seeds."""
    found = {}
    for task, steepness in (("one", 1), ("two", 2)):
        for seed in (0, 1):
            made = {
                "fast": run(0.02 * steepness, validation=0.1, cpu_ms=4.0 + seed, size=328.0),
                "slow": run(0.005 * steepness, validation=0.4),
                "gone": run(0.01, diverged_at=30 if seed else None, validation=0.2),
                "keras adam:0.01": run(0.01 * steepness, validation=0.2),
                "keras adam:0.1": run(0.005 * steepness, validation=0.2),
                "keras adamw:0.01": run(0.005 * steepness, validation=0.3),
                "keras adamw:0.1": run(0.01 * steepness, validation=0.3),
            }
            found |= {store.Key(task, label, seed): value for label, value in made.items()}
    return found


def test_speed_ups_are_those_of_the_exponents(runs):
    found = report.assess(runs, KINDS)
    assert found.adamw == "keras adamw:0.1"
    assert set(found.adam.values()) == {"keras adam:0.01"}
    for task, steepness in (("one", 1), ("two", 2)):
        cells = found.cells[task]
        # Windows of 10 steps hide a step or so.
        assert cells["fast"].speed_up == pytest.approx(2, rel=0.06)
        assert cells["slow"].speed_up == pytest.approx(0.5, rel=0.06)
        assert cells["gone"].speed_up == 0 and cells["gone"].diverged == 1
        assert cells["keras adam:0.01"].over_adam == 1
        mean = np.exp(-0.02 * steepness * np.arange(191, 201)).mean()
        assert cells["fast"].train == pytest.approx(mean, rel=1e-9)
        assert cells["fast"].cpu_ms == 4.5
        assert cells["fast"].seconds == pytest.approx(4.5e-3 * cells["fast"].steps)
        assert cells["slow"].steps is None and cells["slow"].seconds is None


def test_files_say_what_was_assessed(runs, tmp_path):
    found = report.write(tmp_path, runs, KINDS)
    rows = list(csv.DictReader((tmp_path / "report.csv").open()))
    assert len(rows) == 14
    (fast,) = [r for r in rows if (r["task"], r["optimizer"]) == ("two", "fast")]
    assert float(fast["speed_up"]) == pytest.approx(found.cells["two"]["fast"].speed_up, rel=1e-5)
    assert fast["bytes_per_parameter"] == "328"
    assert {r["optimizer"] for r in rows if r["calibrated"] == "1"} == {"keras adamw:0.1"}
    assert {r["optimizer"] for r in rows if r["best"] == "1"} == {"keras adam:0.01"}
    assert (tmp_path / "report.png").stat().st_size > 10_000
    text = (tmp_path / "report.txt").read_text().splitlines()
    by_rule = {line.split()[0]: line for line in text[1:4]}
    # Better than the best Adam on both tasks; the worst ratio to Adam's first rate is of task one.
    assert "2 of 2" in by_rule["fast"] and " 0.50 " in by_rule["fast"]
    assert "0 of 2" in by_rule["slow"] and "0 of 2" in by_rule["gone"]
    assert "inf" in by_rule["gone"] and math.inf == found.cells["one"]["gone"].train


def test_a_task_that_no_optimizer_can_train_is_one_of_divergences(runs, tmp_path):
    none = {key: run(0.01, diverged_at=1) for key in runs if key.task == "one"}
    none = {key: found._replace(losses=[]) for key, found in none.items()}
    found = report.write(tmp_path, runs | none, KINDS)
    for label, cell in found.cells["one"].items():
        assert (cell.diverged, cell.train, cell.speed_up, cell.steps) == (2, math.inf, 0, None)
        assert found.cells["two"][label].diverged == (label == "gone")


def changed(runs, losses):
    """Trainings with other losses of a task and an optimizer, in training and after it."""
    return {
        key: found._replace(losses=[losses[key[:2]]] * 200, validation_loss=losses[key[:2]])
        if key[:2] in losses
        else found
        for key, found in runs.items()
    }


def worst(found):
    """The column "worst" by rule: of "over best Adam" on, the columns are numbers."""
    lines = report.summary(found).splitlines()
    assert "where that is not below 0" in report.summary(found).replace("\n", " ")
    return {line.split()[0]: line.split()[-2] for line in lines[1:4]}


def test_an_adam_whose_loss_is_zero_has_a_report(runs, tmp_path):
    zero = {("one", "keras adam:0.01"): 0.0}
    found = report.write(tmp_path, changed(runs, zero), KINDS)
    assert worst(found) == {"fast": "inf", "slow": "inf", "gone": "inf"}
    assert (tmp_path / "report.png").stat().st_size > 10_000
    both = zero | {("one", "fast"): 0.0}
    # On the other task half of Adam's validation loss and a lower training loss, here the same.
    assert worst(report.assess(changed(runs, both), KINDS))["fast"] == "1.00"


def test_losses_below_zero_have_no_ratio(runs, tmp_path):
    below = {("one", label): -0.5 for label in KINDS}
    below |= {("one", "fast"): -0.9, ("one", "slow"): -0.4}
    found = report.write(tmp_path, changed(runs, below), KINDS)
    assert [cell.diverged for cell in found.cells["one"].values()] == [0, 0, 1, 0, 0, 0, 0]
    # Of the second task alone: half of Adam's validation loss, and the training losses' ratio.
    slow, adam = (np.exp(-rate * np.arange(191, 201)).mean() for rate in (0.01, 0.02))
    assert worst(found) == {"fast": "0.50", "slow": f"{slow / adam:.2f}", "gone": "inf"}
    only = {key: value for key, value in changed(runs, below).items() if key.task == "one"}
    assert worst(report.assess(only, KINDS)) == {"fast": "-", "slow": "-", "gone": "inf"}
    assert (tmp_path / "report.png").stat().st_size > 10_000


def test_a_stored_training_is_read_as_it_was_written(tmp_path):
    kept, key = store.Store(tmp_path), store.Key("a/b", "x|y", 3)
    identity = {"optimizer": "x", "decay": False}
    assert kept.read(key, identity) is None
    written = kept.write(key, identity, run(0.01, 5, validation=None))
    assert kept.read(key, identity) == written
    assert written.losses == [0.99005, 0.9802, 0.97045, 0.96079, 0.95123]
    assert [path.parent for path in tmp_path.rglob("*.json")] == [tmp_path]

    with pytest.raises(errors.InputError, match="of another decay: use another --workdir"):
        kept.read(key, {**identity, "decay": True})
    with pytest.raises(errors.InputError, match="does not say of which data it is, as an older"):
        kept.read(key, {**identity, "data": "abc"})
