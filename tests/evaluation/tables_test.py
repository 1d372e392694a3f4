"""Tables of losses against numbers worked out by hand."""

import math

import numpy as np

from l2o_tf.evaluation import results, tables


def _runs(rule: str, values, **labels) -> list[results.Run]:
    labels = {"optimizee": "mlp", "dataset": "mnist", "split": "test"} | labels
    return [
        results.Run(rule=rule, seed=seed, losses=np.full(1000, value, np.float32), **labels)
        for seed, value in enumerate(values)
    ]


def test_table():
    runs = _runs("dm_cl_il", [1.0, math.e**2]) + _runs("tuned:adam", [math.e], optimizee="conv")
    runs[0].losses[500:] = np.nan
    runs[2].losses[400] = np.inf
    lines = tables.table(runs).splitlines()
    assert lines[0].split("  ")[0] == "optimizee"
    assert "ln(mean) @100  mean(ln) @100  ln(mean) @1000" in lines[0]
    conv, mlp = lines[2:4]
    assert conv.split() == ["conv", "tuned:adam", "1", "1", *["1.00"] * 4]
    early = ["1.00", "±", "1.41"] * 2  # Mean and sd of 0 and 2.
    assert mlp.split() == ["mlp", "dm_cl_il", "2", "1", *early, "2.00", "2.00"]
    assert lines[4:] == [
        "diverged: tuned:adam on conv, seed 0, at step 401",
        "diverged: dm_cl_il on mlp, seed 0, at step 501",
    ]
    assert "@10000" not in lines[0], "no column that no run reaches"
    ends = {line.index("100") + 3 for line in lines[:1]} | {conv.index("1.00") + 4}
    assert mlp.index("1.41") + 4 in ends, "columns are aligned on the right"


def test_the_table_of_runs_below_100_steps_is_over_all_their_steps():
    short = [run._replace(losses=run.losses[:60]) for run in _runs("dm", [1.0])]
    short[0].losses[30:] = math.e**2
    lines = tables.table(short).splitlines()
    assert lines[0].split("  ")[-2:] == ["ln(mean) @60", "mean(ln) @60"]
    assert lines[2].split()[-2:] == [f"{math.log((1 + math.e**2) / 2):.2f}", "1.00"]


def test_table_ends_with_the_last_whole_window():
    short = [run._replace(losses=run.losses[:570]) for run in _runs("dm", [1.0])]
    assert tables.table(short).splitlines()[0].split("  ")[-2:] == [
        "ln(mean) @500",
        "mean(ln) @500",
    ]


def test_table_of_runs_that_all_diverged_at_once():
    runs = _runs("dm", [np.nan, np.nan])
    assert tables.table(runs).splitlines()[2].split()[3:6] == ["2", "diverged", "diverged"]
