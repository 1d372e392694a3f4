"""Results survive interruption, are read back bit for bit, and refuse what is not theirs."""

import csv
import os
import pickle

import numpy as np
import pytest

from l2o_tf.core import errors
from l2o_tf.evaluation import results


def make_run(rule="dm", optimizee="mlp", seed=0, num_steps=250, **changes) -> results.Run:
    losses = np.random.default_rng(seed).lognormal(size=num_steps).astype(np.float32)
    return results.Run(rule, optimizee, "mnist", "test", seed, losses)._replace(**changes)


def assert_same(actual: list[results.Run], expected: list[results.Run]) -> None:
    labels = [[run._replace(losses=None) for run in runs] for runs in (actual, expected)]
    assert labels[0] == labels[1]
    for one, other in zip(actual, expected):
        assert one.losses.dtype == np.float32
        np.testing.assert_array_equal(one.losses, other.losses)


RUNS = [
    make_run("adam:0.01", "quadratic", 3, dataset="", split=""),
    make_run("dm", "mlp", 0),
    make_run("dm", "mlp", 1, num_steps=7),
    make_run("path/to ünïcode %2F", "conv_cifar", 12, learning_rate=0.1 + 0.2),
]


def test_per_run_files_read_back_exactly_and_sorted(tmp_path):
    for run in reversed(RUNS):
        results.append(tmp_path, run)
    assert_same(results.load(tmp_path), RUNS)
    assert results.done(tmp_path) == {run.key for run in RUNS}
    assert "dm|mlp|1" in results.done(tmp_path)


def test_consolidated_files_suffice(tmp_path):
    for run in RUNS:
        results.append(tmp_path, run)
    results.consolidate(tmp_path)
    for path in (tmp_path / "runs").iterdir():
        path.unlink()
    assert_same(results.load(tmp_path), RUNS)
    with np.load(tmp_path / "losses.npz") as file:
        assert set(file.files) == {run.key for run in RUNS}
        np.testing.assert_array_equal(file["dm|mlp|1"], RUNS[2].losses)


def test_new_runs_win_over_consolidated_ones_and_nothing_is_lost(tmp_path):
    for run in RUNS:
        results.append(tmp_path, run)
    results.consolidate(tmp_path)
    for path in (tmp_path / "runs").iterdir():
        path.unlink()
    again = make_run("dm", "mlp", 0, num_steps=300)
    results.append(tmp_path, again)
    expected = [RUNS[0], again, *RUNS[2:]]
    assert_same(results.load(tmp_path), expected)
    results.consolidate(tmp_path)
    assert_same(results.load(tmp_path), expected)


def test_csv_holds_window_means_and_the_first_step_that_is_not_finite(tmp_path):
    losses = np.arange(1, 1201, dtype=np.float32)
    results.append(tmp_path, make_run(losses=losses))
    losses = losses.copy()
    losses[[149, 151]] = np.inf, np.nan
    results.append(tmp_path, make_run(seed=1, losses=losses[:999]))
    results.consolidate(tmp_path)
    with open(tmp_path / "results.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["loss_100"] for row in rows] == ["50.5", "50.5"]
    assert [row["loss_1000"] for row in rows] == ["950.5", ""]
    assert [row["loss_10000"] for row in rows] == ["", ""]
    assert [row["diverged_at"] for row in rows] == ["", "150"]
    assert [row["num_steps"] for row in rows] == ["1200", "999"]
    assert list(rows[0])[:5] == ["rule", "optimizee", "dataset", "split", "seed"]


def test_longer_runs_get_further_decades(tmp_path):
    results.append(tmp_path, make_run(losses=np.full(100_000, 0.5, np.float32)))
    results.consolidate(tmp_path)
    header, row = (tmp_path / "results.csv").read_text().splitlines()
    assert header.endswith("loss_100,loss_1000,loss_10000,loss_100000")
    assert row.endswith(",100000,,0.5,0.5,0.5,0.5")


def test_an_interrupted_write_leaves_the_old_state(tmp_path, monkeypatch):
    results.append(tmp_path, RUNS[1])
    results.consolidate(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}

    def interrupt(descriptor):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        results.append(tmp_path, make_run(num_steps=3))
    with pytest.raises(KeyboardInterrupt):
        results.consolidate(tmp_path)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_temporary_file_of_a_killed_process_is_ignored(tmp_path):
    results.append(tmp_path, RUNS[1])
    (tmp_path / "runs" / ".tmpabc").write_bytes(b"PK\x03\x04 half")
    assert results.done(tmp_path) == {RUNS[1].key}


def test_consolidation_cut_between_its_two_files_is_repaired(tmp_path):
    results.append(tmp_path, RUNS[1])
    results.consolidate(tmp_path)
    old_rows = (tmp_path / "results.csv").read_bytes()
    results.append(tmp_path, RUNS[2])
    results.consolidate(tmp_path)
    (tmp_path / "results.csv").write_bytes(old_rows)
    assert_same(results.load(tmp_path), RUNS[1:3])


@pytest.mark.parametrize("damage", ["absent", "torn", "binary", "emptied"])
@pytest.mark.parametrize("names", [["losses.npz"], ["results.csv"], ["losses.npz", "results.csv"]])
def test_summaries_that_runs_can_replace_stop_nobody(tmp_path, names, damage):
    for run in RUNS:
        results.append(tmp_path, run)
    results.consolidate(tmp_path)
    whole = {name: (tmp_path / name).read_bytes() for name in ("losses.npz", "results.csv")}
    for name in names:
        path = tmp_path / name
        match damage:
            case "absent":
                path.unlink()
            case "torn":
                path.write_bytes(whole[name][: len(whole[name]) // 2])
            case "binary":
                path.write_bytes(b"\xff\xfe\0" * 100)
            case "emptied":
                path.write_bytes(b"")
    assert results.done(tmp_path) == {run.key for run in RUNS}
    results.consolidate(tmp_path)
    assert whole == {name: (tmp_path / name).read_bytes() for name in whole}


@pytest.mark.parametrize("name", ["losses.npz", "results.csv"])
def test_a_run_that_only_a_damaged_summary_may_hold_is_not_dropped(tmp_path, name):
    for run in RUNS:
        results.append(tmp_path, run)
    results.consolidate(tmp_path)
    sorted((tmp_path / "runs").iterdir())[0].unlink()
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(errors.InputError, match=f"cannot read .* from .*{name}"):
        results.load(tmp_path)


@pytest.mark.parametrize(
    "labels, message",
    [
        ({"optimizee": "../../x"}, "optimizee label '../../x' cannot be stored"),
        ({"optimizee": "/abs"}, "optimizee label '/abs'"),
        ({"rule": "a\nb"}, "rule label"),
        ({"learning_rate": -1.0}, "no positive number"),
        ({"learning_rate": "fast"}, "no positive number"),
    ],
)
def test_labels_of_foreign_results_are_checked(tmp_path, labels, message):
    (tmp_path / "runs").mkdir()
    fields = {**make_run()._asdict(), "learning_rate": 0.1, **labels}
    np.savez(tmp_path / "runs" / "x.npz", **fields)
    with pytest.raises(errors.InputError, match=message) as caught:
        results.load(tmp_path)
    assert "\n" not in str(caught.value)


def test_losses_that_unpack_to_far_more_are_refused_unread(tmp_path, monkeypatch):
    (tmp_path / "runs").mkdir()
    fields = {**make_run()._asdict(), "losses": np.zeros(2000, np.float32)}
    del fields["learning_rate"]
    np.savez_compressed(tmp_path / "runs" / "x.npz", **fields)
    monkeypatch.setattr(results, "MAX_STEPS", 1999)
    monkeypatch.setattr(np, "load", None)
    with pytest.raises(errors.InputError, match=r"losses of x are float32 \[2000\], not float32"):
        results.load(tmp_path)


@pytest.mark.parametrize("name", ["a" * 300, "a\0b", "x/" * 3000])
def test_names_that_the_system_refuses(name):
    with pytest.raises(errors.InputError, match="no results in|cannot"):
        results.load(name)


def test_no_results(tmp_path):
    assert results.done(tmp_path / "not there yet") == set()
    assert not results.holds_results(tmp_path)
    with pytest.raises(errors.InputError, match="no results in"):
        results.load(tmp_path)


@pytest.mark.parametrize(
    "run, message",
    [
        (make_run(rule="a|b"), "rule label 'a|b' cannot be stored"),
        (make_run(rule=""), "rule label '' cannot"),
        (make_run(optimizee="a\nb"), "optimizee label"),
        (make_run(optimizee="../a"), "optimizee label '../a' cannot be stored: it is no file name"),
        (make_run(optimizee="/abs"), "no file name"),
        (make_run(optimizee=".."), "no file name"),
        (make_run(rule="x" * 300), "too long"),
        (make_run(losses=np.zeros([2, 3])), r"shape \[2, 3\]"),
        (make_run(losses=np.zeros([0])), r"shape \[0\]"),
    ],
)
def test_runs_that_cannot_be_stored(tmp_path, run, message):
    with pytest.raises(errors.InputError, match=message) as caught:
        results.append(tmp_path, run)
    assert "\n" not in str(caught.value)
    assert results.done(tmp_path) == set()


def test_unwritable_directory(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(errors.InputError, match="cannot write"):
        results.append(tmp_path / "file", RUNS[0])


def _consolidated(tmp_path) -> None:
    for run in RUNS[:3]:
        results.append(tmp_path, run)
    results.consolidate(tmp_path)
    for path in (tmp_path / "runs").iterdir():
        path.unlink()


@pytest.mark.parametrize("name", ["losses.npz", "results.csv"])
def test_half_of_the_consolidated_pair(tmp_path, name):
    _consolidated(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(errors.InputError, match=f"cannot read .* from .*{name}"):
        results.load(tmp_path)


@pytest.mark.parametrize(
    "edit, message",
    [
        (lambda text: text.replace("mlp,mnist,test,0", "mlp,mnist,test,x"), "invalid literal"),
        (lambda text: text.replace("mlp,mnist,test,0", "mlp,mnist,test,00"), "dm.mlp.0"),
        (lambda text: text.replace("rule,", "name,", 1), "rule"),
        (lambda text: "\n".join(text.splitlines()[:-1]) + "\n", "results.csv lacks dm.mlp.1"),
        (lambda text: text + "dm,mlp,mnist,test,9,250,,1,,\n", "losses.npz lacks dm.mlp.9"),
        (lambda text: text + "dm\n", "cannot read"),
        (lambda text: text + '"open quote\n', "cannot read"),
    ],
)
def test_edited_table(tmp_path, edit, message):
    _consolidated(tmp_path)
    path = tmp_path / "results.csv"
    path.write_text(edit(path.read_text()))
    with pytest.raises(errors.InputError, match=message) as caught:
        results.load(tmp_path)
    assert "\n" not in str(caught.value)


class Trap:
    """Raises where it is unpickled."""

    def __reduce__(self):
        return (pytest.fail, ("a pickle was executed",))


@pytest.mark.parametrize(
    "content",
    [
        {"losses": np.zeros(3, np.float32)},
        {**make_run()._asdict(), "extra": 1},
        {**make_run()._asdict(), "losses": np.zeros(3)},
        {**make_run()._asdict(), "losses": np.zeros([3, 1], np.float32)},
        {**make_run()._asdict(), "seed": "one"},
        {**make_run()._asdict(), "rule": 7},
        {**make_run()._asdict(), "rule": np.array(["a", "b"])},
        {**make_run()._asdict(), "rule": np.array(Trap(), object)},
    ],
)
def test_foreign_npz_among_the_runs(tmp_path, content):
    (tmp_path / "runs").mkdir()
    np.savez(tmp_path / "runs" / "x.npz", **content)
    with pytest.raises(errors.InputError) as caught:
        results.load(tmp_path)
    assert "\n" not in str(caught.value) and "x.npz" in str(caught.value)


def test_pickle_in_place_of_losses_is_not_executed(tmp_path):
    _consolidated(tmp_path)
    (tmp_path / "losses.npz").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(errors.InputError, match="cannot read arrays"):
        results.load(tmp_path)


@pytest.mark.parametrize("name", ["losses.npz", "runs"])
def test_damaged_files_give_one_line_or_the_same_numbers(tmp_path, name):
    if name == "runs":
        results.append(tmp_path, RUNS[2])
        (path,), expected = (tmp_path / "runs").iterdir(), RUNS[2:3]
    else:
        _consolidated(tmp_path)
        path, expected = tmp_path / name, RUNS[:3]
    good, rng, refused = path.read_bytes(), np.random.default_rng(0), 0
    for trial in range(200):
        bad = bytearray(good)
        if trial % 2:
            del bad[rng.integers(len(bad)) :]
        else:
            bad[rng.integers(len(bad))] ^= 1 << rng.integers(8)
        path.write_bytes(bad)
        try:
            assert_same(results.load(tmp_path), expected)
        except errors.InputError as error:
            assert "\n" not in str(error) and str(path) in str(error)
            refused += 1
    assert refused >= 150
