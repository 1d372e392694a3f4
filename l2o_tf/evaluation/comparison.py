"""Compares two results series by series: differences of ln loss, intervals, verdicts.

The difference of the two means of ln loss gets Welch's interval over seeds, per window and over
all windows. Where only one side has a spread over seeds (the other is one run, or a published
mean of ten runs), the other is taken to have the same spread: with s of n runs here and a mean of
m runs there, the standard error is s sqrt(1/n + 1/m) with n - 1 degrees of freedom. Where neither
side has a spread there is no interval.

DIFFER: the difference over all windows is beyond the tolerance and its 95 % interval excludes 0;
or that of a window is, with the Bonferroni interval at 1 - 0.05 / num_windows; or more runs
diverge on one side, by Fisher's exact test at 5 %. AGREE: nothing differs, the interval over all
windows is inside the tolerance, the same share of runs diverges, and no window that lacks a run is
beyond the tolerance. Else UNDECIDED.

Windows are not judged where a side has one run left: losses of single runs are too heavy-tailed for
so small a probability, and the borrowed spread says nothing of that run. How often the verdicts are
right is measured by `benchmarks/verdicts.py`. Digitisation errors of published curves are not in
the intervals: choose a tolerance above them.
"""

import enum
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from scipy import special

from l2o_tf.core import errors
from l2o_tf.evaluation import sources, statistics

LEVEL = 0.95
DEFAULT_TOLERANCE = 0.25  # In ln loss, over all windows: well above digitisation and seed noise.
MAX_SEEDS = 10_000  # The largest number of seeds that is looked for and named.


class Verdict(enum.Enum):
    """What a comparison says."""

    AGREE = "AGREE"
    DIFFER = "DIFFER"
    UNDECIDED = "UNDECIDED"


class Comparison(NamedTuple):
    """One series in two results; arrays are [num_windows], over windows finite on both sides.

    Attributes:
        a: the first side, cut to the common windows.
        b: the second side, cut to the common windows.
        difference: mean ln loss of `a` minus that of `b`.
        half_width: half the pointwise 95 % interval of `difference`; nan without one.
        significant: whether the Bonferroni interval excludes 0 and neither side is one run there.
        overall: the difference of the means over all windows; nan without a window in which all
            runs are finite.
        overall_half_width: half its 95 % interval; nan without one.
        verdict: whether the two agree within the tolerance.
        reasons: why they differ or why it is undecided; empty if they agree.
        seeds: how many seeds on each side would decide if means and spread stay as they are;
            None if it is decided, or no number up to `MAX_SEEDS` would.
        num_lacking: the number of windows beyond the tolerance in which not every run is finite.
    """

    a: sources.Source
    b: sources.Source
    difference: np.ndarray
    half_width: np.ndarray
    significant: np.ndarray
    overall: float
    overall_half_width: float
    verdict: Verdict
    reasons: tuple[str, ...]
    seeds: int | None
    num_lacking: int

    @property
    def name(self) -> str:
        """What is compared, by the names of both sides."""
        return f"{self.a.name} / {self.b.name}"

    @property
    def first_difference(self) -> int | None:
        """The last step of the first window that differs significantly; None without one."""
        found = self.a.steps[self.significant]
        return int(found[0]) if found.size else None


def pair(
    a: Mapping[sources.Key, sources.Source], b: Mapping[sources.Key, sources.Source]
) -> list[tuple[sources.Source, sources.Source]]:
    """The series present in both results; two single series are a pair whatever their names.

    Raises:
        InputError: if no series is in both, or losses would be compared with validations.
    """
    if len(a) == len(b) == 1:
        ((one,), (other,)) = a.values(), b.values()
        pairs = [(one, other)]
    else:
        pairs = [(a[key], b[key]) for key in a if key in b]
    if not pairs:
        names = [", ".join(source.name for source in side.values()) for side in (a, b)]
        raise errors.InputError(
            f"no series is in both results: one has {names[0]}; the other has {names[1]}; "
            "select one of each with PATH:OPTIMIZEE:RULE, of trainings RUN:validation:STEPS"
        )
    for one, other in pairs:
        if one.unit != other.unit:
            raise errors.InputError(
                f"{one.name} is over {one.unit}s and {other.name} over {other.unit}s: compare two "
                "trainings or two evaluations"
            )
    return pairs


def compare(
    a: sources.Source, b: sources.Source, tolerance: float = DEFAULT_TOLERANCE
) -> Comparison:
    """Compares one series.

    Args:
        a: one side.
        b: the other side, on the same steps as far as both go.
        tolerance: the largest acceptable difference, in units of ln loss.

    Raises:
        InputError: if the tolerance is negative, or the two have no window in common.
    """
    if not tolerance >= 0:
        raise errors.InputError(f"tolerance {tolerance} is not a number from 0: pass one")
    differ, open_question, seeds = _divergence(a, b)
    a, b = _common_windows(a, b)
    difference = _mean(a) - _mean(b)
    error, df = _standard_error(a, b)
    half_width = error * special.stdtrit(df, 0.5 + LEVEL / 2)
    bonferroni = 1 - (1 - LEVEL) / max(1, len(difference))
    significant = np.abs(difference) > error * special.stdtrit(df, 0.5 + bonferroni / 2)
    significant &= ~(_is_one_run(a) | _is_one_run(b))
    overall, overall_error, overall_df = _overall(a, b)
    overall_half_width = overall_error * float(special.stdtrit(overall_df, 0.5 + LEVEL / 2))
    if abs(overall) > tolerance and abs(overall) > overall_half_width:
        differ.append(f"the difference over all windows, {overall:+.3f}, exceeds {tolerance:g}")
    beyond = np.flatnonzero((np.abs(difference) > tolerance) & significant)
    if beyond.size:
        differ.append(
            f"{beyond.size} of {len(difference)} windows differ by more than {tolerance:g}, "
            f"the first at {a.unit} {a.steps[beyond[0]]} by {difference[beyond[0]]:+.3f}"
        )
    same = len(difference) > 0 and np.array_equal(a.values, b.values, equal_nan=True)
    inside = same or abs(overall) + overall_half_width <= tolerance
    if not inside:
        open_question.append(_why_open(overall, overall_half_width, tolerance))
        if np.isnan(overall):  # Then the shares that diverge alone can decide.
            seeds = seeds or None
        else:
            needed = _seeds_for_interval(a, b, overall, tolerance)
            seeds = None if needed is None or seeds is None else max(needed, seeds)
    num_lacking = int((~_complete(a, b) & (np.abs(difference) > tolerance)).sum())
    if num_lacking:
        open_question.append(
            f"{num_lacking} windows in which runs are missing or not finite differ by more than "
            f"{tolerance:g}"
        )
        seeds = seeds or None  # More of the same leave such windows.
    if differ:
        verdict, reasons = Verdict.DIFFER, differ
    elif open_question:
        verdict, reasons = Verdict.UNDECIDED, open_question
    else:
        verdict, reasons = Verdict.AGREE, []
    return Comparison(
        a,
        b,
        difference,
        half_width,
        significant,
        overall,
        overall_half_width,
        verdict,
        tuple(reasons),
        seeds if verdict is Verdict.UNDECIDED else None,
        num_lacking,
    )


def _mean(source: sources.Source) -> np.ndarray:
    return np.nanmean(source.values, axis=0)


def _is_one_run(source: sources.Source) -> np.ndarray:
    """Whether a window has one run that is finite, [num_windows]."""
    return np.isfinite(source.values).sum(axis=0) * source.runs_per_row == 1


def _why_open(overall: float, half_width: float, tolerance: float) -> str:
    if np.isnan(overall):
        return "no window has a finite loss in every run"
    if np.isnan(half_width):
        return "neither side has two runs, so that there is no interval"
    interval = f"the interval of the difference, {overall:+.3f} ± {half_width:.3f},"
    if abs(overall) > tolerance:
        return f"{interval} is beyond the tolerance but holds 0"
    return f"{interval} is not inside the tolerance"


def _divergence(a: sources.Source, b: sources.Source) -> tuple[list[str], list[str], int | None]:
    """What the runs that diverge say: reasons to differ, open questions, seeds to decide those."""
    if a.diverged_at is None or b.diverged_at is None:
        return [], [], 0
    times = np.unique(np.concatenate([a.diverged_at, b.diverged_at]))
    # Nobody knows what a shorter side would have done later.
    times = times[times <= min(map(_end, (a, b)))]
    if not times.size:
        return [], [], 0
    counts = [[int((side.diverged_at <= time).sum()) for side in (a, b)] for time in times]
    sizes = len(a.diverged_at), len(b.diverged_at)
    p_values = [_fisher(count, sizes) for count in counts]
    first = int(np.argmin(p_values))

    def said(count):
        return f"{count[0]} of {sizes[0]} runs diverge against {count[1]} of {sizes[1]}"

    if p_values[first] * len(times) < 1 - LEVEL:
        until = "" if counts[first] == counts[-1] else f" until {a.unit} {int(times[first])}"
        return [said(counts[first]) + until], [], 0
    shares = [count / size for count, size in zip(counts[-1], sizes)]
    if shares[0] == shares[1]:
        return [], [], 0
    for seeds in np.unique(np.geomspace(max(sizes), MAX_SEEDS, 100).astype(int)):
        grown = [round(share * seeds) for share in shares]
        if _fisher(grown, (seeds, seeds)) < 1 - LEVEL:
            return [], [f"{said(counts[-1])}, which may be chance"], int(seeds)
    return [], [f"{said(counts[-1])}, which may be chance"], None


def _end(source: sources.Source) -> int:
    return source.steps.max(initial=0) if source.end is None else source.end


def _fisher(counts, sizes) -> float:
    from scipy import stats  # Late, because it takes a second.

    rest = [size - count for count, size in zip(counts, sizes)]
    return float(stats.fisher_exact([list(counts), rest]).pvalue)


def _common_windows(a: sources.Source, b: sources.Source) -> tuple[sources.Source, sources.Source]:
    steps = np.intersect1d(a.steps, b.steps)
    if not steps.size:
        raise errors.InputError(f"{a.name} and {b.name} have no window in common")
    values = [side.values[:, np.isin(side.steps, steps)] for side in (a, b)]
    finite = np.logical_and(*(np.isfinite(part).any(axis=0) for part in values))
    values = [np.where(np.isfinite(part), part, np.nan)[:, finite] for part in values]
    return (
        a._replace(steps=steps[finite], values=values[0]),
        b._replace(steps=steps[finite], values=values[1]),
    )


def _standard_error(a: sources.Source, b: sources.Source) -> tuple[np.ndarray, np.ndarray]:
    """The standard error of the difference of means and its degrees of freedom, [num_windows]."""
    (_, sd_a, n_a), (_, sd_b, n_b) = (statistics.over_seeds(side.values) for side in (a, b))
    # Degrees of freedom come from the rows; a published mean of ten runs counts as ten.
    m_a, m_b = n_a * a.runs_per_row, n_b * b.runs_per_row
    var_a, var_b = sd_a**2 / n_a, sd_b**2 / n_b
    with np.errstate(invalid="ignore", divide="ignore"):
        welch_df = (var_a + var_b) ** 2 / (var_a**2 / (n_a - 1) + var_b**2 / (n_b - 1))
    # Two sides without any spread leave 0/0: their error is 0 with any degrees of freedom.
    welch_df = np.where(var_a + var_b == 0, n_a + n_b - 2, welch_df)
    welch = np.sqrt(var_a + var_b)
    borrowed_sd, borrowed_n = np.where(np.isnan(sd_a), [sd_b, n_b], [sd_a, n_a])
    borrowed = borrowed_sd * np.sqrt(1 / m_a + 1 / m_b)
    error = np.where(np.isnan(welch), borrowed, welch)
    df = np.where(np.isnan(welch), borrowed_n - 1, welch_df)
    return error, np.where(np.isnan(error), np.nan, df)


def _over_windows(source: sources.Source, complete: np.ndarray) -> sources.Source:
    return source._replace(values=source.values[:, complete].mean(axis=1, keepdims=True))


def _complete(a: sources.Source, b: sources.Source) -> np.ndarray:
    """The windows in which every run is finite, so that all runs are averaged over the same."""
    return np.isfinite(np.concatenate([a.values, b.values])).all(axis=0)


def _overall(a: sources.Source, b: sources.Source) -> tuple[float, float, float]:
    """The difference of means over all complete windows, its error and degrees of freedom."""
    complete = _complete(a, b)
    if not complete.any():
        return np.nan, np.nan, np.nan
    a, b = _over_windows(a, complete), _over_windows(b, complete)
    error, df = _standard_error(a, b)
    return float(a.values.mean() - b.values.mean()), float(error[0]), float(df[0])


def _seeds_for_interval(
    a: sources.Source, b: sources.Source, overall: float, tolerance: float
) -> int | None:
    """How many seeds on each side would put the interval inside the tolerance or off 0.

    A published mean cannot get more seeds.
    """
    complete = _complete(a, b)
    rows = [_over_windows(side, complete).values[:, 0] for side in (a, b)]
    spreads = [row.std(ddof=1) if len(row) > 1 else np.nan for row in rows]
    known = [spread for spread in spreads if np.isfinite(spread)]
    room = abs(overall) if abs(overall) > tolerance else tolerance - abs(overall)
    if not known or not room > 0:
        return None
    spreads = [spread if np.isfinite(spread) else known[0] for spread in spreads]
    seeds = np.arange(2, MAX_SEEDS + 1)
    fixed = [side.runs_per_row > 1 for side in (a, b)]
    variance = sum(
        spread**2 / (side.runs_per_row if is_fixed else seeds)
        for spread, side, is_fixed in zip(spreads, (a, b), fixed)
    )
    df = (seeds - 1) * (1 if any(fixed) else 2)
    enough = np.sqrt(variance) * special.stdtrit(df, 0.5 + LEVEL / 2) < room
    return int(seeds[enough.argmax()]) if enough.any() else None
