"""Reads results of any kind for comparison: ours, legacy loss records, published curves."""

import pathlib
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from l2o_tf.core import errors
from l2o_tf.evaluation import paper_figures, published, results, statistics
from l2o_tf.legacy import loss_records


class Source(NamedTuple):
    """The curves of one rule on one optimizee.

    Attributes:
        name: what to call it, such as "dm on mlp".
        steps: int [num_windows], the last step of each window.
        values: float64 [num_rows, num_windows], mean of ln loss per window; nan where it is
            missing or not finite.
        runs_per_row: how many runs one row is the mean of: 1, or 10 for a published curve.
        num_diverged: how many rows have a loss that is not finite; None where unknown.
        notes: what a reader of a comparison should know, such as the data.
    """

    name: str
    steps: np.ndarray
    values: np.ndarray
    runs_per_row: int
    num_diverged: int | None
    notes: tuple[str, ...]


Key = tuple[str, str]  # (rule, optimizee)


def read(spec: str, window: int = results.WINDOW) -> dict[Key, Source]:
    """Reads all series that a specification names.

    Args:
        spec: `PATH`, `PATH:OPTIMIZEE` or `PATH:OPTIMIZEE:RULE`. A path is a results directory, a
            run directory with one results directory in it, a CSV of published curves (then with
            the paper's panel and series in place of optimizee and rule), or one or several
            legacy loss records, separated by commas, which count as seeds of one series.
        window: the number of steps per window; published curves are on windows of 100.

    Returns:
        The series by (rule, optimizee). A loss record does not say what it is of: its key is
        ("", file name).

    Raises:
        InputError: if nothing is there, it cannot be read, or it has no such series.
    """
    path, selection = _split(spec)
    if path is None:
        paths = [pathlib.Path(part) for part in spec.split(",")]
        absent = [str(part) for part in paths if not part.is_file()]
        if absent:
            raise errors.InputError(f"{absent[0]} not found: pass PATH[:OPTIMIZEE[:RULE]]")
        return _from_records(paths, window)
    if path.name in ("results.csv", "losses.npz"):
        path = path.parent
    if path.is_dir():
        return _from_results(spec, _results_directory(path), selection, window)
    if path.suffix == ".csv":
        return _from_published(spec, path, selection, window)
    if selection:
        raise errors.InputError(f"{path} is a single loss record: remove :{':'.join(selection)}")
    return _from_records([path], window)


def _split(spec: str) -> tuple[pathlib.Path | None, list[str]]:
    """The longest prefix that is a path, since labels such as tuned:adam hold colons too."""
    parts = spec.split(":")
    for end in range(len(parts), 0, -1):
        path = pathlib.Path(":".join(parts[:end]))
        if path.exists():
            optimizee, rule = parts[end : end + 1], ":".join(parts[end + 1 :])
            return path, [*optimizee, *([rule] if rule else [])]
    return None, []


def _results_directory(path: pathlib.Path) -> pathlib.Path:
    if results.holds_results(path):
        return path
    inside = sorted(child for child in path.iterdir() if results.holds_results(child))
    if len(inside) != 1:
        found = ", ".join(map(str, inside)) or "none"
        raise errors.InputError(f"{path} has no results; directories with results in it: {found}")
    return inside[0]


def _from_results(
    spec: str, directory: pathlib.Path, selection: list[str], window: int
) -> dict[Key, Source]:
    sources = {}
    for (rule, optimizee), runs in statistics.group(results.load(directory)).items():
        data = "/".join(filter(None, [runs[0].dataset, runs[0].split]))
        sources[rule, optimizee] = _from_losses(
            f"{rule} on {optimizee}", [run.losses for run in runs], window, (data,) if data else ()
        )
    chosen = _select(spec, {(key[1], key[0]): key for key in sources}, selection)
    return {key: sources[key] for key in chosen.values()}


def _from_published(
    spec: str, path: pathlib.Path, selection: list[str], window: int
) -> dict[Key, Source]:
    if window != results.WINDOW:
        raise errors.InputError(
            f"published curves are on windows of {results.WINDOW} steps, not {window}: "
            "use the default window"
        )
    curves = published.read(path)
    sources = {}
    for (panel, series), key in _select(spec, {key: key for key in curves}, selection).items():
        curve = curves[panel, series]
        labels = paper_figures.labels_of(panel, series) or (series, panel)
        sources[labels] = Source(
            name=f"published {series} on {panel}",
            steps=curve.steps,
            values=curve.ln_loss[None],
            runs_per_row=published.NUM_RUNS,
            num_diverged=None,
            notes=(curve.doubt,) if curve.doubt else (),
        )
    return sources


def _from_records(paths: list[pathlib.Path], window: int) -> dict[Key, Source]:
    name = paths[0].name if len(paths) == 1 else f"{paths[0].name} and {len(paths) - 1} more"
    losses = [loss_records.read(path) for path in paths]
    return {("", paths[0].name): _from_losses(name, losses, window, ())}


def _from_losses(
    name: str, losses: list[np.ndarray], window: int, notes: tuple[str, ...]
) -> Source:
    rows = [statistics.mean_of_log(row, window) for row in losses]
    if not any(map(len, rows)):
        raise errors.InputError(
            f"{name} is shorter than one window of {window} steps: pass a smaller window"
        )
    return Source(
        name=name,
        steps=statistics.window_ends(max(map(len, losses)), window),
        values=statistics.pad(rows),
        runs_per_row=1,
        num_diverged=sum(not np.isfinite(row).all() for row in losses),
        notes=notes,
    )


def _select(spec: str, keys: Mapping[Key, Key], selection: list[str]) -> dict[Key, Key]:
    """The entries of `keys` whose name, (optimizee, rule), starts with the selection."""
    chosen = {name: key for name, key in keys.items() if list(name[: len(selection)]) == selection}
    if not chosen:
        known = ", ".join(":".join(name) for name in keys)
        raise errors.InputError(f"{spec} has no {':'.join(selection)}; it has {known}")
    return chosen
