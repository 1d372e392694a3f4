"""Intervals, significance and verdicts against closed forms and simulation."""

import math

import numpy as np
import pytest
from scipy import stats

from l2o_tf.core import errors
from l2o_tf.evaluation import comparison, comparison_report, sources
from l2o_tf.evaluation.comparison import Verdict


def make(values, name="x", runs_per_row=1, diverged_at=None, steps=None):
    values = np.array(values, float)
    steps = 100 * np.arange(1, values.shape[1] + 1) if steps is None else np.array(steps)
    if runs_per_row == 1:
        never = np.full(len(values), np.inf)
        diverged_at = never if diverged_at is None else np.array(diverged_at, float)
    return sources.Source(name, steps, values, runs_per_row, diverged_at, ())


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
    published = make([[5.0]], runs_per_row=10)
    compared = comparison.compare(column(1, 2, 3), published)
    assert compared.half_width[0] == pytest.approx(4.302652730 * math.sqrt(1 / 3 + 0.1), rel=1e-8)


def test_one_run_on_each_side_is_undecided_unless_they_are_equal():
    a, b = make([[0.0, 1.0, 2.0]]), make([[0.0, 1.0, 9.0]])
    compared = comparison.compare(a, b, tolerance=0.3)
    assert np.isnan(compared.half_width).all() and compared.first_difference is None
    assert (compared.verdict, compared.seeds) == (Verdict.UNDECIDED, None)
    assert compared.reasons == ("neither side has two runs, so that there is no interval",)
    assert comparison.compare(a, a, tolerance=0.0).verdict is Verdict.AGREE


def test_identical_runs_agree_with_tolerance_zero():
    values = np.random.default_rng(0).normal(size=[3, 20])
    compared = comparison.compare(make(values), make(values), tolerance=0.0)
    assert compared.verdict is Verdict.AGREE
    assert compared.overall == 0 and not compared.significant.any()
    constant = make(np.ones([3, 4]))
    assert comparison.compare(constant, constant, 0.0).verdict is Verdict.AGREE
    shifted = comparison.compare(constant, make(np.ones([3, 4]) + 1e-9), tolerance=0.0)
    assert shifted.verdict is Verdict.DIFFER and shifted.first_difference == 100


@pytest.mark.parametrize(
    "shift, tolerance, verdict",
    [
        (1e-6, 2.5, Verdict.AGREE),  # The half width is 2.27: inside the tolerance.
        (1e-6, 2.0, Verdict.UNDECIDED),
        (0.3, 2.5, Verdict.UNDECIDED),  # 0.3 + 2.27 is beyond 2.5.
        (2.2, 2.0, Verdict.UNDECIDED),  # Beyond the tolerance, but the interval holds 0.
        (2.4, 2.0, Verdict.DIFFER),
        (2.4, 2.5, Verdict.UNDECIDED),  # Significant, but not known to be within.
    ],
)
def test_verdicts_by_the_interval(shift, tolerance, verdict):
    one, other = column(1, 2, 3), column(1 - shift, 2 - shift, 3 - shift)
    compared = comparison.compare(one, other, tolerance)
    assert compared.overall_half_width == pytest.approx(2.776445105 * math.sqrt(2 / 3), rel=1e-8)
    assert compared.verdict is verdict
    assert (verdict is Verdict.AGREE) == (compared.reasons == ())


def test_the_seeds_that_would_decide():
    # s = 1 on both sides; SciPy's t quantiles: 2.10 sqrt(2 / 10) = 0.94, 2.07 sqrt(2 / 12) = 0.85.
    compared = comparison.compare(column(1, 2, 3), column(1, 2, 3.0 + 1e-9), tolerance=0.9)
    assert (compared.verdict, compared.seeds) == (Verdict.UNDECIDED, 11)
    # Beyond the tolerance, the interval has to leave 0: the same numbers for 0.9 and 0.
    compared = comparison.compare(column(1, 2, 3), column(0.1, 1.1, 2.1), tolerance=0.5)
    assert (compared.verdict, compared.seeds) == (Verdict.UNDECIDED, 11)
    # A published mean of ten: 2.012 sqrt(1 / 48 + 1 / 10) = 0.6993 < 0.7.
    published = make([[1.3]], runs_per_row=10)
    compared = comparison.compare(column(1, 2, 3), published, tolerance=0.5)
    assert compared.seeds == 48
    # No number of seeds here makes up for its own error of 0.316.
    compared = comparison.compare(column(1, 2, 3), make([[2.0]], runs_per_row=10), tolerance=0.5)
    assert (compared.verdict, compared.seeds) == (Verdict.UNDECIDED, None)


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


def test_windows_of_a_single_run_are_not_judged():
    rest = np.random.default_rng(4).normal(scale=0.1, size=[9, 50])
    one = np.zeros([1, 50])
    one[0, 7] = 5.0
    compared = comparison.compare(make(rest), make(one), tolerance=0.25)
    assert abs(compared.difference[7]) > 10 * compared.half_width[7]
    assert not compared.significant.any() and compared.verdict is Verdict.AGREE
    published = comparison.compare(make(rest), make(one, runs_per_row=10), tolerance=0.25)
    assert published.first_difference == 800 and published.verdict is Verdict.DIFFER


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


def test_divergence_by_fishers_exact_test():
    def half(num_runs, num_diverged):
        values = np.zeros([num_runs, 3])
        values[:num_diverged, 1:] = np.nan
        return make(values, diverged_at=[150] * num_diverged + [np.inf] * (num_runs - num_diverged))

    compared = comparison.compare(half(2, 1), half(2, 0))
    assert compared.verdict is Verdict.UNDECIDED
    assert compared.reasons == ("1 of 2 runs diverge against 0 of 2, which may be chance",)
    # 6 of 10 against 1 of 10: p = 0.057; 7 of 10: p = 0.0198.
    assert comparison.compare(half(10, 6), half(10, 1)).verdict is Verdict.UNDECIDED
    compared = comparison.compare(half(10, 7), half(10, 1))
    assert compared.verdict is Verdict.DIFFER
    assert compared.reasons == ("7 of 10 runs diverge against 1 of 10",)
    assert comparison.compare(half(4, 2), half(2, 1)).verdict is Verdict.AGREE
    # The same share, but not at the same time: 5 against 0 until step 150, p = 0.0079.
    late = make(np.zeros([5, 3]), diverged_at=[290] * 5)
    compared = comparison.compare(half(5, 5), late)
    assert compared.reasons == ("5 of 5 runs diverge against 0 of 5 until step 150",)


def test_what_diverges_after_the_end_of_the_other_side_does_not_count():
    longer = np.zeros([5, 10])
    longer[:, 4:] = np.nan
    for at, verdict in ((401, Verdict.AGREE), (250, Verdict.DIFFER)):
        diverging = make(longer, diverged_at=[at] * 5)
        assert comparison.compare(diverging, make(np.zeros([5, 3]))).verdict is verdict
        assert comparison.compare(make(np.zeros([5, 3])), diverging).verdict is verdict


def test_what_diverges_after_the_last_whole_window_counts():
    whole = make(np.zeros([10, 10]))._replace(end=1050)
    late = make(np.zeros([10, 10]), diverged_at=[1031] * 8 + [np.inf] * 2)._replace(end=1050)
    compared = comparison.compare(late, whole)
    assert compared.reasons == ("8 of 10 runs diverge against 0 of 10",)
    longer = make(np.zeros([10, 30]))._replace(end=3000)  # That of the other side has stopped.
    assert comparison.compare(late, longer).verdict is Verdict.DIFFER
    assert comparison.compare(late, make(np.zeros([10, 10]))._replace(end=1000)).reasons == ()


def test_windows_in_which_runs_are_missing_do_not_agree_unseen():
    def lacking(shift, num_windows):
        values = np.zeros([4, 5])
        values[:, 1:] = shift + np.arange(4)[:, None]  # Too noisy for a single window.
        values[3, num_windows:] = np.nan
        return make(values)

    compared = comparison.compare(lacking(0.0, 1), lacking(0.6, 1))
    assert abs(compared.overall) + compared.overall_half_width <= 0.25
    assert compared.verdict is Verdict.UNDECIDED
    assert compared.reasons == (
        "4 windows in which runs are missing or not finite differ by more than 0.25",
    )
    assert (compared.seeds, compared.num_lacking) == (None, 4)
    text = comparison_report.summary([compared], ("a", "b"), 0.25)
    assert "than 0.25; no number of seeds decides while runs are missing there." in text
    assert comparison.compare(lacking(0.0, 1), lacking(0.1, 1)).verdict is Verdict.AGREE


def test_a_window_in_which_one_run_is_left_is_not_judged():
    rest = np.random.default_rng(5).normal(scale=0.1, size=[10, 5])
    left = np.zeros([2, 5])
    left[0, 1:], left[1, 1:] = 3.0, np.nan
    compared = comparison.compare(make(left), make(rest))
    assert (abs(compared.difference[1:]) > 10 * compared.half_width[1:]).all()
    assert not compared.significant[1:].any() and compared.verdict is Verdict.UNDECIDED


def test_runs_that_all_diverge_at_once_leave_the_rest_comparable():
    dead = make(np.full([5, 3], np.nan), diverged_at=[1] * 5)
    compared = comparison.compare(dead, make(np.zeros([5, 3])))
    assert compared.verdict is Verdict.DIFFER and compared.difference.shape == (0,)
    both = comparison.compare(dead, dead)
    assert both.verdict is Verdict.UNDECIDED
    assert both.reasons == ("no window has a finite loss in every run",)
    text = comparison_report.summary([compared, both], ("A", "B"), 0.25)
    assert "5 of 5 runs diverge against 0 of 5" in text


def test_where_one_side_diverges_at_once_the_advice_is_of_divergence():
    dead = make(np.full([3, 3], np.nan), diverged_at=[1] * 3)
    alive = make(np.zeros([3, 3]) + np.arange(3)[:, None], diverged_at=[np.inf] * 3)
    compared = comparison.compare(dead, alive)
    # Fisher's test of n of n against 0 of n: 2 / (2n choose n), 1/10 for 3 and 1/35 for 4.
    assert (compared.verdict, compared.seeds) == (Verdict.UNDECIDED, 4)
    text = comparison_report.summary([compared], ("a", "b"), 0.25)
    assert "no window has a finite loss in every run; about 4 seeds on each side" in text
    both = comparison.compare(dead, dead)
    assert (both.verdict, both.seeds) == (Verdict.UNDECIDED, None)
    text = comparison_report.summary([both], ("a", "b"), 0.25)
    assert "no number of seeds decides while runs diverge in the first window" in text


def test_a_gap_in_a_published_curve_is_not_a_divergence():
    published = make([[0.0, np.nan, 0.0]], runs_per_row=10)
    compared = comparison.compare(make(np.zeros([2, 3])), published)
    assert compared.verdict is Verdict.AGREE
    np.testing.assert_array_equal(compared.a.steps, [100, 300])


def test_common_windows_only():
    compared = comparison.compare(
        make([[1.0, 2.0, 3.0, 4.0]]), make([[3.0, 9.0]], steps=[300, 500])
    )
    np.testing.assert_array_equal(compared.a.steps, [300])
    assert compared.difference.tolist() == [0.0]
    with pytest.raises(errors.InputError, match="no window in common"):
        comparison.compare(make([[1.0]]), make([[1.0]], steps=[200]))


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
    with pytest.raises(errors.InputError, match="x is over steps and x over epochs"):
        comparison.pair({("a", "m"): one}, {("", "r"): two._replace(unit="epoch")})


def test_report_and_csv(tmp_path):
    a, b = make([[0.0, 1.0], [2.0, 1.0]], "mine"), make([[5.0, 1.0], [7.0, 1.5]], "theirs")
    compared = [comparison.compare(a, b, 0.3)]
    lines = comparison_report.details(compared, ("ours", "B")).splitlines()
    assert lines[0] == "ours: mine (2 runs)"
    half = 4.302652730 * math.sqrt(2)
    interval = [f"[{-5 - half:+.3f},", f"{-5 + half:+.3f}]"]
    assert lines[3].split() == ["100", "1.000", "6.000", "-5.000", *interval]
    lines = comparison_report.summary(compared, ("ours", "B"), 0.3).splitlines()
    assert lines[0].split("  ")[0] == "series" and "ours - B" in lines[0]
    low, high = stats.ttest_ind([0.5, 1.5], [3, 4.25], equal_var=False).confidence_interval()
    cells = [
        "mine",
        "/",
        "theirs",
        "2,",
        "2",
        "1.000",
        "3.625",
        "-2.625",
        f"[{low:+.3f},",
        f"{high:+.3f}]",
    ]
    assert lines[2].split() == [*cells, "UNDECIDED"]
    assert lines[4] == (
        "mine / theirs: UNDECIDED: the interval of the difference, -2.625 ± 3.608, is beyond the "
        "tolerance but holds 0; about 3 seeds on each side would decide."
    )
    assert lines[5] == "Of 1 series 1 are undecided (tolerance 0.3)."
    comparison_report.write_csv(compared, tmp_path / "x.csv")
    header, first, _ = (tmp_path / "x.csv").read_text().splitlines()
    assert header == "a,b,step,ln_a,ln_b,difference,low,high,significant"
    assert first == f"mine,theirs,100,1,6,-5,{-5 - half:.6g},{-5 + half:.6g},0"
