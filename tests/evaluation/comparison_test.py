"""Intervals, significance and verdicts against closed forms and simulation."""

import math

import numpy as np
import pytest

from l2o_tf.core import errors
from l2o_tf.evaluation import comparison, sources


def make(values, name="x", runs_per_row=1, num_diverged=0, steps=None):
    values = np.array(values, float)
    steps = 100 * np.arange(1, values.shape[1] + 1) if steps is None else np.array(steps)
    return sources.Source(name, steps, values, runs_per_row, num_diverged, ())


def column(*numbers):
    return make([[number] for number in numbers])


def test_welch_interval():
    # Equal sizes and variances: standard error sqrt(2/3), 4 degrees of freedom.
    compared = comparison.compare(column(1, 2, 3), column(2, 3, 4))
    assert compared.difference[0] == -1
    assert compared.half_width[0] == pytest.approx(2.776445105 * math.sqrt(2 / 3), rel=1e-8)
    # No spread on one side: only the other's degrees of freedom, 1, count.
    compared = comparison.compare(column(0, 2), column(0, 0, 0, 0))
    assert compared.half_width[0] == pytest.approx(12.706204736, rel=1e-8)
    # Unequal everything: 4.155806 degrees of freedom; SciPy's ttest_ind(equal_var=False).
    compared = comparison.compare(column(1, 2, 4), column(2, 5, 7, 11))
    low, high = (compared.difference + sign * compared.half_width for sign in (-1, 1))
    assert (low[0], high[0]) == pytest.approx((-9.616398090189774, 1.7830647568564406), rel=1e-9)


def test_a_single_run_borrows_the_spread_of_the_other_side():
    compared = comparison.compare(column(1, 2, 3), column(5))
    # s = 1 of three runs; t of 2 degrees of freedom.
    assert compared.half_width[0] == pytest.approx(4.302652730 * math.sqrt(1 / 3 + 1), rel=1e-8)
    mirrored = comparison.compare(column(5), column(1, 2, 3))
    assert mirrored.half_width[0] == compared.half_width[0]
    assert mirrored.difference[0] == -compared.difference[0] == 3
    published = make([[5.0]], runs_per_row=10, num_diverged=None)
    compared = comparison.compare(column(1, 2, 3), published)
    assert compared.half_width[0] == pytest.approx(4.302652730 * math.sqrt(1 / 3 + 0.1), rel=1e-8)


def test_one_run_on_each_side():
    a, b = make([[0.0, 1.0, 2.0]]), make([[0.0, 1.0, 2.4]])
    compared = comparison.compare(a, b, tolerance=0.3)
    assert np.isnan(compared.half_width).all() and compared.first_difference is None
    assert compared.reasons == (
        "1 of 3 windows differ by more than 0.3, the first at step 300 by -0.400",
    )
    assert comparison.compare(a, b, tolerance=0.5).agrees
    assert comparison.compare(a, a, tolerance=0.0).agrees
    assert "no intervals" in comparison.report([compared], 0.3)


def test_identical_runs_agree_with_tolerance_zero():
    values = np.random.default_rng(0).normal(size=[3, 20])
    compared = comparison.compare(make(values), make(values), tolerance=0.0)
    assert compared.agrees and compared.overall == 0 and not compared.significant.any()
    constant = make(np.ones([3, 4]))
    assert comparison.compare(constant, constant, 0.0).agrees
    shifted = comparison.compare(constant, make(np.ones([3, 4]) + 1e-9), tolerance=0.0)
    assert not shifted.agrees and shifted.first_difference == 100


def test_the_first_difference_is_where_the_curves_part():
    rng = np.random.default_rng(1)
    values = rng.normal(scale=0.1, size=[2, 10, 60])
    values[1, :, 41:] += 1.0
    compared = comparison.compare(make(values[0]), make(values[1]), tolerance=0.5)
    assert compared.first_difference == 4200
    assert compared.significant.sum() == 19
    # 19 of 60 windows by 1: a third over all windows, so the windows alone decide.
    assert len(compared.reasons) == 1 and "first at step 4200 by -" in compared.reasons[0]


def test_equal_results_rarely_show_any_significant_window():
    rng = np.random.default_rng(2)
    pointwise = found = 0
    for _ in range(100):
        a, b = (make(rng.normal(size=[5, 20])) for _ in range(2))
        compared = comparison.compare(a, b)
        pointwise += (np.abs(compared.difference) > compared.half_width).mean()
        found += compared.significant.any()
    assert 0.03 < pointwise / 100 < 0.06, "95 % intervals miss about 5 % of the time"
    assert found / 100 < 0.05 + 2 * math.sqrt(0.05 * 0.95 / 100)
    assert found > 0, "the simulation can find something"


def test_the_overall_difference_gates_what_no_single_window_shows():
    # Too noisy for any window, but always on the same side.
    noise = np.random.default_rng(3).normal(size=[3, 50])
    compared = comparison.compare(make(noise), make(noise[::-1] + 0.6), tolerance=0.5)
    assert not compared.significant.any()
    assert compared.overall == pytest.approx(-0.6)
    assert compared.reasons == ("the difference over all windows, -0.600, exceeds 0.5",)


def test_overall_interval_is_over_seed_means():
    a = make([[0.0, 2.0], [2.0, 2.0], [2.0, 4.0]])  # Means 1, 2, 3.
    b = make([[2.0, 2.0], [0.0, 6.0], [4.0, 4.0]])  # Means 2, 3, 4.
    compared = comparison.compare(a, b)
    assert compared.overall == -1
    assert compared.overall_half_width == pytest.approx(2.776445105 * math.sqrt(2 / 3), rel=1e-8)


def test_divergence():
    finite = np.zeros([2, 3])
    half = np.array([[0.0, 0.0, 0.0], [0.0, np.nan, np.nan]])
    compared = comparison.compare(make(half, num_diverged=1), make(finite))
    assert compared.reasons == ("1 of 2 runs diverge against 0 of 2",)
    assert comparison.compare(make(half, num_diverged=1), make(half, num_diverged=1)).agrees
    every = np.array([[0.0, 0.0, np.nan]] * 2)
    later = np.array([[0.0, np.nan, np.nan]] * 2)
    compared = comparison.compare(make(every, num_diverged=2), make(later, num_diverged=2))
    assert compared.reasons == ("from step 200 only one side has a finite loss",)
    # A gap in a published curve is not a divergence.
    published = make([[0.0, np.nan, 0.0]], runs_per_row=10, num_diverged=None)
    compared = comparison.compare(make(finite), published)
    assert compared.agrees
    np.testing.assert_array_equal(compared.a.steps, [100, 300])


def test_common_windows_only():
    compared = comparison.compare(
        make([[1.0, 2.0, 3.0, 4.0]]), make([[3.0, 9.0]], steps=[300, 500])
    )
    np.testing.assert_array_equal(compared.a.steps, [300])
    assert compared.difference.tolist() == [0.0]
    with pytest.raises(errors.InputError, match="no window in which both"):
        comparison.compare(make([[1.0]]), make([[1.0]], steps=[200]))
    with pytest.raises(errors.InputError, match="no window in which both"):
        comparison.compare(make([[np.nan]]), make([[np.nan]]))


@pytest.mark.parametrize("tolerance", [-0.1, math.nan])
def test_bad_tolerance(tolerance):
    with pytest.raises(errors.InputError, match="tolerance"):
        comparison.compare(column(1), column(1), tolerance)


def test_pairs():
    one, two = column(1), column(2)
    assert comparison.pair({("a", "m"): one}, {("", "record"): two}) == [(one, two)]
    many = {("a", "m"): one, ("b", "m"): two}
    assert comparison.pair(many, {("b", "m"): one, ("c", "m"): two}) == [(two, one)]
    with pytest.raises(errors.InputError, match="no series is in both"):
        comparison.pair(many, {("", "record"): one})


def test_report_and_csv(tmp_path):
    a, b = make([[0.0, 1.0], [2.0, 1.0]], "mine"), make([[5.0, 1.0], [7.0, 1.5]], "theirs")
    compared = [comparison.compare(a, b, 0.3)]
    text = comparison.report(compared, 0.3)
    lines = [line.split() for line in text.splitlines()]
    assert lines[0] == ["A:", "mine", "(2", "runs)"]
    half = 4.302652730 * math.sqrt(2)
    interval = [f"[{-5 - half:+.3f},", f"{-5 + half:+.3f}]"]
    assert lines[3] == ["100", "1.000", "6.000", "-5.000", *interval]
    assert "DIFFER: the difference over all windows" in text
    assert text.endswith("The results differ in 1 of 1 series (tolerance 0.3 in ln loss).\n")
    # Equal means of two runs each, far apart: nothing is shown either way.
    vague = comparison.report([comparison.compare(column(0, 9), column(9, 0), 0.3)], 0.3)
    assert "Agree within the tolerance, but that says little" in vague
    comparison.write_csv(compared, tmp_path / "x.csv")
    header, first, _ = (tmp_path / "x.csv").read_text().splitlines()
    assert header == "a,b,step,ln_a,ln_b,difference,low,high,significant"
    assert first == f"mine,theirs,100,1,6,-5,{-5 - half:.6g},{-5 + half:.6g},0"
    assert comparison.file_stem(compared[0], 3) == "03_mine"
