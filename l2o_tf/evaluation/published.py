"""The paper's published curves, digitised: see `data/published/README.md` for their errors."""

import csv
import os
import pathlib
from typing import NamedTuple

import numpy as np

from l2o_tf.core import errors, files, shipped
from l2o_tf.evaluation import paper_figures

DIRECTORY = shipped.folder("published")
NUM_RUNS = 10  # The paper: "Each curve is the average of ten runs".
_COLUMNS = ["panel", "series", "step", "ln_loss"]
_DOUBTS = {
    ("figure5.csv", "Conv-CIFAR", "L2O-DM-CL"): "the paper's L2O-DM-CL on Conv-CIFAR is probably "
    "mislabelled (it is figure 2's L2O-Scale)"
}


class Curve(NamedTuple):
    """One published curve.

    Attributes:
        steps: int [num_points], the step that a 100-step window ends at.
        ln_loss: float64 [num_points], mean of ln loss over ten runs; nan where missing.
        doubt: why the curve should not be aimed at; empty for most.
    """

    steps: np.ndarray
    ln_loss: np.ndarray
    doubt: str


def path_of(name: str) -> pathlib.Path | None:
    """The file that comes with the package under a name such as "figure2"; None if none does."""
    known = [f"figure{number}" for number, f in paper_figures.FIGURES.items() if f.published]
    return DIRECTORY / f"{name}.csv" if name in known else None


def is_published(path: str | os.PathLike) -> bool:
    """Whether a CSV file has the columns of a digitised figure."""
    try:
        with open(path, encoding="utf-8") as file:
            return file.readline().strip().split(",") == _COLUMNS
    except (OSError, ValueError):
        return False


def read(path: str | os.PathLike) -> dict[tuple[str, str], Curve]:
    """Reads one digitised figure.

    Returns:
        The curves by (panel, series), named as in the paper, in the order of the file.

    Raises:
        InputError: if the file is absent or has other columns or values, or steps that do not
            increase.
    """
    points: dict[tuple[str, str], list[tuple[int, float]]] = {}
    try:
        with open(path, newline="", encoding="utf-8") as file:
            rows = csv.reader(file, strict=True)
            if next(rows, None) != _COLUMNS:
                raise ValueError(f"its columns are not {','.join(_COLUMNS)}")
            for panel, series, step, value in rows:
                point = int(step), float(value) if value else np.nan
                curve = points.setdefault((panel, series), [])
                if curve and point[0] <= curve[-1][0]:
                    raise ValueError(
                        f"{series} on {panel} has step {point[0]} after {curve[-1][0]}"
                    )
                curve.append(point)
    except (OSError, ValueError, csv.Error) as error:
        raise errors.InputError(f"cannot read published curves from {path}: {error}") from error
    name = pathlib.Path(path).name
    return {
        key: Curve(
            np.array([step for step, _ in curve]),
            np.array([value for _, value in curve]),
            _DOUBTS.get((name, *key), ""),
        )
        for key, curve in points.items()
    }


def figure(number: int, directory: str | os.PathLike | None = None) -> dict[tuple[str, str], Curve]:
    """Reads the curves of one figure of the paper by (panel, series).

    Args:
        number: 2, 3, 5 or 6; the others were not digitised.
        directory: where the CSV files are; by default those that come with the package.

    Raises:
        InputError: if the figure was not digitised or its file is absent.
    """
    if number not in paper_figures.FIGURES or not paper_figures.FIGURES[number].published:
        known = [str(n) for n, figure in paper_figures.FIGURES.items() if figure.published]
        raise errors.InputError(
            f"figure {number} has no published numbers: only figures {', '.join(known)} have"
        )
    path = pathlib.Path(directory or DIRECTORY) / f"figure{number}.csv"
    if not files.exists(path):
        raise errors.InputError(
            f"published curves {path} not found: work in a clone of the repository or pass the "
            "directory that holds them"
        )
    return read(path)
