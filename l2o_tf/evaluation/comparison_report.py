"""Comparisons as text and CSV."""

import csv
import io
import os
from collections.abc import Mapping, Sequence

import numpy as np

from l2o_tf.core import files, text
from l2o_tf.evaluation import comparison, sources
from l2o_tf.evaluation.comparison import Verdict

_COLUMNS = ["a", "b", "step", "ln_a", "ln_b", "difference", "low", "high", "significant"]
_SHOWN_STEPS = (100, 200, 500, 1_000, 2_000, 5_000, 10_000)
_MAX_NAMED = 5
_COUNTED = {
    Verdict.DIFFER: "differ",
    Verdict.UNDECIDED: "are undecided",
    Verdict.AGREE: "agree",
}


def summary(
    compared: Sequence[comparison.Comparison], labels: tuple[str, str], tolerance: float
) -> str:
    """A table of all comparisons, the reasons of each verdict, and the count of verdicts.

    Args:
        compared: the comparisons.
        labels: what the two sides are called.
        tolerance: what they were judged by.
    """
    a, b = labels
    header = ("series", "seeds", f"ln {a}", f"ln {b}", f"{a} - {b}", "95 % interval", "verdict")
    rows: list[Sequence[str]] = [header]
    for one in compared:
        means = [f"{np.nanmean(side.values):.3f}" if side.steps.size else "-" for side in one[:2]]
        seeds = f"{_num_runs(one.a)}, {_num_runs(one.b)}"
        difference = "-" if np.isnan(one.overall) else f"{one.overall:+.3f}"
        interval = _interval(one.overall, one.overall_half_width)
        rows.append((name(one, compared), seeds, *means, difference, interval, one.verdict.value))
    lines = text.aligned(rows, left=1)
    lines = [lines[0], "-" * max(map(len, lines)), *lines[1:], ""]
    lines += [f"{name(one, compared)}: {_sentence(one)}" for one in compared if one.reasons]
    counts = [
        f"{count} {said}"
        for verdict, said in _COUNTED.items()
        if (count := sum(one.verdict is verdict for one in compared))
    ]
    lines.append(f"Of {len(compared)} series {', '.join(counts)} (tolerance {tolerance:g}).")
    return "\n".join(lines) + "\n"


def name(one: comparison.Comparison, compared: Sequence[comparison.Comparison]) -> str:
    """What a comparison is called: where there are several, both sides are of one series."""
    return one.a.name if len(compared) > 1 or one.a.name == one.b.name else one.name


def details(compared: Sequence[comparison.Comparison], labels: tuple[str, str]) -> str:
    """Per comparison a table at some steps and the windows that differ."""
    return "\n".join(_details_of_one(one, labels) for one in compared)


def alone(
    sides: Sequence[Mapping[sources.Key, sources.Source]],
    pairs: Sequence[tuple[sources.Source, sources.Source]],
    labels: tuple[str, str],
) -> str:
    """Lines that name the series that only one side has."""
    paired = {id(source) for pair in pairs for source in pair}
    lines = ""
    for side, label in zip(sides, labels):
        names = [source.name for source in side.values() if id(source) not in paired]
        if names:
            more = f" and {len(names) - _MAX_NAMED} more" if len(names) > _MAX_NAMED else ""
            lines += f"Only in {label}: {', '.join(names[:_MAX_NAMED])}{more}.\n"
    return lines


def write_csv(compared: Sequence[comparison.Comparison], path: str | os.PathLike) -> None:
    """Writes every window of every series: means, difference, 95 % interval, significance.

    Raises:
        InputError: if the file cannot be written.
    """
    content = io.StringIO()
    writer = csv.writer(content, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for one in compared:
        means = [np.nanmean(side.values, axis=0) for side in (one.a, one.b)]
        low, high = one.difference - one.half_width, one.difference + one.half_width
        numbers = np.stack([*means, one.difference, low, high], axis=1)
        for step, row, flag in zip(one.a.steps, numbers, one.significant):
            cells = ["" if np.isnan(value) else f"{value:.6g}" for value in row]
            writer.writerow([one.a.name, one.b.name, step, *cells, int(flag)])
    files.write_atomically(path, content.getvalue().encode())


def _sentence(one: comparison.Comparison) -> str:
    reasons = "; ".join(one.reasons)
    if one.verdict is not Verdict.UNDECIDED:
        return f"{one.verdict.value}: {reasons}."
    if one.seeds is not None:
        advice = f"about {one.seeds} seeds on each side would decide"
        if max(one.a.runs_per_row, one.b.runs_per_row) > 1:
            advice = f"about {one.seeds} seeds would decide"
    elif np.isnan(one.overall):
        advice = "no number of seeds decides while runs diverge in the first window"
    elif one.num_lacking:
        advice = "no number of seeds decides while runs are missing there"
    elif np.isnan(one.overall_half_width):
        advice = "evaluate at least two seeds on one side"
    elif max(one.a.runs_per_row, one.b.runs_per_row) > 1:
        advice = "no number of seeds decides beside a published mean: choose another tolerance"
    else:
        advice = f"not even {comparison.MAX_SEEDS} seeds would decide: choose another tolerance"
    return f"{one.verdict.value}: {reasons}; {advice}."


def _details_of_one(one: comparison.Comparison, labels: tuple[str, str]) -> str:
    a, b = one.a, one.b
    lines = [f"{labels[0]}: {_describe(a)}", f"{labels[1]}: {_describe(b)}"]
    rows = [(a.unit, *(f"ln {label}" for label in labels), " - ".join(labels), "95 % interval", "")]
    if a.steps.size:
        nearest = [int(np.abs(a.steps - step).argmin()) for step in _SHOWN_STEPS]
        means = [np.nanmean(side.values, axis=0) for side in (a, b)]
        for i in sorted({*nearest, len(a.steps) - 1}):
            rows.append(
                (
                    str(a.steps[i]),
                    f"{means[0][i]:.3f}",
                    f"{means[1][i]:.3f}",
                    f"{one.difference[i]:+.3f}",
                    _interval(one.difference[i], one.half_width[i]),
                    "significant" if one.significant[i] else "",
                )
            )
    lines += text.aligned(rows)
    if one.significant.any():
        lines.append(
            f"First significant difference at {a.unit} {one.first_difference}; "
            f"{one.significant.sum()} of {len(a.steps)} windows (Bonferroni, 5 %)."
        )
    elif min(map(_num_runs, (a, b))) == 1:
        lines.append("One side is one run: its windows are not judged one by one.")
    else:
        lines.append(f"No significant difference in {len(a.steps)} windows (Bonferroni, 5 %).")
    return "\n".join(lines) + "\n"


def _num_runs(source: sources.Source) -> int:
    return len(source.values) * source.runs_per_row


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
