"""Reads whatever can be compared: results, trainings, published curves, files of curves."""

import csv
import itertools
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeVar

import numpy as np

from l2o_tf.core import errors, files, flags
from l2o_tf.evaluation import curves, paper_figures, published, results, statistics

_METRICS = "metrics.csv"
_METRICS_BEGIN = "event,kind,epoch,"
_VALIDATION, _SCORE, _META_LOSS = "validation", "score", "meta-loss"


class Source(NamedTuple):
    """The curves of one rule on one optimizee, or the validations or meta-losses of a training.

    Attributes:
        name: what to call it, such as "dm on mlp".
        steps: int [num_windows], the last step of each window, or the epochs of validations.
        values: float64 [num_rows, num_windows], mean of ln loss per window; nan where it is
            missing or not finite.
        runs_per_row: how many runs one row is the mean of: 1, or 10 for a published curve.
        diverged_at: float [num_rows], the first step whose loss is not finite, inf without one;
            None where unknown.
        notes: what a reader of a comparison should know, such as the data.
        unit: what `steps` counts: "step" or "epoch".
        end: the last step of the longest run, which may be in no whole window; None where it is
            that of the last one.
    """

    name: str
    steps: np.ndarray
    values: np.ndarray
    runs_per_row: int
    diverged_at: np.ndarray | None
    notes: tuple[str, ...]
    unit: str = "step"
    end: int | None = None


Key = tuple[str, str]  # (rule, optimizee)
_Named = TypeVar("_Named")


def label_and_spec(text: str) -> tuple[str, str]:
    """Parts `label=SPEC`; the label is empty without one, also where a path holds the "="."""
    label, equals, spec = text.partition("=")
    if not equals or _split(text)[0] is not None or "/" in label:
        return "", text
    return label, spec


def read(spec: str, window: int = results.WINDOW) -> dict[Key, Source]:
    """Reads all series that a specification names.

    Args:
        spec: `PATH`, `PATH:OPTIMIZEE` or `PATH:OPTIMIZEE:RULE`. A path is a results directory, a
            run directory with one results directory in it, a run directory (or one that holds
            runs of several seeds; then `PATH:validation:STEPS` or `PATH:meta-loss:STEPS`), a CSV
            of published curves or a name such as figure2 for those of the package (then with the
            paper's panel and series in place of optimizee and rule), or a file that `curves.read`
            takes. Several run directories or files, separated by commas, count as seeds of one
            series.
        window: the number of steps per window; published curves are on windows of 100.

    Returns:
        The series by (rule, optimizee). A file of curves does not say what it is of: its keys
        are ("", name of the array or of the file). A training's are ("training", "validation on
        N steps"), or "score on ..." of several optimizees, and ("training", "meta-loss on N
        steps"), a point for each validation: the mean over the epochs since the one before.

    Raises:
        InputError: if nothing is there, it cannot be read, or it has no such series.
    """
    path, selection = _split(spec)
    if path is None:
        paths = [pathlib.Path(os.path.expanduser(part)) for part in flags.split_list(spec)]
        absent = [str(part) for part in paths if not files.exists(part)]
        if absent or not paths:
            name = (absent or [spec])[0]
            name = name if len(name) < 300 else f"{name[:300]}..."
            raise errors.InputError(f"{name!r} not found: pass [LABEL=]PATH[:OPTIMIZEE[:RULE]]")
        return _several(paths, window)
    if path.name in ("results.csv", "losses.npz"):
        path = path.parent
    if files.is_dir(path):
        directory = None if _names_a_training(path, selection) else _results_directory(path)
        if directory is not None:
            return _from_results(spec, directory, selection, window)
    elif path.suffix == ".csv" and published.is_published(path):
        return _from_published(spec, path, selection, window)
    if files.is_dir(path) or _is_metrics(path):
        return _from_trainings([path], spec, selection)
    if selection:
        raise errors.InputError(f"{path} holds a single series: remove :{':'.join(selection)}")
    return _several([path], window)


def _split(spec: str) -> tuple[pathlib.Path | None, list[str]]:
    """The longest prefix that is a path, since labels such as tuned:adam hold colons too.

    A figure's name, such as figure2, that is no path stands for the package's published curves.
    """
    parts = spec.split(":")
    for end in range(len(parts), 0, -1):
        path = pathlib.Path(":".join(parts[:end]))
        if files.exists(path):
            return path, _selection(parts[end:])
    return published.path_of(parts[0]), _selection(parts[1:])


def _selection(parts: list[str]) -> list[str]:
    """The optimizee and the rule, whose name may hold colons."""
    rule = ":".join(parts[1:])
    return [*parts[:1], *([rule] if rule else [])]


def _names_a_training(path: pathlib.Path, selection: list[str]) -> bool:
    """Whether curves of a training are meant, also where its evaluations are in its directory."""
    kind = next(iter(selection), None)
    return kind in (_VALIDATION, _SCORE, _META_LOSS) and bool(_trainings([path]))


def _results_directory(path: pathlib.Path) -> pathlib.Path | None:
    """The results in a directory; None for a training without any."""
    if results.holds_results(path):
        return path
    inside = [child for child in files.matching(path, "*") if results.holds_results(child)]
    if not inside and _trainings([path]):
        return None
    if len(inside) != 1:
        found = ", ".join(map(str, inside)) or "none"
        training = f"; or {path}:{_VALIDATION} of its training" if _trainings([path]) else ""
        raise errors.InputError(
            f"{path} has no results; directories with results in it: {found}{training}"
        )
    return inside[0]


def _from_results(
    spec: str, directory: pathlib.Path, selection: list[str], window: int
) -> dict[Key, Source]:
    grouped = statistics.group(results.load(directory))
    chosen = _select(spec, {(key[1], key[0]): key for key in grouped}, selection)
    sources = {}
    for rule, optimizee in chosen.values():
        runs = grouped[rule, optimizee]
        data = "/".join(filter(None, [runs[0].dataset, runs[0].split]))
        sources[rule, optimizee] = _from_losses(
            f"{rule} on {optimizee}", [run.losses for run in runs], window, (data,) if data else ()
        )
    return sources


def _from_published(
    spec: str, path: pathlib.Path, selection: list[str], window: int
) -> dict[Key, Source]:
    if window != results.WINDOW:
        raise errors.InputError(
            f"published curves are on windows of {results.WINDOW} steps, not {window}: "
            "use the default window"
        )
    found = published.read(path)
    sources = {}
    for panel, series in _select(spec, {key: key for key in found}, selection):
        curve = found[panel, series]
        labels = paper_figures.labels_of(panel, series) or (series, panel)
        sources[labels] = Source(
            name=f"published {series} on {panel}",
            steps=curve.steps,
            values=curve.ln_loss[None],
            runs_per_row=published.NUM_RUNS,
            diverged_at=None,
            notes=(curve.doubt,) if curve.doubt else (),
        )
    return sources


def _several(paths: Sequence[pathlib.Path], window: int) -> dict[Key, Source]:
    """Trainings or files of curves as seeds of one series."""
    trainings = [path for path in paths if files.is_dir(path) or _is_metrics(path)]
    if trainings:
        if len(trainings) < len(paths):
            raise errors.InputError(
                "run directories and files of losses cannot be one series: name them separately"
            )
        return _from_trainings(paths, ",".join(map(str, paths)), [])
    losses: dict[str, list[np.ndarray]] = {}
    for path in paths:
        for name, runs in curves.read(path).items():
            losses.setdefault(name, []).extend(runs)
    if not losses:
        raise errors.InputError(f"{paths[0]} holds no series")
    title = paths[0].name if len(paths) == 1 else f"{paths[0].name} and {len(paths) - 1} more"
    single = len(losses) == 1
    return {
        ("", paths[0].name if single else name): _from_losses(
            title if single else f"{name} of {title}", rows, window, ()
        )
        for name, rows in losses.items()
    }


def _is_metrics(path: pathlib.Path) -> bool:
    if path.suffix != ".csv":
        return False
    return files.read_bytes(path).startswith(_METRICS_BEGIN.encode())


def _trainings(paths: Sequence[pathlib.Path]) -> list[pathlib.Path]:
    """The metrics files at paths: in a run directory, or in those that it holds."""
    found = []
    for path in paths:
        if files.is_file(path):
            found.append(path)
        elif files.is_file(path / _METRICS):
            found.append(path / _METRICS)
        else:
            found += files.matching(path, f"*/{_METRICS}")
    return found


def _from_trainings(
    paths: Sequence[pathlib.Path], spec: str, selection: list[str]
) -> dict[Key, Source]:
    """Validations and meta-losses of trainings over epochs, each a series per number of steps."""
    metrics = _trainings(paths)
    if not metrics:
        raise errors.InputError(f"{paths[0]} has neither results nor a {_METRICS}")
    found: dict[tuple[str, int], list[dict[int, float]]] = {}
    for path in metrics:
        for key, row in _curves_of_training(path).items():
            found.setdefault(key, []).append(row)
    if not found:
        raise errors.InputError(f"{metrics[0]} has no validations yet")
    in_order = sorted(found, key=lambda key: (key[0] == _META_LOSS, key[1]))
    names = {(kind, f"{num_steps}"): (kind, num_steps) for kind, num_steps in in_order}
    name = paths[0].name if paths[0].name != _METRICS else paths[0].parent.name
    sources = {}
    for kind, num_steps in _select(spec, names, selection).values():
        rows = found[kind, num_steps]
        epochs = np.array(sorted(set(itertools.chain(*rows))))
        title = f"{kind} on {num_steps} steps" if num_steps else kind
        bad = [[epoch for epoch, value in row.items() if np.isnan(value)] for row in rows]
        sources["training", title] = Source(
            name=f"{name}, {title}",
            steps=epochs,
            values=np.array([[row.get(epoch, np.nan) for epoch in epochs] for row in rows]),
            runs_per_row=1,
            diverged_at=np.array([min(epochs, default=np.inf) for epochs in bad], float),
            notes=(),
            unit="epoch",
        )
    return sources


def _curves_of_training(path: pathlib.Path) -> dict[tuple[str, int], dict[int, float]]:
    """ln of the losses in a metrics file by kind and number of steps, then by epoch.

    nan stands for a loss that is not finite, 0 steps for epochs of several lengths.
    """
    validations: dict[int, dict[int, float]] = {}
    periods: list[tuple[int, set[int], float]] = []
    lengths, losses = set[int](), list[float]()
    try:
        with open(path, newline="", encoding="utf-8") as file:
            rows = csv.DictReader(file, strict=True)
            # The score of several optimizees is a mean of logarithms already.
            are_logarithms = any(name.startswith("loss_on_") for name in rows.fieldnames or ())
            for row in rows:
                epoch, num_steps, loss = int(row["epoch"]), int(row["num_steps"]), row["loss"]
                if row["kind"] == "meta_loss":
                    lengths.add(num_steps)
                    losses.append(float(loss))
                elif row["kind"] in ("validation", "baseline"):
                    score = _mean_of_ln([float(loss)], are_logarithms)
                    validations.setdefault(num_steps, {})[epoch] = score
                    if losses:
                        periods.append((epoch, lengths, _mean_of_ln(losses)))
                        lengths, losses = set(), []
    except (OSError, KeyError, TypeError, ValueError, csv.Error) as error:
        reason = errors.reason(error)
        raise errors.InputError(f"cannot read the losses in {path}: {reason}") from error
    kind = _SCORE if are_logarithms else _VALIDATION
    found = {(kind, num_steps): row for num_steps, row in validations.items()}
    alike = all(len(lengths) == 1 for _, lengths, _ in periods)
    for epoch, lengths, value in periods:
        found.setdefault((_META_LOSS, min(lengths) if alike else 0), {})[epoch] = value
    return found


def _mean_of_ln(losses: Sequence[float], are_logarithms: bool = False) -> float:
    if not np.isfinite(losses).all():
        return np.nan
    return float(np.mean(losses if are_logarithms else statistics.ln(np.array(losses))))


def _from_losses(
    name: str, losses: list[np.ndarray], window: int, notes: tuple[str, ...]
) -> Source:
    rows = [statistics.mean_of_log(row, window) for row in losses]
    if not any(map(len, rows)):
        raise errors.InputError(
            f"{name} is shorter than one window of {window} steps: pass a smaller window"
        )
    bad = [np.flatnonzero(~np.isfinite(row)) for row in losses]
    return Source(
        name=name,
        steps=statistics.window_ends(max(map(len, losses)), window),
        values=statistics.pad(rows),
        runs_per_row=1,
        diverged_at=np.array([steps[0] + 1 if steps.size else np.inf for steps in bad], float),
        notes=notes,
        end=max(map(len, losses)),
    )


def _select(spec: str, keys: Mapping[Key, _Named], selection: list[str]) -> dict[Key, _Named]:
    """The entries of `keys` whose name, (optimizee, rule), starts with the selection."""
    if not keys:
        raise errors.InputError(f"{spec} holds no series")
    chosen = {name: key for name, key in keys.items() if list(name[: len(selection)]) == selection}
    if not chosen:
        known = ", ".join(":".join(name) for name in keys)
        raise errors.InputError(f"{spec} has no {':'.join(selection)}; it has {known}")
    return chosen
