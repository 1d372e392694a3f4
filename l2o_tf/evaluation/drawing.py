"""How figures look and how they are saved: Matplotlib's object-oriented interface, no pyplot."""

import io
import os
import pathlib
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from l2o_tf.core import errors, files

# Okabe and Ito's colour-blind-safe palette without its yellow, too pale for a line on white.
BLUE, VERMILLION, GREEN = "#0072B2", "#D55E00", "#009E73"
_SKY, _ORANGE, _PURPLE, BLACK = "#56B4E9", "#E69F00", "#CC79A7", "#000000"
PALETTE = (BLUE, VERMILLION, GREEN, _SKY, _ORANGE, _PURPLE, BLACK)
MARKERS = "osD^vPX"  # A second cue beside the colour: one marker per colour.
# A rule keeps its colour in every figure; rules that no figure shows together may share one.
COLORS = {
    "dm": BLUE,
    "dm_aug": _ORANGE,
    "dm_cl": _SKY,
    "dm_il": _PURPLE,
    "dm_cl_il": VERMILLION,
    "rnnprop": GREEN,
    "rnnprop_cl_il": BLACK,
    "scale": _SKY,
    "scale_cl_il": _PURPLE,
    "scale_il": _PURPLE,
    "scale_si": _ORANGE,
    "scale_meta": _ORANGE,
    "tuned:adam": BLACK,
    "tuned:rmsprop": GREEN,
    "tuned:sgd": _PURPLE,
}
LineStyle: TypeAlias = Literal["-", "-.", ":"] | tuple[float, Sequence[float]]
PUBLISHED: LineStyle = (0, (4, 2))
# For more series than colours; plain dashes mean published.
_LINE_STYLES: tuple[LineStyle, ...] = ("-", "-.", ":", (0, (6, 1, 1, 1, 1, 1)), (0, (1, 3)))
BAND = 0.18  # Opacity.
LEGEND: dict[str, Any] = {"fontsize": 8, "title_fontsize": 7.5, "frameon": False}
# Files without the time of day, so that the same numbers give the same bytes.
_METADATA = {"png": None, "pdf": {"CreationDate": None}, "svg": {"Date": None}}
FORMATS = tuple(_METADATA)
_DPI = 300


class Style(NamedTuple):
    """The look of a line."""

    color: str
    marker: str
    line: LineStyle


def styles(rules: Iterable[str]) -> dict[str, Style]:
    """A style per rule: its fixed colour where it has one, else the next that is free."""
    rules = list(dict.fromkeys(rules))
    found, taken = {}, set()
    everything = [(color, line) for line in _LINE_STYLES for color in PALETTE]
    for rule in sorted(rules, key=lambda rule: rule not in COLORS):
        free = [pair for pair in everything if pair not in taken] or everything
        color, line = free[0]
        if (COLORS.get(rule), "-") in free:
            color, line = COLORS[rule], "-"
        taken.add((color, line))
        found[rule] = Style(color, MARKERS[PALETTE.index(color)], line)
    return {rule: found[rule] for rule in rules}


def handle(style: Style, label: str, published: bool = False) -> Line2D:
    """What stands for a style, or for published curves alone in its colour, in a legend."""
    return Line2D(
        [],
        [],
        color=style.color,
        marker="" if published else style.marker,
        linestyle=PUBLISHED if published else style.line,
        markersize=4,
        label=textwrap.fill(label, 42, break_on_hyphens=False),
    )


def legend_below(figure: Figure, handles: Sequence[Line2D], caption: str) -> None:
    """A legend under the panels, with as many columns as the longest label leaves room for."""
    characters = 15 * figure.get_figwidth()
    longest = max(len(line) for handle in handles for line in str(handle.get_label()).splitlines())
    figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=max(1, min(len(handles), int(characters / (longest + 9)))),
        title=textwrap.fill(caption, int(characters)),
        **LEGEND,
    )


def label(axis: Axes, x: str, y: str) -> None:
    """Labels the axes, which start at x = 0, and draws a pale grid."""
    axis.set_xlabel(x, fontsize=9)
    axis.set_ylabel(y, fontsize=9)
    axis.tick_params(labelsize=8)
    axis.grid(alpha=0.25, linewidth=0.6)
    axis.spines[["top", "right"]].set_visible(False)
    axis.set_xlim(left=0)


def check_format(path: str | os.PathLike) -> str:
    """The format that a file's ending asks for.

    Raises:
        InputError: if it is not one of `FORMATS`.
    """
    ending = pathlib.Path(path).suffix.removeprefix(".")
    if ending not in FORMATS:
        endings = ", ".join(f".{name}" for name in FORMATS)
        raise errors.InputError(f"{path} must end in one of {endings}")
    return ending


def save(figure: Figure, path: str | os.PathLike) -> None:
    """Writes a figure atomically, in the format that the file's ending asks for.

    Raises:
        InputError: if there is no such format or the file cannot be written.
    """
    ending = check_format(path)
    content = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "l2o_tf"}):
        figure.savefig(content, dpi=_DPI, format=ending, metadata=_METADATA[ending])
    files.write_atomically(path, content.getvalue())
