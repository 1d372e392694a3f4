"""A bundle that JAX runs gives the run directories that training gives."""

import csv
import dataclasses
import pathlib
import shutil

import numpy as np
import pytest

from l2o_tf.core import errors, files
from l2o_tf.export import __main__ as command
from l2o_tf.export import trainings
from l2o_tf.run import config, session
from tests.export.running import run_bundle

SHARED = "--rule=dm --dataset=digits --batch_size=16 --unroll_length=4 --validation_epochs=2"
CURRICULUM = (
    "--curriculum --curriculum_steps=8,12 --validation_steps=12,16 --imitation_r=0.5 "
    "--weight_average=0.9 --period_epochs=2 --min_periods=2 --max_train_steps=150 --seeds=0,1"
)
PLAIN = "--num_epochs=6 --num_steps=8 --period_epochs=3 --imitation_r=0.3 --seed=2"


def write_lanes(path, *lines):
    path.write_text("\n".join(["# lanes", "", *lines]))
    return str(path)


def read_metrics(run):
    with open(run / "metrics.csv", newline="") as file:
        return list(csv.DictReader(file))


def assert_same_run(run, expected):
    found, reference = read_metrics(run), read_metrics(expected)
    assert len(found) == len(reference)
    for row, other in zip(found, reference):
        for name, value in other.items():
            if name in ("loss", "last_loss", "gradient_norm") and value:
                np.testing.assert_allclose(float(row[name]), float(value), rtol=2e-5)
            else:
                assert row[name] == value
    recorded = files.read_json(expected / "config.json")
    del recorded["threads"]  # Which a device has not.
    assert files.read_json(run / "config.json") == recorded
    for path in expected.glob("**/rule.npz"):
        with np.load(path) as arrays, np.load(run / path.relative_to(expected)) as others:
            for name in arrays.files:
                np.testing.assert_allclose(others[name], arrays[name], atol=2e-5)


@pytest.mark.slow
def test_a_bundle_trains_like_single_runs(tmp_path):
    pytest.importorskip("jax")
    lanes = write_lanes(tmp_path / "lanes.txt", f"{SHARED} {CURRICULUM}", f"{SHARED} {PLAIN}")
    configs = command.read_lanes(lanes)
    # Three lanes in two slots: the last one waits for the first that is done.
    trainings.write(tmp_path / "bundle", configs, (2, 1), 3, num_blocks=2)
    first, later, second = tmp_path / "first", tmp_path / "later", tmp_path / "second"
    run_bundle(tmp_path / "bundle", f"--out={first}", "--advances=9")
    run_bundle(tmp_path / "bundle", f"--out={later}", f"--resume={first}", "--advances=40")
    for path in later.glob("results_*.zip"):  # As a kill before the next checkpoint leaves them.
        shutil.copy(path, first)
    run_bundle(tmp_path / "bundle", f"--out={second}", f"--resume={first}")
    runs = trainings.take_back(second, tmp_path / "runs")
    for run, run_config in zip(runs, configs, strict=True):
        expected = tmp_path / "expected" / run.name
        session.train(dataclasses.replace(run_config, workdir=str(expected)))
        assert_same_run(run, expected)


def test_a_line_gives_a_lane_for_each_seed(tmp_path):
    lanes = write_lanes(tmp_path / "lanes.txt", f"{SHARED} {CURRICULUM}", f"{SHARED} {PLAIN}")
    configs = command.read_lanes(lanes, "somewhere")
    assert [c.seed for c in configs] == [0, 1, 2]
    assert [c.curriculum for c in configs] == [True, True, False]
    assert {c.data_dir for c in configs} == {"somewhere"}


@pytest.mark.parametrize("seeds", ["--seeds=3,4", "--seeds 3,4", "-seeds=3,4", "--flagfile={}"])
def test_seeds_are_recognized_however_they_are_written(tmp_path, seeds):
    (tmp_path / "seeds.flags").write_text("--seeds=3,4\n")
    words = seeds.format(tmp_path / "seeds.flags")
    lanes = write_lanes(tmp_path / "lanes.txt", f"{SHARED} {words} --jobs=2", f"{SHARED} {PLAIN}")
    configs = command.read_lanes(lanes)
    assert [(c.seed, c.seeds, c.jobs) for c in configs] == [(3, (), 1), (4, (), 1), (2, (), 1)]
    assert [c.batch_size for c in configs] == [16, 16, 16]


@pytest.mark.parametrize(
    "lines, message",
    [
        ([], "has no lane"),
        (["--seed=1 --seeds=2,3"], "line 3: --seed cannot be combined with --seeds"),
        (["--num_steps=33"], "line 3: --num_steps=33"),
    ],
)
def test_wrong_lanes_are_one_line(tmp_path, lines, message):
    with pytest.raises(errors.InputError, match=message):
        command.read_lanes(write_lanes(tmp_path / "lanes.txt", *lines))


@pytest.mark.parametrize(
    "flags, message",
    [
        ({"batch_size": 64}, "all lanes must have the same --batch_size; lane 1 has 64"),
        ({"second_derivatives": True}, "lane 1 has --second_derivatives=True"),
    ],
)
def test_lanes_that_do_not_fit_are_refused(flags, message):
    configs = [config.TrainConfig(), config.TrainConfig(**flags)]
    with pytest.raises(errors.InputError, match=message):
        trainings.check(configs)


def test_lanes_scale_coordinates_only():
    scaled = config.TrainConfig(random_scaling=1.0, scaling_level="mixed")
    with pytest.raises(errors.InputError, match="lane 0 has --scaling_level=mixed; lanes cannot"):
        trainings.check([scaled])
    trainings.check([config.TrainConfig(random_scaling=1.0)])


def test_rules_are_made_as_train_makes_them(tmp_path):
    wrong = config.TrainConfig(rule_options='{"units": [100000]}', dataset="digits")
    with pytest.raises(errors.InputError, match="ask for 40,001,300,001 weights"):
        trainings.write(str(tmp_path), [wrong], (1,), 1)
    assert not list(tmp_path.iterdir())


def test_a_folder_without_results_is_refused(tmp_path):
    with pytest.raises(errors.InputError, match="no results_"):
        trainings.take_back(pathlib.Path(tmp_path), tmp_path / "runs")
