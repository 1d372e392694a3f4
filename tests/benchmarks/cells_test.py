"""Ours beside the authors' and the published, cell by cell."""

import pathlib

import numpy as np
import pytest

from l2o_tf.benchmarks import cells
from l2o_tf.core import errors
from l2o_tf.evaluation import results, statistics

RESULTS = pathlib.Path(__file__).parents[2] / "data" / "results"


def run(label, optimizee, seed, *logs):
    """A run whose 100-step windows have these mean ln losses."""
    losses = np.exp(np.repeat(np.array(logs, np.float64), 100)).astype(np.float32)
    return results.Run(label, optimizee, "mnist", "test", seed, losses)


def test_the_last_window_counts_and_seeds_are_averaged():
    runs = [run("dm", "mlp", 0, 3, -1), run("dm", "mlp", 1, 3, -3), run("dm", "mlp_relu", 0, -0.04)]
    found = cells.ends(runs)
    assert found["dm", "mlp"] == pytest.approx((-2, np.sqrt(2), 2), rel=1e-6)
    assert str(found["dm", "mlp"]) == "-2.0 ± 1.4 (2)"
    assert str(found["dm", "mlp_relu"]) == "0.0 (1)"


def test_ln_of_the_mean_is_what_the_worst_losses_have():
    run = results.Run("dm", "mlp", "mnist", "test", 0, np.float32([9.0] * 100 + [1e-9, 1.0] * 50))
    found = cells.ends([run], statistics.log_of_mean)
    assert found["dm", "mlp"].mean == pytest.approx(np.log(0.5), rel=1e-6)
    assert cells.ends([run])["dm", "mlp"].mean == pytest.approx(np.log(1e-9) / 2, rel=1e-6)


def test_a_statistic_that_is_unknown_is_refused():
    with pytest.raises(errors.InputError, match="--statistic=mean must be mean_of_log or"):
        cells.CellsConfig(statistic="mean")


def test_the_paper_has_49_cells_but_that_in_doubt():
    systems = cells.systems()
    assert sum(len(system.published) for system in systems.values()) == 49
    assert "conv_cifar" not in systems["dm_cl"].published
    assert systems["dm_cl_il"].name == "L2O-DM-CL-IL"
    assert systems["dm_cl_il"].published["mlp"] == pytest.approx(-10.7, abs=0.1)


def test_cells_at_or_below_are_counted():
    # Published are -0.1 and 1.4; equal counts.
    bound = cells.systems()["dm"].published
    runs = [run("dm", "mlp", 0, bound["mlp"]), run("dm", "mlp_relu", 0, bound["mlp_relu"] + 0.2)]
    authors = [run("dm", "mlp", 0, bound["mlp"] - 1), run("dm", "mlp_relu", 0, 9)]
    lines = cells.table(cells.ends(runs), cells.ends(authors)).splitlines()
    assert "| L2O-DM | ours | -0.1 (1) | 1.6 (1) |  |  |  |" in lines
    assert lines[-2:] == [
        "At or below the published curve: 1 of 2 measured cells, of 49.",
        "At or below the authors' weights: 1 of 2 measured cells, of 2.",
    ]


def test_the_readme_has_the_table_of_the_committed_results():
    ours, authors = (
        cells.ends(results.load(RESULTS / name)) for name in ("trained", "legacy_weights")
    )
    readme = (RESULTS / "README.md").read_text()
    for line in cells.table(ours, authors).splitlines():
        assert line in readme
