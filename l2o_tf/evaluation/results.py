"""Evaluation results on disk: one loss curve per (rule, optimizee, seed).

A results directory holds
  * `runs/*.npz`: one small file per curve, renamed into place when it is complete, so that an
    interrupted evaluation loses nothing and never leaves half a result;
  * `losses.npz` and `results.csv`, rebuilt from all curves by `consolidate`: one float32 array
    [num_steps] per key "rule|optimizee|seed", and one row per key.
Either form can be read alone: `runs/` is scratch, the two consolidated files are what is kept
under version control. Consolidated files that are missing or damaged stop nobody as long as
`runs/` has all that they are known to hold; they are rebuilt from it.

A directory may come from somewhere else: what it says is checked before it becomes a path.
"""

import contextlib
import csv
import io
import os
import pathlib
import urllib.parse
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from l2o_tf.core import errors, files, locks

WINDOW = 100  # Steps that one reported loss is averaged over, as in the paper's figures.
MAX_STEPS = 10**8  # Of one run; batches are drawn by 32-bit numbers of steps.
DECADES = (100, 1_000, 10_000)
_COLUMNS = ("rule", "optimizee", "dataset", "split", "seed", "num_steps", "diverged_at")
_RATE = "learning_rate"  # A column only where a run has one.
_MAX_FILE_NAME = 200  # File systems allow 255 bytes.


def run_key(rule: str, optimizee: str, seed: int | str) -> str:
    """The name "rule|optimizee|seed", unique in a results directory."""
    return f"{rule}|{optimizee}|{seed}"


class Run(NamedTuple):
    """One optimizee trained by one rule.

    Attributes:
        rule: a short label such as "dm_cl_il" or "tuned:adam", without "|".
        optimizee: its name, without "|".
        dataset: the name of the data set; empty where the loss needs no data.
        split: as `datasets.parse_split` takes it; empty where the loss needs no data.
        seed: the seed of the trajectory.
        losses: float32 [num_steps]; `losses[t - 1]` is the loss after step t on a fresh batch.
        learning_rate: the rate that was searched for the rule; None for rules that have their own.
    """

    rule: str
    optimizee: str
    dataset: str
    split: str
    seed: int
    losses: np.ndarray
    learning_rate: float | None = None

    @property
    def key(self) -> str:
        """The name "rule|optimizee|seed", unique in a results directory."""
        return run_key(self.rule, self.optimizee, self.seed)

    @property
    def diverged_at(self) -> int | None:
        """The first step, counted from 1, whose loss is not finite; None without one."""
        bad = np.flatnonzero(~np.isfinite(self.losses))
        return int(bad[0]) + 1 if bad.size else None


def check_label(what: str, label: str) -> None:
    """Raises InputError for a label that a run cannot have; `what` is "rule" or "optimizee"."""
    if not label or "|" in label or not label.isprintable():
        raise errors.InputError(
            f"{what} label {label!r} cannot be stored: use printable characters without '|'"
        )
    # Its pictures are named after an optimizee.
    if what == "optimizee" and (label.startswith(".") or "/" in label or "\\" in label):
        raise errors.InputError(f"optimizee label {label!r} cannot be stored: it is no file name")


def check_key(key: str) -> None:
    """Raises InputError for the key of a run that is too long for the name of its file."""
    if len(_file_name(key)) > _MAX_FILE_NAME:
        raise errors.InputError(f"labels of {key} are too long to be a file name: shorten them")


def _file_name(key: str) -> str:
    return urllib.parse.quote(key, safe="") + ".npz"


def append(directory: str | os.PathLike, run: Run) -> None:
    """Stores one run atomically; a run with the same key is replaced.

    Raises:
        InputError: if a label cannot be stored, the losses are not a vector, or the directory
            cannot be written.
    """
    check_label("rule", run.rule)
    check_label("optimizee", run.optimizee)
    losses = np.asarray(run.losses, np.float32)
    if losses.ndim != 1 or not losses.size:
        raise errors.InputError(
            f"losses of {run.key} have shape {list(losses.shape)}, not [num_steps]: store one run"
        )
    check_key(run.key)
    fields = run._asdict() | {"losses": losses}
    if run.learning_rate is None:
        del fields["learning_rate"]
    files.write_arrays(_path(directory, run.key), fields)


def is_stored(directory: str | os.PathLike, key: str) -> bool:
    """Whether a run has its own file by now, such as by another process."""
    return files.exists(_path(directory, key))


def _path(directory: str | os.PathLike, key: str) -> pathlib.Path:
    return pathlib.Path(directory) / "runs" / _file_name(key)


def lock(directory: str | os.PathLike) -> contextlib.AbstractContextManager:
    """Held for a moment by who writes what all runs of a results directory share."""
    return locks.exclusive(pathlib.Path(directory) / ".lock", f"the results in {directory}", True)


def remove_temporaries(directory: str | os.PathLike) -> None:
    """Deletes what killed processes left in a results directory; others may be at work in it."""
    for folder in (pathlib.Path(directory), pathlib.Path(directory) / "runs"):
        files.remove_temporaries(folder)


def consolidate(directory: str | os.PathLike) -> None:
    """Rebuilds `losses.npz` and `results.csv` from all runs of a results directory.

    Raises:
        InputError: as `load`.
    """
    directory = pathlib.Path(directory)
    with lock(directory):
        runs = load(directory)
        losses = {run.key: run.losses for run in runs}
        # The arrays go first: a reader between the two renames finds extra arrays whose per-run
        # files still exist, and never a row without its array.
        files.write_arrays(directory / "losses.npz", losses, compressed=True)
        files.write_atomically(directory / "results.csv", _csv(runs).encode())


def load(directory: str | os.PathLike) -> list[Run]:
    """Reads all runs of a results directory, sorted by rule, optimizee and seed.

    Per-run files win over the consolidated ones, which may be older.

    Raises:
        InputError: if there are no results, or a file is corrupt or not written by this module.
    """
    runs = stored(directory)
    if not runs:
        raise errors.InputError(f"no results in {directory}: pass a directory filled by evaluate")
    return sorted(runs.values(), key=lambda run: (run.rule, run.optimizee, run.seed))


def load_all(directories: Sequence[str | os.PathLike]) -> list[Run]:
    """Reads the runs of several results directories.

    Raises:
        InputError: as `load`, or if two directories hold the same run, which would count twice.
    """
    origin: dict[str, str | os.PathLike] = {}
    runs = []
    for directory in directories:
        for run in load(directory):
            if run.key in origin:
                raise errors.InputError(
                    f"{run.key} is in {origin[run.key]} and in {directory}: pass only one of them"
                )
            origin[run.key] = directory
            runs.append(run)
    return runs


def done(directory: str | os.PathLike) -> set[str]:
    """The keys of the runs that are stored; raises as `stored`."""
    return set(stored(directory))


def holds_results(directory: str | os.PathLike) -> bool:
    """Whether a directory looks like a results directory, without reading the results."""
    directory = pathlib.Path(directory)
    return files.exists(directory / "losses.npz") or bool(_run_files(directory))


def stored(directory: str | os.PathLike) -> dict[str, Run]:
    """The runs that are stored by key; empty where the directory does not exist yet.

    Raises:
        InputError: if a file is corrupt or not written by this module.
    """
    directory = pathlib.Path(directory)
    # Consolidated files first: whatever a concurrent `consolidate` adds to them between two
    # reads is then certain to be among the per-run files.
    rows, no_rows = _attempt(_read_rows, directory / "results.csv")
    arrays, no_arrays = _attempt(_read_losses, directory / "losses.npz")
    runs = {}
    for path in _run_files(directory):
        run = _read_run(path)
        runs[run.key] = run
    problem = no_rows or no_arrays
    if problem and not runs and not (no_rows and no_arrays and _are_absent(directory)):
        raise problem
    for key in sorted((arrays.keys() | rows.keys()) - runs.keys()):
        if key not in arrays or key not in rows:
            where = "losses.npz" if key not in arrays else "results.csv"
            raise problem or errors.InputError(
                f"{directory / where} lacks {key}: restore losses.npz and results.csv together"
            )
        runs[key] = _run(directory / "losses.npz", **rows[key], losses=arrays[key])
        if runs[key].key != key:
            raise errors.InputError(f"{directory / 'results.csv'} has no valid row for {key}")
    return runs


def _attempt(read: Callable[[pathlib.Path], dict], path: pathlib.Path):
    """What is read, or nothing and the reason."""
    try:
        return read(path), None
    except errors.InputError as error:
        return {}, error


def _are_absent(directory: pathlib.Path) -> bool:
    return not any(files.exists(directory / name) for name in ("results.csv", "losses.npz"))


def _run_files(directory: pathlib.Path) -> list[pathlib.Path]:
    return files.matching(directory / "runs", "*.npz")


def _read_rows(path: pathlib.Path) -> dict[str, dict]:
    rows = {}
    try:
        with open(path, newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file, strict=True)
            for name in ("rule", "optimizee", "dataset", "split", "seed"):
                if name not in (reader.fieldnames or []):
                    raise ValueError(f"it has no column {name}")
            for row in reader:
                fields = {name: row[name] for name in ("rule", "optimizee", "dataset", "split")}
                fields["seed"] = int(row["seed"])
                if row.get(_RATE):
                    fields[_RATE] = float(row[_RATE])
                rows[run_key(row["rule"], row["optimizee"], row["seed"])] = fields
    except (OSError, KeyError, TypeError, ValueError, csv.Error) as error:
        reason = errors.reason(error)
        raise errors.InputError(f"cannot read results from {path}: {reason}") from error
    return rows


def _read_losses(path: pathlib.Path) -> dict[str, np.ndarray]:
    for key, header in files.read_array_headers(path).items():
        _check_losses(path, key, header)
    return files.read_arrays(path)


def _read_run(path: pathlib.Path) -> Run:
    headers = files.read_array_headers(path)
    fields = {name for name, header in headers.items() if not header.shape}
    if "losses" in headers:
        fields.add("losses")
        _check_losses(path, path.stem, headers["losses"])
    if fields | {_RATE} != set(Run._fields) or len(fields) < len(headers):
        raise errors.InputError(f"{path} is not the result of one run: move it elsewhere")
    arrays = files.read_arrays(path)
    losses = arrays.pop("losses")
    return _run(path, **{name: array.item() for name, array in arrays.items()}, losses=losses)


def _check_losses(path: pathlib.Path, key: str, header: files.ArrayHeader) -> None:
    if len(header.shape) != 1 or header.dtype != np.float32 or not 0 < header.shape[0] <= MAX_STEPS:
        raise errors.InputError(
            f"{path}: losses of {key} are {header.dtype} {list(header.shape)}, "
            "not float32 [num_steps]: evaluate again"
        )


def _run(path: pathlib.Path, **fields) -> Run:
    run = Run(**fields)
    texts = (run.rule, run.optimizee, run.dataset, run.split)
    if not isinstance(run.seed, int) or not all(isinstance(text, str) for text in texts):
        raise errors.InputError(f"{path}: labels of {run.key} have the wrong type: evaluate again")
    rate = run.learning_rate
    if rate is not None and not (isinstance(rate, float) and 0 < rate < np.inf):
        raise errors.InputError(f"{path}: the learning rate of {run.key} is no positive number")
    try:
        check_label("rule", run.rule)
        check_label("optimizee", run.optimizee)
    except errors.InputError as error:
        raise errors.InputError(f"{path}: {error}") from None
    return run


def _csv(runs: Sequence[Run]) -> str:
    """One row per run: labels, length, divergence, mean loss of the window that ends at a step."""
    longest = max(run.losses.size for run in runs)
    ends = list(DECADES)
    while ends[-1] * 10 <= longest:
        ends.append(ends[-1] * 10)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    rates = [_RATE] if any(run.learning_rate is not None for run in runs) else []
    writer.writerow([*_COLUMNS, *(f"loss_{end}" for end in ends), *rates])
    for run in runs:
        means = [_window_mean(run.losses, end) for end in ends]
        labels = (run.rule, run.optimizee, run.dataset, run.split, run.seed)
        rate = ["" if run.learning_rate is None else repr(run.learning_rate)] if rates else []
        writer.writerow([*labels, run.losses.size, run.diverged_at or "", *means, *rate])
    return text.getvalue()


def _window_mean(losses: np.ndarray, end: int) -> str:
    if losses.size < end:
        return ""
    return f"{losses[end - WINDOW : end].mean(dtype=np.float64):.6g}"
