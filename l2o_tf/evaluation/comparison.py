"""Compares two results series by series: differences of ln loss with confidence intervals.

Per window, the difference of the two means of ln loss gets Welch's interval over seeds. Where
only one side has a spread over seeds (the other is one run, or a published mean of ten runs), the
other is taken to have the same spread: with s of n runs here and a mean of m runs there, the
standard error is s sqrt(1/n + 1/m) with n - 1 degrees of freedom. Where neither side has a spread
there is no interval, and nothing is called significant.

Many windows make chance findings: intervals shown are pointwise at 95 %, but "differs
significantly" means that the Bonferroni interval, at 1 - 0.05 / num_windows, excludes 0. With
that, two equal results show any significant window in at most 5 % of comparisons. Digitisation
errors of published curves are not in the intervals: choose a tolerance above them.
"""

import csv
import io
import os
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy import special

from l2o_tf.core import errors, files, text
from l2o_tf.evaluation import sources, statistics

LEVEL = 0.95
DEFAULT_TOLERANCE = 0.25  # In ln loss, over all windows: well above digitisation and seed noise.
_COLUMNS = ["a", "b", "step", "ln_a", "ln_b", "difference", "low", "high", "significant"]
_SHOWN_STEPS = (100, 200, 500, 1_000, 2_000, 5_000, 10_000)


class Comparison(NamedTuple):
    """One series in two results; arrays are [num_windows], over windows finite on both sides.

    Attributes:
        a: the first side, cut to the common windows.
        b: the second side, cut to the common windows.
        difference: mean ln loss of `a` minus that of `b`.
        half_width: half the pointwise 95 % interval of `difference`; nan without one.
        significant: whether the Bonferroni interval excludes 0.
        overall: the difference of the means over all common windows.
        overall_half_width: half its 95 % interval; nan without one.
        reasons: why the two do not agree within the tolerance; empty if they do.
    """

    a: sources.Source
    b: sources.Source
    difference: np.ndarray
    half_width: np.ndarray
    significant: np.ndarray
    overall: float
    overall_half_width: float
    reasons: tuple[str, ...]

    @property
    def agrees(self) -> bool:
        """Whether the two sides agree within the tolerance."""
        return not self.reasons

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
        InputError: if no series is in both.
    """
    if len(a) == len(b) == 1:
        return [(*a.values(), *b.values())]
    common = [key for key in a if key in b]
    if not common:
        names = [", ".join(source.name for source in side.values()) for side in (a, b)]
        raise errors.InputError(
            f"no series is in both results: one has {names[0]}; the other has {names[1]}; "
            "select one of each with PATH:OPTIMIZEE:RULE"
        )
    return [(a[key], b[key]) for key in common]


def compare(
    a: sources.Source, b: sources.Source, tolerance: float = DEFAULT_TOLERANCE
) -> Comparison:
    """Compares one series.

    The two agree within the tolerance if
      * the same share of runs diverges and no window is finite on one side only,
      * the difference of ln loss over all windows is within the tolerance, and
      * no window is both beyond the tolerance and significant; where there is no interval, no
        window is beyond the tolerance at all.

    Args:
        a: one side.
        b: the other side, on the same steps as far as both go.
        tolerance: the largest acceptable difference, in units of ln loss.

    Raises:
        InputError: if the tolerance is negative, or the two have no finite window in common.
    """
    if not tolerance >= 0:
        raise errors.InputError(f"tolerance {tolerance} is not a number from 0: pass one")
    reasons = _divergence(a, b)
    a, b = _common_windows(a, b)
    difference = np.nanmean(a.values, axis=0) - np.nanmean(b.values, axis=0)
    error, df = _standard_error(a, b)
    bonferroni = 1 - (1 - LEVEL) / len(difference)
    levels = np.array([[LEVEL], [bonferroni]])
    half_width, half_width_of_all = error * special.stdtrit(df, 0.5 + levels / 2)
    significant = np.abs(difference) > half_width_of_all
    overall, overall_half_width = _overall(a, b)
    if abs(overall) > tolerance:
        reasons.append(f"the difference over all windows, {overall:+.3f}, exceeds {tolerance:g}")
    beyond = np.flatnonzero((np.abs(difference) > tolerance) & (significant | np.isnan(half_width)))
    if beyond.size:
        reasons.append(
            f"{beyond.size} of {len(difference)} windows differ by more than {tolerance:g}, "
            f"the first at step {a.steps[beyond[0]]} by {difference[beyond[0]]:+.3f}"
        )
    return Comparison(
        a, b, difference, half_width, significant, overall, overall_half_width, tuple(reasons)
    )


def report(comparisons: Sequence[Comparison], tolerance: float) -> str:
    """A text report: per series a table at some steps, the significant windows, the verdict."""
    blocks = [_report_one(comparison, tolerance) for comparison in comparisons]
    bad = sum(not comparison.agrees for comparison in comparisons)
    verdict = f"differ in {bad} of {len(comparisons)} series" if bad else "agree in every series"
    blocks.append(f"The results {verdict} (tolerance {tolerance:g} in ln loss).")
    return "\n\n".join(blocks) + "\n"


def write_csv(comparisons: Sequence[Comparison], path: str | os.PathLike) -> None:
    """Writes every window of every series: means, difference, 95 % interval, significance.

    Raises:
        InputError: if the file cannot be written.
    """
    content = io.StringIO()
    writer = csv.writer(content, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for one in comparisons:
        means = [np.nanmean(side.values, axis=0) for side in (one.a, one.b)]
        low, high = one.difference - one.half_width, one.difference + one.half_width
        numbers = np.stack([*means, one.difference, low, high], axis=1)
        for step, row, flag in zip(one.a.steps, numbers, one.significant):
            cells = ["" if np.isnan(value) else f"{value:.6g}" for value in row]
            writer.writerow([one.a.name, one.b.name, step, *cells, int(flag)])
    files.write_atomically(path, content.getvalue().encode())


def file_stem(comparison: Comparison, index: int) -> str:
    """A file name, without ending, for the figure of the `index`-th comparison."""
    return f"{index:02d}_" + re.sub(r"[^A-Za-z0-9.-]+", "_", comparison.a.name)[:80]


def _divergence(a: sources.Source, b: sources.Source) -> list[str]:
    if a.num_diverged is None or b.num_diverged is None:
        return []
    reasons = []
    if a.num_diverged * len(b.values) != b.num_diverged * len(a.values):
        reasons.append(
            f"{a.num_diverged} of {len(a.values)} runs diverge against "
            f"{b.num_diverged} of {len(b.values)}"
        )
    steps = np.intersect1d(a.steps, b.steps)
    alive = [np.isfinite(side.values[:, np.isin(side.steps, steps)]).any(axis=0) for side in (a, b)]
    one_sided = np.flatnonzero(alive[0] != alive[1])
    if one_sided.size:
        reasons.append(f"from step {steps[one_sided[0]]} only one side has a finite loss")
    return reasons


def _common_windows(a: sources.Source, b: sources.Source) -> tuple[sources.Source, sources.Source]:
    steps = np.intersect1d(a.steps, b.steps)
    values = [side.values[:, np.isin(side.steps, steps)] for side in (a, b)]
    finite = np.logical_and(*(np.isfinite(part).any(axis=0) for part in values))
    if not finite.any():
        raise errors.InputError(
            f"{a.name} and {b.name} have no window in which both have a finite loss: "
            "nothing can be compared"
        )
    values = [np.where(np.isfinite(part), part, np.nan)[:, finite] for part in values]
    return tuple(
        side._replace(steps=steps[finite], values=part) for side, part in zip((a, b), values)
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


def _overall(a: sources.Source, b: sources.Source) -> tuple[float, float]:
    """The difference of means over all windows and half its 95 % interval.

    Only windows in which every run is finite count, so that all runs are averaged over the same
    steps; nan where there are none.
    """
    complete = np.isfinite(np.concatenate([a.values, b.values])).all(axis=0)
    if not complete.any():
        return np.nan, np.nan
    a, b = (
        side._replace(values=side.values[:, complete].mean(axis=1, keepdims=True))
        for side in (a, b)
    )
    error, df = _standard_error(a, b)
    half_width = error * special.stdtrit(df, 0.5 + LEVEL / 2)
    return float(a.values.mean() - b.values.mean()), float(half_width[0])


def _report_one(comparison: Comparison, tolerance: float) -> str:
    a, b = comparison.a, comparison.b
    lines = [f"A: {_describe(a)}", f"B: {_describe(b)}"]
    rows = [("step", "ln loss A", "ln loss B", "A - B", "95 % interval", "")]
    nearest = [int(np.abs(a.steps - step).argmin()) for step in _SHOWN_STEPS]
    means = [np.nanmean(side.values, axis=0) for side in (a, b)]
    for i in sorted({*nearest, len(a.steps) - 1}):
        difference = comparison.difference[i]
        rows.append(
            (
                str(a.steps[i]),
                f"{means[0][i]:.3f}",
                f"{means[1][i]:.3f}",
                f"{difference:+.3f}",
                _interval(difference, comparison.half_width[i]),
                "significant" if comparison.significant[i] else "",
            )
        )
    interval = _interval(comparison.overall, comparison.overall_half_width)
    rows.append(("all", "", "", f"{comparison.overall:+.3f}", interval, ""))
    lines += text.aligned(rows)
    count = int(comparison.significant.sum())
    if np.isnan(comparison.half_width).all():
        lines.append("No side has two runs: there are no intervals, nothing is called significant.")
    elif not count:
        lines.append(f"No significant difference in {len(a.steps)} windows (Bonferroni, 5 %).")
    else:
        lines.append(
            f"First significant difference at step {comparison.first_difference}; "
            f"{count} of {len(a.steps)} windows (Bonferroni, 5 %)."
        )
    lines.append(_verdict(comparison, tolerance))
    return "\n".join(lines)


def _verdict(comparison: Comparison, tolerance: float) -> str:
    if not comparison.agrees:
        return f"DIFFER: {'; '.join(comparison.reasons)}."
    if comparison.overall_half_width > tolerance:
        return (
            "Agree within the tolerance, but that says little: the interval over all windows is "
            "wider than the tolerance. More seeds narrow it."
        )
    return "Agree within the tolerance."


def _describe(source: sources.Source) -> str:
    if source.runs_per_row > 1:
        runs = f"mean of {source.runs_per_row} runs"
    else:
        runs = f"{len(source.values)} run{'s' * (len(source.values) > 1)}"
    return "; ".join([f"{source.name} ({runs})", *source.notes])


def _interval(difference: float, half_width: float) -> str:
    if np.isnan(half_width):
        return "-"
    return f"[{difference - half_width:+.3f}, {difference + half_width:+.3f}]"
