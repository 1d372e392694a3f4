"""The figure of a report: training losses of each task, and the speed-ups of all."""

import os
from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from l2o_tf.evaluation import drawing
from l2o_tf.keras_evaluation import scores
from l2o_tf.keras_evaluation.report import Report

_COLUMNS = 3
_ADAM, _ADAMW = "Adam, best rate of the task", "AdamW, one rate for all"


def draw(report: Report, path: str | os.PathLike) -> None:
    """Draws a panel per task and one of speed-ups.

    Raises:
        InputError: if the file cannot be written.
    """
    labels = report.of_kind("rule")
    styles = drawing.styles([*labels, _ADAM, _ADAMW])
    num_panels = len(report.cells) + 1
    columns = min(_COLUMNS, num_panels)
    rows = -(-num_panels // columns)
    figure = Figure(figsize=(3.6 * columns, 2.8 * rows + 0.7), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis in axes[num_panels:]:
        axis.set_visible(False)
    for axis, (task, cells) in zip(axes, report.cells.items()):
        curves = {label: cells[label].curve for label in labels}
        curves |= {_ADAM: cells[report.adam[task]].curve, _ADAMW: cells[report.adamw].curve}
        _draw_curves(axis, curves, styles)
        axis.set_title(task, fontsize=9)
    _draw_speed_ups(axes[len(report.cells)], report, styles)
    handles = [drawing.handle(style, label) for label, style in styles.items()]
    drawing.legend_below(figure, handles, "mean over seeds, smoothed over a twentieth of the steps")
    drawing.save(figure, path)


def _draw_curves(axis: Axes, curves: Mapping[str, scores.Curve], styles) -> None:
    for label, found in curves.items():
        steps = found.window + np.arange(len(found.losses))
        style = styles[label]
        axis.plot(steps, found.losses, color=style.color, linestyle=style.line, linewidth=1.3)
    # A logarithm would leave out losses such as cosine similarities.
    has_negative = any((found.losses < 0).any() for found in curves.values())
    axis.set_yscale("linear" if has_negative else "log")
    drawing.label(axis, "step", "training loss")


def _draw_speed_ups(axis: Axes, report: Report, styles) -> None:
    """A point per rule and task, and the interquartile mean with its interval."""
    for place, label in enumerate(report.of_kind("rule"), 1):
        values = [row[label].speed_up for row in report.cells.values()]
        middle = scores.interquartile_mean(values)
        color = styles[label].color
        axis.plot([place] * len(values), values, ".", color=color, alpha=0.5)
        interval = [[middle.mean - middle.low], [middle.high - middle.mean]]
        axis.errorbar([place], [middle.mean], np.abs(interval), fmt="D", color=color, capsize=4)
    axis.axhline(1.0, color="0.3", linewidth=0.8)
    axis.set_title("speed-up over AdamW", fontsize=9)
    drawing.label(axis, "", "steps of AdamW per step")
    axis.set_xticks([])
    axis.set_ylim(bottom=0)
