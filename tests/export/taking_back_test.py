"""Results of a bundle of trainings become run directories, and never over those of other runs."""

import functools
import json
import zipfile

import numpy as np
import pytest

from l2o_tf import artifacts
from l2o_tf.core import errors, files
from l2o_tf.export import bundle, trainings
from l2o_tf.run import build, config

LOSSES = (3.0, 1.0, 2.0, 0.5)  # Of validations, one after each epoch.


def run_of(seed):
    options = '{"units": [2]}'
    return config.TrainConfig(rule="dm", rule_options=options, dataset="digits", seed=seed)


@functools.cache
def shapes():
    return {name: w.shape for name, w in build.fresh_rule(run_of(0)).weights().items()}


def weights_of(seed, epoch):
    """Weights that say whose they are."""
    return {n: np.full(shape, 100 * seed + epoch, np.float32) for n, shape in shapes().items()}


def write_results(directory, lanes, folder="lane_{:03d}", recipe="recipe"):
    """What run_bundle.py leaves of lanes, by number their seed and how many epochs are done."""
    directory.mkdir()
    what = bundle.identity("train", recipe, {})
    with zipfile.ZipFile(directory / "results_0.zip", "w") as archive:
        for index, (seed, num_epochs) in lanes.items():
            name = folder.format(index)
            losses = LOSSES[:num_epochs]
            best = 1 + int(np.argmin(losses)) if losses else None
            about = {
                "what": what,
                "config": run_of(seed).identity(),
                "num_events": 2 * num_epochs,
                "cards": {"0": {"epoch": best, "stage": 0}} if losses else {},
            }
            lines = ["event,kind", *(f"{1 + i},of {seed}" for i in range(2 * num_epochs))]
            archive.writestr(f"{name}/metrics.csv", "\n".join([*lines, ""]))
            archive.writestr(f"{name}/lane.json", json.dumps(about))
            for epoch in range(1, num_epochs + 1):
                with archive.open(f"{name}/snapshot_{epoch}.npz", "w") as file:
                    np.savez(file, **weights_of(seed, epoch))
    return directory


def contents(directory):
    """All files by their path."""
    paths = (path for path in directory.rglob("*") if path.is_file())
    return {str(path.relative_to(directory)): path.read_bytes() for path in paths}


def assert_run(run, seed, num_epochs, best):
    assert files.read_json(run / "config.json")["seed"] == seed
    assert (run / "metrics.csv").read_text().count(f"of {seed}") == 2 * num_epochs
    snapshots = sorted(path.name for path in (run / "snapshots").iterdir())
    assert snapshots == [f"epoch_{epoch:06d}.npz" for epoch in range(1, num_epochs + 1)]
    for path in (run, run / "stages" / "stage_0"):
        assert files.read_json(path / "rule.json")["epoch"] == best
        weights = artifacts.load_rule(path).weights()
        assert {float(x) for w in weights.values() for x in np.unique(w)} == {100 * seed + best}


def test_a_run_has_the_weights_of_its_best_epoch_and_grows_with_later_results(tmp_path):
    out = tmp_path / "runs"
    for num_epochs, best in ((1, 1), (3, 2), (4, 4)):
        results = write_results(tmp_path / f"results_{num_epochs}", {0: (1, num_epochs)})
        assert trainings.take_back(results, out) == [out / "lane_000"]
        assert_run(out / "lane_000", 1, num_epochs, best)
    before = contents(out)
    assert trainings.take_back(results, out) == [out / "lane_000"]
    assert contents(out) == before


def test_runs_of_another_bundle_are_not_written_over(tmp_path):
    out = tmp_path / "runs"
    trainings.take_back(write_results(tmp_path / "a", {1: (1, 4)}), out)
    before = contents(out)
    # Lane 0 alone would fit.
    other = write_results(tmp_path / "b", {0: (1, 2), 1: (2, 2)})
    with pytest.raises(errors.InputError, match="lane_001 holds another run, with seed 1, not 2"):
        trainings.take_back(other, out)
    assert contents(out) == before


def test_what_is_no_run_is_not_written_into(tmp_path):
    results, out = write_results(tmp_path / "a", {0: (1, 2)}), tmp_path / "runs"
    (out / "lane_000").mkdir(parents=True)
    (out / "lane_000" / "notes.txt").write_text("mine")
    with pytest.raises(errors.InputError, match="lane_000 exists and holds no run"):
        trainings.take_back(results, out)
    assert contents(out) == {"lane_000/notes.txt": b"mine"}
    (out / "lane_000" / "notes.txt").unlink()
    (out / "lane_000" / ".l2o-0.tmp").touch()  # Of a call that was killed.
    trainings.take_back(results, out)
    assert_run(out / "lane_000", 1, 2, 2)


def test_lanes_of_several_folders_come_together(tmp_path):
    out = tmp_path / "runs"
    first = write_results(tmp_path / "first", {0: (1, 4), 1: (2, 1), 2: (3, 0)})
    second = write_results(tmp_path / "second", {0: (1, 2), 1: (2, 3), 2: (3, 0)})
    assert trainings.take_back(first, out) == [out / "lane_000", out / "lane_001"]
    assert trainings.take_back(second, out) == [out / "lane_001"]
    assert_run(out / "lane_000", 1, 4, 4)
    assert_run(out / "lane_001", 2, 3, 2)
    assert not (out / "lane_002").exists()


def test_lanes_that_have_not_begun_are_refused(tmp_path):
    results = write_results(tmp_path / "a", {0: (1, 0)})
    with pytest.raises(errors.InputError, match="no lane with an epoch that is done"):
        trainings.take_back(results, tmp_path / "runs")


@pytest.mark.parametrize("folder", ["..", "a/../../lane_000", "/lane_000", "lane_x", "lane_0/.."])
def test_archives_do_not_write_elsewhere(tmp_path, folder):
    results = write_results(tmp_path / "results", {0: (1, 2)}, folder)
    before = contents(tmp_path)
    with pytest.raises(errors.InputError, match="which is in no folder of a lane"):
        trainings.take_back(results, tmp_path / "some" / "runs")
    assert contents(tmp_path) == before


def test_results_of_several_bundles_are_refused(tmp_path):
    results = write_results(tmp_path / "a", {0: (1, 2)})
    other = write_results(tmp_path / "b", {1: (2, 2)}, recipe="other")
    (other / "results_0.zip").rename(results / "results_1.zip")
    with pytest.raises(errors.InputError, match="results of several bundles"):
        trainings.take_back(results, tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("about", [b"[]", b"{", b'{"what": 3}'])
def test_damaged_archives_are_one_line(tmp_path, about):
    with zipfile.ZipFile(tmp_path / "results_0.zip", "w") as archive:
        archive.writestr("lane_000/lane.json", about)
    with pytest.raises(errors.InputError, match="cannot read .*results_0.zip"):
        trainings.take_back(tmp_path, tmp_path / "runs")


@pytest.mark.parametrize("damaged", ["metrics.csv", "snapshot_2.npz"])
def test_damage_within_an_archive_is_found_before_anything_is_written(tmp_path, damaged):
    results, out = write_results(tmp_path / "a", {0: (1, 2)}), tmp_path / "runs"
    path = results / "results_0.zip"
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content, zipfile.ZIP_DEFLATED)
        start = archive.getinfo(f"lane_000/{damaged}").header_offset
    content = bytearray(path.read_bytes())
    content[start + 30 + len(f"lane_000/{damaged}")] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(errors.InputError, match="cannot read .*results_0.zip: error: Error -3"):
        trainings.take_back(results, out)
    assert not out.exists()
