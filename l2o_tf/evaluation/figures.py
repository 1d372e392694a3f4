"""Figures of loss curves, drawn with Matplotlib's object-oriented interface (Agg, no pyplot)."""

import math
import os
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from l2o_tf.core import errors
from l2o_tf.evaluation import comparison, paper_figures, published, results, statistics

# Okabe and Ito's colour-blind-safe palette without its yellow, too pale for a line on white.
_BLUE, _VERMILLION, _GREEN = "#0072B2", "#D55E00", "#009E73"
_SKY, _ORANGE, _PURPLE, _BLACK = "#56B4E9", "#E69F00", "#CC79A7", "#000000"
PALETTE = (_BLUE, _VERMILLION, _GREEN, _SKY, _ORANGE, _PURPLE, _BLACK)
_MARKERS = "osD^vPX"  # A second cue beside the colour: one marker per colour.
# A rule keeps its colour in every figure; rules that no figure shows together may share one.
COLORS = {
    "dm": _BLUE,
    "dm_aug": _ORANGE,
    "dm_cl": _SKY,
    "dm_il": _PURPLE,
    "dm_cl_il": _VERMILLION,
    "rnnprop": _GREEN,
    "rnnprop_cl_il": _BLACK,
    "scale": _SKY,
    "scale_cl_il": _PURPLE,
    "scale_il": _PURPLE,
    "scale_si": _ORANGE,
    "scale_meta": _ORANGE,
    "tuned:adam": _BLACK,
    "tuned:rmsprop": _GREEN,
    "tuned:sgd": _PURPLE,
}
# For more series than colours, or more optimizees in a panel; plain dashes mean published.
_LINE_STYLES = ("-", "-.", ":", (0, (6, 1, 1, 1, 1, 1)), (0, (1, 3)))
_BAND = 0.18  # Opacity.
_DPI = 120
_QUICK_LOOK_POINTS = 50


class Line(NamedTuple):
    """One series of one panel; without runs it is missing from the results."""

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
) -> list[str]:
    """Draws one figure of the paper from results.

    Args:
        number: the number of a figure in `paper_figures.FIGURES`.
        runs: results; those that the figure does not show are ignored.
        path: the PNG file to write.
        curves: published curves by (panel, series), overlaid as dashed lines.

    Returns:
        What is missing from the results, such as "L2O-Scale (scale) on MLP-orig, MLP-ReLU".

    Raises:
        InputError: if the paper has no such figure, the results hold nothing of it, or runs of
            one series are on different data.
    """
    if number not in paper_figures.FIGURES:
        known = ", ".join(map(str, paper_figures.FIGURES))
        raise errors.InputError(f"figure {number} is unknown: choose one of {known}")
    grouped = statistics.group(runs)
    figure = paper_figures.FIGURES[number]
    panels, missing = [], {}
    for panel in figure.panels:
        lines = []
        for label, rule in panel.series:
            members = grouped.get((rule, panel.optimizee), [])
            lines.append(Line(label, rule, members, (curves or {}).get((panel.title, label))))
            if not members:
                missing.setdefault(f"{label} ({rule})", []).append(panel.title)
        panels.append(Panel(panel.title, lines))
    if not any(line.runs for panel in panels for line in panel.lines):
        wanted = panels[0].lines[0].rule, figure.panels[0].optimizee
        raise errors.InputError(
            f"the results hold nothing that figure {number} shows, such as {' on '.join(wanted)}"
        )
    if number == 4:
        _training_settings(panels[0], path, f"Figure {number}: {figure.caption}")
    else:
        loss_curves(panels, path, f"Figure {number}: {figure.caption}")
    return [f"{series} on {', '.join(titles)}" for series, titles in missing.items()]


def loss_curves(
    panels: Sequence[Panel],
    path: str | os.PathLike,
    title: str = "",
    window: int = results.WINDOW,
) -> None:
    """Draws panels of training loss, in natural log, over training iterations.

    A line is the mean over seeds of the window means of ln loss, a band one standard deviation
    over seeds. The mean is over the seeds that are still finite; a cross marks the last window
    before the first of them diverges, and the legend counts those that do.

    Raises:
        InputError: if the file cannot be written.
    """
    columns = min(3, len(panels)) if len(panels) != 4 else 2
    rows = math.ceil(len(panels) / columns)
    spare = rows * columns > len(panels)
    width = max(5.0, 3.4 * columns)
    height = 2.8 * rows + (0.3 if spare else 1.4)
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = [figure.add_subplot(rows, columns, index + 1) for index in range(len(panels))]
    styles = styles_of(line.rule for panel in panels for line in panel.lines)
    for axis, panel in zip(axes, panels):
        for line in panel.lines:
            _draw_line(axis, line, styles[line.rule], window)
        axis.set_title(panel.title, fontsize=10)
        label_axes(axis, "training iterations", "training loss (ln)")
    figure.suptitle(title, fontsize=11)
    handles = _legend_handles(panels, styles)
    caption = _caption(panels, window)
    if spare:
        corner = figure.add_subplot(rows, columns, rows * columns)
        corner.axis("off")
        text = textwrap.fill(caption, 42)
        corner.legend(handles=handles, loc="center", title=text, **LEGEND)
    else:
        legend_below(figure, handles, caption)
    save(figure, path)


def quick_look(runs: Sequence[results.Run], path: str | os.PathLike) -> None:
    """Draws all runs in one panel: loss on a logarithmic axis over training iterations.

    The smoothing window follows the length of the runs, a fiftieth of the longest but at most
    100 steps. Lines are geometric means over window and seeds, bands one standard deviation of
    ln loss over seeds.

    Raises:
        InputError: if runs of one series are on different data or the file cannot be written.
    """
    grouped = statistics.group(runs)
    longest = max(run.losses.size for run in runs)
    window = max(1, min(results.WINDOW, longest // _QUICK_LOOK_POINTS))
    optimizees = list(dict.fromkeys(optimizee for _, optimizee in grouped))
    styles = styles_of(rule for rule, _ in grouped)
    figure = Figure(figsize=(6.4, 4.6), layout="constrained")
    axis = figure.add_subplot()
    handles = []
    for (rule, optimizee), members in grouped.items():
        style, label = styles[rule], rule
        if len(optimizees) > 1:
            line_style = _LINE_STYLES[optimizees.index(optimizee) % len(_LINE_STYLES)]
            style, label = style._replace(line=line_style), f"{rule} on {optimizee}"
        line = Line(label, rule, members)
        _draw_line(axis, line, style, window, np.exp)
        handles.append(handle(style, label + _remarks([line], [])))
    axis.set_yscale("log")
    axis.yaxis.set_major_locator(ticker.LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.yaxis.set_major_formatter("{x:g}")
    axis.yaxis.set_minor_formatter(ticker.NullFormatter())
    label_axes(axis, "training iterations", "training loss")
    figure.suptitle(optimizees[0] if len(optimizees) == 1 else "", fontsize=11)
    caption = f"Lines: geometric mean over {window} steps and seeds; bands: one standard deviation"
    legend_below(figure, handles, caption)
    save(figure, path)


def comparison_figure(
    compared: comparison.Comparison, tolerance: float, path: str | os.PathLike
) -> None:
    """Draws both curves of a comparison over their difference with its 95 % interval.

    Raises:
        InputError: if the file cannot be written.
    """
    figure = Figure(figsize=(6.4, 6.0), layout="constrained")
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    steps = compared.a.steps
    for side, color, line in (("a", _BLUE, "-"), ("b", _VERMILLION, "--")):
        source = getattr(compared, side)
        label = f"{side.upper()}: {source.name}"
        mean, sd, _ = statistics.over_seeds(source.values)
        top.plot(steps, mean, color=color, linestyle=line, linewidth=1.5, label=label)
        top.fill_between(steps, mean - sd, mean + sd, color=color, alpha=_BAND, lw=0)
    low = compared.difference - compared.half_width
    high = compared.difference + compared.half_width
    bottom.axhspan(-tolerance, tolerance, color="0.9", label=f"tolerance {tolerance:g}")
    bottom.fill_between(steps, low, high, color=_GREEN, alpha=0.3, lw=0, label="95 % interval")
    bottom.plot(steps, compared.difference, color=_GREEN, linewidth=1.5, label="difference")
    significant = compared.significant
    bottom.plot(
        steps[significant],
        compared.difference[significant],
        "X",
        color=_BLACK,
        markersize=4,
        label="significant (Bonferroni)",
    )
    bottom.axhline(0.0, color="0.3", linewidth=0.8)
    label_axes(top, "", "training loss (ln)")
    label_axes(bottom, "training iterations", "difference in ln loss")
    figure.legend(loc="outside lower center", ncols=2, **LEGEND)
    save(figure, path)


class Style(NamedTuple):
    """How a series looks."""

    color: str
    marker: str
    line: str | tuple


LEGEND = {"fontsize": 8, "title_fontsize": 7.5, "frameon": False}


def styles_of(rules: Iterable[str]) -> dict[str, Style]:
    """A style per rule: its fixed colour where it has one, else the next that is free."""
    rules = list(dict.fromkeys(rules))
    styles, taken = {}, set()
    everything = [(color, line) for line in _LINE_STYLES for color in PALETTE]
    for rule in sorted(rules, key=lambda rule: rule not in COLORS):
        free = [pair for pair in everything if pair not in taken] or everything
        color, line = free[0]
        if (COLORS.get(rule), "-") in free:
            color, line = COLORS[rule], "-"
        taken.add((color, line))
        styles[rule] = Style(color, _MARKERS[PALETTE.index(color)], line)
    return {rule: styles[rule] for rule in rules}


def _draw_line(axis: Axes, line: Line, style: Style, window: int, transform=np.asarray) -> None:
    if line.overlay is not None:
        axis.plot(
            line.overlay.steps,
            transform(line.overlay.ln_loss),
            linestyle=(0, (4, 2)),
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
        steps, transform(mean - sd), transform(mean + sd), color=style.color, alpha=_BAND, lw=0
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
    )
    diverged = [(run.diverged_at - 1) // window for run in line.runs if run.diverged_at]
    if diverged and min(diverged) > 0:
        last = min(min(diverged), len(mean)) - 1
        point = steps[last], transform(mean)[last]
        axis.plot(*point, "X", color=style.color, markersize=11, mec="white", mew=1.2, zorder=5)


def _legend_handles(panels: Sequence[Panel], styles: dict[str, Style]) -> list[Line2D]:
    handles = []
    for rule, style in styles.items():
        lines = [line for panel in panels for line in panel.lines if line.rule == rule]
        where = [
            panel.title
            for panel in panels
            for line in panel.lines
            if line.rule == rule and not line.runs
        ]
        handles.append(handle(style, lines[0].label + _remarks(lines, where)))
    return handles


def handle(style: Style, label: str) -> Line2D:
    """A line for a legend."""
    return Line2D(
        [],
        [],
        color=style.color,
        marker=style.marker,
        linestyle=style.line,
        markersize=4,
        label=textwrap.fill(label, 42),
    )


def legend_below(figure: Figure, handles: Sequence[Line2D], caption: str) -> None:
    """A legend under the panels, with as many columns as the longest label leaves room for."""
    characters = 15 * figure.get_figwidth()
    longest = max(len(line) for handle in handles for line in handle.get_label().splitlines())
    figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=max(1, min(len(handles), int(characters / (longest + 9)))),
        title=textwrap.fill(caption, int(characters)),
        **LEGEND,
    )


def _remarks(lines: Sequence[Line], missing_in: Sequence[str]) -> str:
    runs = [run for line in lines for run in line.runs]
    if not runs:
        return " (missing)"
    remarks = [f"missing: {', '.join(missing_in)}"] if missing_in else []
    diverged = sum(run.diverged_at is not None for run in runs)
    if diverged:
        remarks.append(f"{diverged} of {len(runs)} runs diverged")
    return f" ({'; '.join(remarks)})" if remarks else ""


def _caption(panels: Sequence[Panel], window: int) -> str:
    lines = [line for panel in panels for line in panel.lines]
    counts = sorted({len(line.runs) for line in lines if line.runs})
    seeds = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    plural = "seed" if counts == [1] else "seeds"
    parts = [f"Lines: mean over {seeds} {plural} of {window}-step means of ln loss"]
    if counts != [1]:
        parts.append("bands: one standard deviation")
    if any(run.diverged_at for line in lines for run in line.runs):
        parts.append("cross: a run diverges, the mean goes on without it")
    if any(line.overlay for line in lines):
        parts.append("dashed: published")
    doubts = {line.overlay.doubt for line in lines if line.overlay and line.overlay.doubt}
    return "; ".join([*parts, *sorted(doubts)]) + "."


def _training_settings(panel: Panel, path: str | os.PathLike, title: str) -> None:
    """Figure 4: loss of the last window over the number of training epochs of the rule."""
    by_rule = {line.rule: line.runs for line in panel.lines}
    figure = Figure(figsize=(5.6, 4.0), layout="constrained")
    axis = figure.add_subplot()
    window = results.WINDOW
    for color, marker, num_steps in zip(PALETTE, _MARKERS, paper_figures.TRAINING_LENGTHS):
        points = []
        for epochs in paper_figures.TRAINING_EPOCHS:
            runs = by_rule[paper_figures.training_setting(num_steps, epochs)]
            finals = [statistics.mean_of_log(run.losses[-window:], window) for run in runs]
            if finals:
                points.append((epochs, *(part[0] for part in statistics.over_seeds(finals))))
        epochs, mean, sd, _ = np.array(points or [[np.nan] * 4]).T
        missing = "" if len(points) == len(paper_figures.TRAINING_EPOCHS) else " (points missing)"
        label = f"trained on {num_steps} steps{missing}"
        axis.plot(epochs, mean, color=color, marker=marker, markersize=4, label=label)
        axis.fill_between(epochs, mean - sd, mean + sd, color=color, alpha=_BAND, lw=0)
    figure.suptitle(title, fontsize=11)
    label_axes(axis, "training epochs", "training loss (ln), last 100 steps")
    figure.legend(loc="outside lower center", ncols=2, **LEGEND)
    save(figure, path)


def label_axes(axis: Axes, x: str, y: str) -> None:
    """Labels, a grid and an x axis from 0, as in all figures."""
    axis.set_xlabel(x, fontsize=9)
    axis.set_ylabel(y, fontsize=9)
    axis.tick_params(labelsize=8)
    axis.grid(alpha=0.25, linewidth=0.6)
    axis.spines[["top", "right"]].set_visible(False)
    axis.set_xlim(left=0)


def save(figure: Figure, path: str | os.PathLike) -> None:
    """Writes a PNG; raises InputError if it cannot be written."""
    try:
        os.makedirs(os.path.dirname(os.fspath(path)) or ".", exist_ok=True)
        figure.savefig(path, dpi=_DPI, format="png")
    except OSError as error:
        raise errors.InputError(f"cannot write {path}: {error.strerror or error}") from error
