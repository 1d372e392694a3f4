"""Windows, seeds, tables and t quantiles against closed forms and published tables."""

import math

import numpy as np
import pytest

from l2o_tf.core import errors
from l2o_tf.evaluation import results, statistics


def test_windows_of_a_heavy_tailed_curve():
    losses = np.random.default_rng(0).lognormal(-3.0, 2.0, size=[2, 257]).astype(np.float32)
    log_of_mean, mean_of_log = statistics.log_of_mean(losses), statistics.mean_of_log(losses)
    assert log_of_mean.shape == mean_of_log.shape == (2, 2)
    for row in range(2):
        for index in range(2):
            part = [float(loss) for loss in losses[row, 100 * index : 100 * index + 100]]
            log = math.log(math.fsum(part) / 100)
            assert log_of_mean[row, index] == pytest.approx(log, abs=1e-12)
            mean = math.fsum(math.log(loss) for loss in part) / 100
            assert mean_of_log[row, index] == pytest.approx(mean, abs=1e-12)
    # The lognormal's gap is sigma^2 / 2 = 2: the reason why both are reported.
    assert (log_of_mean - mean_of_log > 0.8).all()
    np.testing.assert_array_equal(statistics.window_ends(257), [100, 200])
    assert statistics.mean_of_log(losses[0, :99]).shape == (0,)


def test_zero_negative_and_not_finite_losses():
    ones = np.ones(100, np.float32)
    cases = {"zero": 0.0, "negative": -1.0, "nan": np.nan, "inf": np.inf, "tiny": 1e-30}
    curves = {name: np.where(np.arange(100) == 7, value, ones) for name, value in cases.items()}
    means = {name: statistics.mean_of_log(curve)[0] for name, curve in curves.items()}
    assert means["zero"] == pytest.approx(math.log(1e-10) / 100)
    assert means["tiny"] == pytest.approx(math.log(1e-30) / 100)
    assert np.isnan([means["negative"], means["nan"], means["inf"]]).all()
    logs = {name: statistics.log_of_mean(curve)[0] for name, curve in curves.items()}
    assert logs["zero"] == pytest.approx(math.log(0.99))
    assert logs["negative"] == pytest.approx(math.log(0.98))
    assert np.isnan([logs["nan"], logs["inf"]]).all()
    assert statistics.log_of_mean(np.zeros(100))[0] == pytest.approx(math.log(1e-10))
    # Only its own window is lost.
    assert statistics.mean_of_log(np.append(curves["nan"], ones))[1] == 0.0


def test_large_losses_do_not_overflow():
    losses = np.full(100, np.finfo(np.float32).max)
    assert statistics.log_of_mean(losses)[0] == pytest.approx(88.7228, abs=1e-4)


def test_over_seeds_with_missing_and_short_seeds():
    values = [np.array([1.0, 2.0, 3.0]), np.array([3.0, np.nan]), np.array([8.0, 6.0])]
    mean, sd, count = statistics.over_seeds(values)
    np.testing.assert_allclose(mean, [4.0, 4.0, 3.0], rtol=1e-15)
    np.testing.assert_allclose(sd, [math.sqrt(13.0), math.sqrt(8.0), np.nan], rtol=1e-15)
    np.testing.assert_array_equal(count, [3, 2, 1])
    empty = statistics.over_seeds([np.array([np.nan])])
    assert np.isnan(empty.mean[0]) and np.isnan(empty.sd[0]) and empty.count[0] == 0


def test_t_quantiles_against_tables():
    # Two-sided 5 % points of the usual tables (Abramowitz and Stegun, table 26.10).
    table = {1: 12.706205, 2: 4.302653, 4: 2.776445, 9: 2.262157, 18: 2.100922, 120: 1.979930}
    df = np.array(list(table))
    np.testing.assert_allclose(statistics.t_quantile(0.975, df), list(table.values()), atol=5e-7)


def test_t_quantiles_against_closed_forms():
    probability = np.array([0.5, 0.6, 0.9, 0.975, 0.99975, 0.999999])
    # df = 1 is Cauchy; df = 2 has the quantile 2 (p - 1/2) sqrt(2 / (4 p (1 - p))).
    cauchy = np.tan(np.pi * (probability - 0.5))
    np.testing.assert_allclose(statistics.t_quantile(probability, 1), cauchy, rtol=1e-9, atol=1e-12)
    two = 2 * (probability - 0.5) * np.sqrt(2 / (4 * probability * (1 - probability)))
    np.testing.assert_allclose(statistics.t_quantile(probability, 2), two, rtol=1e-9, atol=1e-12)


def test_t_quantiles_of_any_degrees_of_freedom():
    # At probabilities .6, .975, .99975; computed once with SciPy 1.17.1.
    table = {
        1.01: [0.3242017016892878, 12.412738499102536, 1188.5388167166188],
        1.3: [0.3081832765664806, 7.500529325562029, 261.22368202465145],
        3.5: [0.27326545405577973, 2.9400886379827282, 12.495431920628507],
        37.7: [0.25514229929992244, 2.0249233178098573, 3.8087064732709983],
        1e4: [0.253353843445727, 1.960201239890626, 3.481898052795398],
        1e5: [0.25334777715718015, 1.9599877075346095, 3.4808705388098304],
    }
    df = np.array(list(table))[:, None]
    quantiles = statistics.t_quantile(np.array([0.6, 0.975, 0.99975]), df)
    np.testing.assert_allclose(quantiles, list(table.values()), rtol=1e-9)
    np.testing.assert_array_equal(np.isnan(statistics.t_quantile(0.975, [np.nan, 3.0])), [1, 0])


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
    lines = statistics.table(runs).splitlines()
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
    lines = statistics.table(short).splitlines()
    assert lines[0].split("  ")[-2:] == ["ln(mean) @60", "mean(ln) @60"]
    assert lines[2].split()[-2:] == [f"{math.log((1 + math.e**2) / 2):.2f}", "1.00"]


def test_table_ends_with_the_last_whole_window():
    short = [run._replace(losses=run.losses[:570]) for run in _runs("dm", [1.0])]
    assert statistics.table(short).splitlines()[0].split("  ")[-2:] == [
        "ln(mean) @500",
        "mean(ln) @500",
    ]


def test_table_of_runs_that_all_diverged_at_once():
    runs = _runs("dm", [np.nan, np.nan])
    assert statistics.table(runs).splitlines()[2].split()[3:6] == ["2", "diverged", "diverged"]


def test_runs_on_different_data_do_not_mix():
    runs = _runs("dm", [1.0]) + _runs("dm", [1.0], split="train")
    with pytest.raises(errors.InputError, match="mix the data mnist/test and mnist/train"):
        statistics.group(runs)
