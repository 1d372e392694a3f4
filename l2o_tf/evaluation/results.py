"""Evaluation results on disk: one loss curve per (rule, optimizee, seed).

A results directory holds
  * `runs/*.npz`: one small file per curve, renamed into place when it is complete, so that an
    interrupted evaluation loses nothing and never leaves half a result;
  * `losses.npz` and `results.csv`, rebuilt from all curves by `consolidate`: one float32 array
    [num_steps] per key "rule|optimizee|seed", and one row per key.
Either form can be read alone: `runs/` is scratch, the two consolidated files are what is kept
under version control.
"""

import csv
import io
import os
import pathlib
import urllib.parse
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from l2o_tf.core import errors, files

WINDOW = 100  # Steps that one reported loss is averaged over, as in the paper's figures.
DECADES = (100, 1_000, 10_000)
_COLUMNS = ("rule", "optimizee", "dataset", "split", "seed", "num_steps", "diverged_at")
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
        split: "train" or "test"; empty where the loss needs no data.
        seed: the seed of the trajectory.
        losses: float32 [num_steps]; `losses[t - 1]` is the loss after step t on a fresh batch.
    """

    rule: str
    optimizee: str
    dataset: str
    split: str
    seed: int
    losses: np.ndarray

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
    name = urllib.parse.quote(run.key, safe="") + ".npz"
    if len(name) > _MAX_FILE_NAME:
        raise errors.InputError(f"labels of {run.key} are too long to be a file name: shorten them")
    fields = run._asdict() | {"losses": losses}
    path = pathlib.Path(directory) / "runs" / name
    files.write_arrays(path, fields)


def consolidate(directory: str | os.PathLike) -> None:
    """Rebuilds `losses.npz` and `results.csv` from all runs of a results directory.

    Raises:
        InputError: as `load`.
    """
    directory = pathlib.Path(directory)
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
    runs = _read(pathlib.Path(directory))
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
    """The keys of the runs that are stored; empty where the directory does not exist yet.

    Raises:
        InputError: if a file is corrupt or not written by this module.
    """
    return set(_read(pathlib.Path(directory)))


def holds_results(directory: str | os.PathLike) -> bool:
    """Whether a directory looks like a results directory, without reading the results."""
    directory = pathlib.Path(directory)
    return (directory / "losses.npz").exists() or any((directory / "runs").glob("*.npz"))


def _read(directory: pathlib.Path) -> dict[str, Run]:
    # Consolidated files first: whatever a concurrent `consolidate` adds to them between two
    # reads is then certain to be among the per-run files.
    arrays, rows = _read_consolidated(directory)
    runs = {}
    for path in sorted((directory / "runs").glob("*.npz")):
        run = _read_run(path)
        runs[run.key] = run
    for key in sorted((arrays.keys() | rows.keys()) - runs.keys()):
        if key not in arrays or key not in rows:
            where = "losses.npz" if key not in arrays else "results.csv"
            raise errors.InputError(
                f"{directory / where} lacks {key}: restore losses.npz and results.csv together"
            )
        runs[key] = _run(directory / "losses.npz", **rows[key], losses=arrays[key])
        if runs[key].key != key:
            raise errors.InputError(f"{directory / 'results.csv'} has no valid row for {key}")
    return runs


def _read_consolidated(directory: pathlib.Path) -> tuple[dict[str, np.ndarray], dict[str, dict]]:
    rows_path, arrays_path = directory / "results.csv", directory / "losses.npz"
    if not rows_path.exists() and not arrays_path.exists():
        return {}, {}
    rows = {}
    try:
        with open(rows_path, newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file, strict=True):
                fields = {name: row[name] for name in ("rule", "optimizee", "dataset", "split")}
                fields["seed"] = int(row["seed"])
                rows[run_key(row["rule"], row["optimizee"], row["seed"])] = fields
    except (OSError, KeyError, TypeError, ValueError, csv.Error) as error:
        reason = " ".join(str(error).split())
        raise errors.InputError(f"cannot read results from {rows_path}: {reason}") from error
    return files.read_arrays(arrays_path), rows


def _read_run(path: pathlib.Path) -> Run:
    arrays = files.read_arrays(path)
    losses = arrays.pop("losses", None)
    labels = {name: array.item() for name, array in arrays.items() if not array.shape}
    if losses is None or {"losses", *labels} != set(Run._fields):
        raise errors.InputError(f"{path} is not the result of one run: move it elsewhere")
    return _run(path, **labels, losses=losses)


def _run(path: pathlib.Path, **fields) -> Run:
    run = Run(**fields)
    texts = (run.rule, run.optimizee, run.dataset, run.split)
    if not isinstance(run.seed, int) or not all(isinstance(text, str) for text in texts):
        raise errors.InputError(f"{path}: labels of {run.key} have the wrong type: evaluate again")
    if run.losses.ndim != 1 or run.losses.dtype != np.float32 or not run.losses.size:
        raise errors.InputError(
            f"{path}: losses of {run.key} are {run.losses.dtype} {list(run.losses.shape)}, "
            "not float32 [num_steps]: evaluate again"
        )
    return run


def _csv(runs: Sequence[Run]) -> str:
    """One row per run: labels, length, divergence, mean loss of the window that ends at a step."""
    longest = max(run.losses.size for run in runs)
    ends = list(DECADES)
    while ends[-1] * 10 <= longest:
        ends.append(ends[-1] * 10)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*_COLUMNS, *(f"loss_{end}" for end in ends)])
    for run in runs:
        means = [_window_mean(run.losses, end) for end in ends]
        labels = (run.rule, run.optimizee, run.dataset, run.split, run.seed)
        writer.writerow([*labels, run.losses.size, run.diverged_at or "", *means])
    return text.getvalue()


def _window_mean(losses: np.ndarray, end: int) -> str:
    if losses.size < end:
        return ""
    return f"{losses[end - WINDOW : end].mean(dtype=np.float64):.6g}"
