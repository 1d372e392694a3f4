"""The figure of a comparison: for each series both curves over their difference."""

import os
from collections.abc import Sequence

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from l2o_tf.evaluation import comparison, comparison_report, drawing, statistics

_MAX_COLUMNS = 5


def draw(
    compared: Sequence[comparison.Comparison],
    labels: tuple[str, str],
    tolerance: float,
    path: str | os.PathLike,
) -> None:
    """Draws a column of two panels per comparison: curves, and their difference with interval.

    Raises:
        InputError: if the file cannot be written.
    """
    rows = -(-len(compared) // _MAX_COLUMNS)
    columns = -(-len(compared) // rows)
    figure = Figure(figsize=(max(6.4, 3.2 * columns), 4.6 * rows + 0.8), layout="constrained")
    blocks = figure.subfigures(rows, columns, squeeze=False).ravel()
    handles: dict[object, Artist] = {}
    for block, one in zip(blocks, compared):
        top, bottom = block.subplots(2, 1, sharex=True, height_ratios=(3, 2))
        top.set_title(f"{comparison_report.name(one, compared)}\n{one.verdict.value}", fontsize=9)
        _draw_curves(top, one, labels)
        _draw_difference(bottom, one, tolerance)
        drawing.label(top, "", "loss (ln)")
        drawing.label(bottom, f"{one.a.unit}s", " - ".join(labels))
        if one.a.steps.size:
            bottom.set_xlim(right=one.a.steps[-1])
        for axis in (top, bottom):
            handles |= {h.get_label(): h for h in axis.get_legend_handles_labels()[0]}
    has_bands = any(len(side.values) > 1 for one in compared for side in one[:2])
    figure.legend(
        handles=list(handles.values()),
        loc="outside lower center",
        ncols=3,
        title="bands around the lines: one standard deviation" if has_bands else None,
        **drawing.LEGEND,
    )
    drawing.save(figure, path)


def _draw_curves(axis: Axes, one: comparison.Comparison, labels: tuple[str, str]) -> None:
    for source, label, color, line in zip(
        one[:2], labels, (drawing.BLUE, drawing.VERMILLION), ("-", "--")
    ):
        mean, sd, _ = statistics.over_seeds(source.values)
        axis.plot(source.steps, mean, color=color, linestyle=line, linewidth=1.5, label=label)
        axis.fill_between(source.steps, mean - sd, mean + sd, color=color, alpha=drawing.BAND, lw=0)


def _draw_difference(axis: Axes, one: comparison.Comparison, tolerance: float) -> None:
    steps, difference = one.a.steps, one.difference
    low, high = difference - one.half_width, difference + one.half_width
    axis.axhspan(-tolerance, tolerance, color="0.9", label=f"tolerance {tolerance:g}")
    axis.plot(steps, difference, color=drawing.GREEN, linewidth=1.5, label="difference")
    if np.isfinite(one.half_width).any():
        axis.fill_between(
            steps, low, high, color=drawing.GREEN, alpha=0.3, lw=0, label="95 % interval"
        )
    if one.significant.any():
        axis.plot(
            steps[one.significant],
            difference[one.significant],
            ".",
            color=drawing.BLACK,
            markersize=4,
            label="significant (Bonferroni)",
        )
    axis.axhline(0.0, color="0.3", linewidth=0.8)
