"""A bundle that JAX runs gives the measurements that `select` gives."""

import json

import numpy as np
import pytest

from l2o_tf import artifacts, cli, rules
from l2o_tf.core import errors, files, seeds
from l2o_tf.evaluation import config, selecting
from l2o_tf.export import __main__ as command
from l2o_tf.export import selections

NUM_STEPS = 110


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two runs: one with two snapshots, one that is an exported rule, equal to one of them."""
    root = tmp_path_factory.mktemp("runs")
    drawn = [
        rules.create_learned("rnnprop", seeds.make_seed(s, "rule"), units=(5, 4)) for s in (0, 1)
    ]
    artifacts.save_rule(root / "many", drawn[0])
    for epoch, rule in zip((10, 20), drawn):
        files.write_arrays(root / f"many/snapshots/epoch_{epoch:06d}.npz", rule.weights())
    artifacts.save_rule(root / "single", drawn[1])
    return (str(root / "many"), str(root / "single"))


def flags(runs, workdir, **changes):
    given = {"runs": runs, "dataset": "digits", "num_steps": NUM_STEPS, "num_seeds": 2}
    return config.SelectConfig(**given | changes, rungs=(), workdir=str(workdir))


def scores(workdir):
    """What was measured, by file."""
    return {p.name: json.loads(p.read_text()) for p in (workdir / "scores").glob("*.json")}


@pytest.mark.slow
def test_measurements_are_those_of_select(tmp_path, runs):
    pytest.importorskip("jax")
    from tests.export.running import run_bundle

    expected = flags(runs, tmp_path / "expected")
    assert selections.write(str(tmp_path / "bundle"), expected, (2,)) == 2 * 2 * 2
    run_bundle(tmp_path / "bundle", f"--out={tmp_path / 'results'}")
    found = flags(runs, tmp_path / "found")
    assert selections.take_back(str(tmp_path / "results"), found.workdir) == list(runs)
    selecting.select(expected, lambda text: None, lambda: None)
    measured, by_select = scores(tmp_path / "found"), scores(tmp_path / "expected")
    assert measured.keys() == by_select.keys()
    for name, one in by_select.items():
        np.testing.assert_allclose(measured[name].pop("score"), one.pop("score"), rtol=1e-4)
        windows = measured[name].pop("ln_losses"), one.pop("ln_losses")
        np.testing.assert_allclose(*map(list, map(dict.values, windows)), rtol=1e-4)
        assert measured[name] == one
    # Nothing is left to measure.
    told = []
    selecting.select(found, told.append, lambda: None)
    assert not any("measurements" in text for text in told)
    winners = [files.read_json(tmp_path / name / "rule.json") for name in ("found", "expected")]
    assert winners[0]["epoch"] == winners[1]["epoch"]


def test_optimizees_without_images_are_refused(tmp_path, runs):
    given = flags(runs, tmp_path, dataset=None, optimizees=("quadratic",))
    with pytest.raises(errors.InputError, match="quadratic cannot run in lanes"):
        selections.write(str(tmp_path), given, (2,))


def test_test_images_are_not_selected_on():
    given = ["export", "--what=select", "--out=bundle", "--runs=a,b"]
    assert cli.parse(command.ExportConfig, given).selection().split is None
    asked = cli.parse(command.ExportConfig, [*given, "--split=train[:50]"])
    assert asked.selection().split == "train[:50]"
    with pytest.raises(errors.InputError, match="--split=test: results are reported on"):
        cli.parse(command.ExportConfig, [*given, "--split=test"])
    with pytest.raises(errors.InputError, match="--runs=RUN,... is needed"):
        cli.parse(command.ExportConfig, given[:-1])
    with pytest.raises(errors.InputError, match="--runs is for --what=select"):
        cli.parse(command.ExportConfig, ["export", "--lanes=x", "--out=bundle", "--runs=a"])
