"""Figures of loss curves: those of the paper, and a quick look at any results."""

import math
import os
import textwrap
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from l2o_tf.core import errors
from l2o_tf.evaluation import (
    drawing,
    paper_figures,
    published,
    results,
    statistics,
    tables,
)

_QUICK_LOOK_POINTS = 50
_MANY_DECADES = 10**4.5


class Line(NamedTuple):
    """One series of one panel; without runs it is missing from the results.

    The published curve goes as far as the results of the panel.
    """

    label: str
    rule: str
    runs: Sequence[results.Run]
    overlay: published.Curve | None = None


class Panel(NamedTuple):
    """The curves on one optimizee."""

    title: str
    lines: Sequence[Line]


def paper_figure(
    number: int,
    runs: Sequence[results.Run],
    path: str | os.PathLike,
    curves: Mapping[tuple[str, str], published.Curve] | None = None,
    panels: Sequence[str] = (),
) -> list[str]:
    """Draws one figure of the paper from results, without the panels that have none.

    Args:
        number: the number of a figure in `paper_figures.FIGURES`.
        runs: results; those that the figure does not show are ignored.
        path: the file to write, as `drawing.save`.
        curves: published curves by (panel, series), overlaid as dashed lines as far as the
            results of the panel go.
        panels: titles or optimizees of the panels to draw; all by default.

    Returns:
        What is missing from the results, such as "L2O-Scale (scale) on MLP-orig, MLP-ReLU", and
        the panels that are left out.

    Raises:
        InputError: if the paper has no such figure or panel, the results hold nothing of it, or
            runs of one series are on different data.
    """
    if number not in paper_figures.FIGURES:
        known = ", ".join(map(str, paper_figures.FIGURES))
        drawn_by = " (python -m l2o_tf.select draws it)" if number == 4 else ""
        raise errors.InputError(f"figure {number} is unknown{drawn_by}: choose one of {known}")
    grouped = statistics.group(runs)
    figure = paper_figures.FIGURES[number]
    drawn: list[Panel] = []
    empty: list[str] = []
    missing: dict[str, list[str]] = {}
    for panel in paper_figures.select(number, panels):
        members = [grouped.get((rule, panel.optimizee), []) for _, rule in panel.series]
        longest = max((run.losses.size for runs in members for run in runs), default=0)
        lines = [
            Line(label, rule, runs, _until(longest, (curves or {}).get((panel.title, label))))
            for (label, rule), runs in zip(panel.series, members)
        ]
        if longest < results.WINDOW:
            empty.append(panel.title)
            continue
        drawn.append(Panel(panel.title, lines))
        for line in lines:
            if not line.runs:
                missing.setdefault(f"{line.label} ({line.rule})", []).append(panel.title)
    if not drawn:
        if runs and max(run.losses.size for run in runs) < results.WINDOW:
            raise errors.InputError(
                f"a figure of the paper shows means over {results.WINDOW} steps and no run is as "
                "long: plot without --figure"
            )
        wanted = figure.panels[0].series[0].rule, figure.panels[0].optimizee
        raise errors.InputError(
            f"the results hold nothing that figure {number} shows, such as {' on '.join(wanted)}"
        )
    loss_curves(drawn, path, f"Figure {number}: {figure.caption}")
    absent = [f"{series} on {', '.join(titles)}" for series, titles in missing.items()]
    return [*absent, *([f"all series on {', '.join(empty)}: left out"] if empty else [])]


def _until(longest: int, curve: published.Curve | None) -> published.Curve | None:
    """The part of a published curve up to a step; None if that is no line."""
    if curve is None:
        return None
    within = curve.steps <= longest
    if np.isfinite(curve.ln_loss[within]).sum() < 2:
        return None
    return curve._replace(steps=curve.steps[within], ln_loss=curve.ln_loss[within])


def loss_curves(panels: Sequence[Panel], path: str | os.PathLike, title: str) -> None:
    """Draws panels of training loss, in natural log, over training iterations.

    A line is the mean over seeds of the window means of ln loss, a band one standard deviation
    over seeds. The mean is over the seeds that are still finite; a cross marks the last window
    before the first of them diverges, and the legend counts those that do.

    Raises:
        InputError: if the file cannot be written.
    """
    window = results.WINDOW
    _draw_panels(panels, path, title, window, "training loss (ln)", _caption(panels, window))


def quick_look(runs: Sequence[results.Run], path: str | os.PathLike) -> None:
    """Draws all runs, a panel per optimizee: loss on a logarithmic axis over iterations.

    The smoothing window follows the length of the runs, a fiftieth of the longest but at most
    100 steps. Lines are geometric means over window and seeds, bands one standard deviation of
    ln loss over seeds.

    Raises:
        InputError: if runs of one series are on different data or the file cannot be written.
    """
    grouped = statistics.group(runs)
    longest = max(run.losses.size for run in runs)
    window = max(1, min(results.WINDOW, longest // _QUICK_LOOK_POINTS))
    by_optimizee: dict[str, list[Line]] = {}
    for (rule, optimizee), members in grouped.items():
        by_optimizee.setdefault(optimizee, []).append(Line(rule, rule, members))
    panels = [Panel(optimizee, lines) for optimizee, lines in by_optimizee.items()]
    caption = f"Lines: geometric mean over {window} steps and seeds"
    if any(len(members) > 1 for members in grouped.values()):
        caption += "; bands: one standard deviation"
    _draw_panels(panels, path, "", window, "training loss", caption, np.exp)


def _draw_panels(
    panels: Sequence[Panel],
    path: str | os.PathLike,
    title: str,
    window: int,
    y_label: str,
    caption: str,
    transform=np.asarray,
) -> None:
    """Draws panels and one legend; `transform` maps ln loss to what the y axes show."""
    columns = min(3, len(panels)) if len(panels) != 4 else 2
    rows = math.ceil(len(panels) / columns)
    spare = rows * columns > len(panels)
    size = (6.4, 4.6) if len(panels) == 1 else (3.4 * columns, 2.8 * rows + (0.3 if spare else 1.4))
    figure = Figure(figsize=size, layout="constrained")
    axes = [figure.add_subplot(rows, columns, index + 1) for index in range(len(panels))]
    looks = drawing.styles(line.rule for panel in panels for line in panel.lines)
    for axis, panel in zip(axes, panels):
        longest = max(run.losses.size for line in panel.lines for run in line.runs)
        for line in panel.lines:
            _draw_line(axis, line, looks[line.rule], window, transform)
        axis.set_title(panel.title, fontsize=10)
        drawing.label(axis, "training iterations", y_label)
        axis.set_xlim(0, longest)
        if transform is np.exp:
            _scale_by_logarithm(axis)
    figure.suptitle(title, fontsize=11)
    handles = _legend_handles(panels, looks)
    if spare:
        corner = figure.add_subplot(rows, columns, rows * columns)
        corner.axis("off")
        text = textwrap.fill(caption, 42)
        corner.legend(handles=handles, loc="center", title=text, **drawing.LEGEND)
    else:
        drawing.legend_below(figure, handles, caption)
    drawing.save(figure, path)


def _scale_by_logarithm(axis: Axes) -> None:
    axis.set_yscale("log")
    axis.yaxis.set_minor_formatter(ticker.NullFormatter())
    low, high = axis.get_ylim()
    if high < _MANY_DECADES * low:  # Else powers of ten, as Matplotlib writes them.
        axis.yaxis.set_major_locator(ticker.LogLocator(subs=(1.0, 2.0, 5.0)))
        axis.yaxis.set_major_formatter("{x:g}")


def _draw_line(axis: Axes, line: Line, style: drawing.Style, window: int, transform) -> None:
    if line.overlay is not None:
        axis.plot(
            line.overlay.steps,
            transform(line.overlay.ln_loss),
            linestyle=drawing.PUBLISHED,
            linewidth=1.1,
            color=style.color,
        )
    if not line.runs:
        return
    mean, sd, _ = statistics.over_seeds(
        [statistics.mean_of_log(run.losses, window) for run in line.runs]
    )
    steps = window * np.arange(1, len(mean) + 1)
    axis.fill_between(
        steps,
        transform(mean - sd),
        transform(mean + sd),
        color=style.color,
        alpha=drawing.BAND,
        lw=0,
    )
    every = max(1, len(steps) // 6)
    axis.plot(
        steps,
        transform(mean),
        linestyle=style.line,
        linewidth=1.5,
        color=style.color,
        marker=style.marker,
        markersize=3.5,
        markevery=(every // 2, every),
        clip_on=False,  # The only point of 100 steps is on the edge.
    )
    diverged = [(run.diverged_at - 1) // window for run in line.runs if run.diverged_at]
    if diverged and min(diverged) > 0:
        last = min(min(diverged), len(mean)) - 1
        point = steps[last], transform(mean)[last]
        axis.plot(*point, "X", color=style.color, markersize=11, mec="white", mew=1.2, zorder=5)


def _legend_handles(panels: Sequence[Panel], styles: dict[str, drawing.Style]) -> list[Line2D]:
    handles = []
    for rule, style in styles.items():
        lines = [
            (panel.title, line) for panel in panels for line in panel.lines if line.rule == rule
        ]
        label = lines[0][1].label + _remarks(lines)
        is_run = any(line.runs for _, line in lines)
        is_published = any(line.overlay is not None for _, line in lines)
        handles.append(drawing.handle(style, label, published=is_published and not is_run))
    return handles


def _remarks(lines: Sequence[tuple[str, Line]]) -> str:
    """What the legend says of the lines of one rule, which come with the titles of their panels."""
    runs = [run for _, line in lines for run in line.runs]
    rates = tables.learning_rates(runs)
    remarks = [f"learning rate {rates}"] if rates else []
    absent = [(title, line) for title, line in lines if not line.runs]
    for said, without in (
        ("published only", [title for title, line in absent if line.overlay is not None]),
        ("missing", [title for title, line in absent if line.overlay is None]),
    ):
        if without:
            remarks.append(said if len(without) == len(lines) else f"{said}: {', '.join(without)}")
    diverged = sum(run.diverged_at is not None for run in runs)
    if diverged:
        remarks.append(f"{diverged} of {len(runs)} runs diverged")
    return f" ({'; '.join(remarks)})" if remarks else ""


def _caption(panels: Sequence[Panel], window: int) -> str:
    lines = [line for panel in panels for line in panel.lines]
    counts = sorted({len(line.runs) for line in lines if line.runs})
    seeds = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    mean = f"{window}-step means of ln loss"
    lines_are = f"{mean}, one seed" if counts == [1] else f"mean over {seeds} seeds of {mean}"
    parts = [f"Lines: {lines_are}"]
    if counts[-1] > 1:
        parts.append("bands: one standard deviation")
    if any(run.diverged_at for line in lines for run in line.runs):
        parts.append("cross: a run diverges, the mean goes on without it")
    if any(line.overlay for line in lines):
        parts.append("dashed: published")
    doubts = {line.overlay.doubt for line in lines if line.overlay and line.overlay.doubt}
    return "; ".join([*parts, *sorted(doubts)]) + "."
