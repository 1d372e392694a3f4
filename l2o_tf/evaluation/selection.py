"""Which of many trained rules is the best on the horizon that counts: snapshots, scores, rungs.

The losses of a rule over its first hundreds of steps, on which training validates, say little
about its loss after 10,000, and one training's own snapshots differ there by several units of ln
loss. So every snapshot of every run is measured on the horizon itself, by successive halving
(K. Jamieson and A. Talwalkar, "Non-stochastic Best Arm Identification", AISTATS 2016): all of
them for a tenth of the steps, the best third for three tenths, the best third of these for all.
"""

import hashlib
import json
import math
import os
import pathlib
import urllib.parse
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from l2o_tf import artifacts
from l2o_tf.core import errors, files, text
from l2o_tf.evaluation import results, statistics, tasks
from l2o_tf.run import snapshots

SURVIVORS = 3  # One of so many goes on to the next rung.
RECORD = "selection.json"  # In the directory of a selection.


class Snapshot(NamedTuple):
    """Weights of a rule at one time of its training.

    Attributes:
        run: what to call the training.
        epoch: when in it.
        directory: the folder with the rule's card, rule.json.
        path: the .npz file of the weights.
        fingerprint: equal for equal rules only.
    """

    run: str
    epoch: int
    directory: pathlib.Path
    path: pathlib.Path
    fingerprint: str

    @property
    def name(self) -> str:
        """What people read."""
        return f"{self.run}, epoch {self.epoch}"


class Measurement(NamedTuple):
    """One trajectory of one snapshot; the task is what is optimized and for how long."""

    snapshot: Snapshot
    task: tasks.Task
    seed: int


class Measured(NamedTuple):
    """What a measurement gave.

    Attributes:
        score: mean ln loss over the last tenth of the steps; infinite if the run diverged.
        ln_losses: mean ln loss of the 100 steps that end at each decade, by the last step.
    """

    score: float
    ln_losses: dict[int, float]


class Rung(NamedTuple):
    """The snapshots that ran so many steps, with their scores; lower is better."""

    num_steps: int
    scores: Mapping[Snapshot, float]


def find(sources: Iterable[str], workdir: str | os.PathLike | None = None) -> list[Snapshot]:
    """The snapshots of runs.

    Args:
        sources: directories, each a run with snapshots, snapshots beside their rule.json, an
            exported rule (one snapshot), or a folder of such directories. What a selection has
            left in such a folder is no run: its winner is one of the others.
        workdir: the directory of the selection itself, which is no run either, such as where
            runs/* names it the second time.

    Raises:
        InputError: if there is nothing in a directory, or a file cannot be read.
    """
    found = dict.fromkeys(d for source in sources for d in _directories(source))
    own = None if workdir is None else pathlib.Path(workdir).resolve()
    directories = [directory for directory in found if directory.resolve() != own]
    if not directories:
        raise errors.InputError(f"--workdir={workdir} is the only one of the runs: pass others")
    labels = _labels(directories)
    return [
        snapshot
        for directory, label in zip(directories, labels)
        for snapshot in _snapshots_in(directory, label)
    ]


def check(snapshot: Snapshot) -> None:
    """Raises InputError for one that is no longer what it was when it was found."""
    card = _card(snapshot.directory)
    if _fingerprint(card, artifacts.read_weights(snapshot.path)) != snapshot.fingerprint:
        raise errors.InputError(
            f"{snapshot.path} has been replaced since this selection began, such as by a run that "
            "still trains; what was measured is kept: select again"
        )


def measured(losses: np.ndarray) -> Measured:
    """The score of a run's losses, float32 [num_steps], and its windows as in tables."""
    windows = statistics.mean_of_log(losses)
    at_decades = {
        step: float(windows[step // results.WINDOW - 1])
        for step in results.DECADES
        if step <= len(losses)
    }
    finite = {step: value for step, value in at_decades.items() if math.isfinite(value)}
    return Measured(statistics.score(losses, statistics.ZERO_LOSS), finite)


def survivors(scores: Mapping[Snapshot, float]) -> list[Snapshot]:
    """The best third of all, rounded up, of those that did not diverge; none if all did."""
    ranked = [s for s in sorted(scores, key=scores.__getitem__) if math.isfinite(scores[s])]
    return ranked[: math.ceil(len(scores) / SURVIVORS)]


def halve(
    candidates: Sequence[Snapshot],
    rungs: Sequence[int],
    measure: Callable[[Sequence[Snapshot], int], Mapping[Snapshot, float]],
) -> list[Rung]:
    """Successive halving.

    Args:
        candidates: the snapshots.
        rungs: the number of steps of each rung, increasing.
        measure: returns the score of each snapshot after so many steps.

    Returns:
        The rungs; they end early if all snapshots of one diverged.
    """
    done = []
    for num_steps in rungs:
        if candidates:
            done.append(Rung(num_steps, measure(candidates, num_steps)))
            candidates = survivors(done[-1].scores)
    return done


class Store:
    """The directory of measurements: one small file each, so that none is made twice."""

    def __init__(self, directory: str | os.PathLike):
        self._directory = pathlib.Path(directory)

    def read(self, measurement: Measurement) -> Measured | None:
        """What was measured; None where nothing was.

        Raises:
            InputError: if the file is damaged.
        """
        path = self.path(measurement)
        if not files.exists(path):
            return None
        content = files.read_json(path)
        try:
            score = math.inf if content["score"] is None else float(content["score"])
            ln_losses = {int(k): float(v) for k, v in content["ln_losses"].items()}
        except (AttributeError, KeyError, OverflowError, TypeError, ValueError):
            raise errors.InputError(f"{path} is damaged: delete it to measure again") from None
        return Measured(score, ln_losses)

    def get(self, measurement: Measurement) -> Measured:
        """What was measured; it must be there."""
        found = self.read(measurement)
        if found is None:
            raise errors.InputError(f"{self.path(measurement)} has gone: select again")
        return found

    def write(self, measurement: Measurement, found: Measured) -> None:
        """Stores what was measured."""
        snapshot, task, seed = measurement
        content = {
            "run": snapshot.run,
            "epoch": snapshot.epoch,
            **task._asdict(),
            "seed": seed,
            "score": found.score if math.isfinite(found.score) else None,
            "ln_losses": found.ln_losses,
        }
        files.write_json(self.path(measurement), content)

    def path(self, measurement: Measurement) -> pathlib.Path:
        """The file of a measurement, the same for equal rules."""
        snapshot, task, seed = measurement
        task = task._replace(options=urllib.parse.quote(task.options, safe=""))
        parts = [snapshot.fingerprint, *filter(None, map(str, task)), f"seed{seed}"]
        name = text.file_name("-".join(parts).replace("/", "_").replace(":", "."))
        return self._directory / f"{name}.json"


def _directories(source: str) -> list[pathlib.Path]:
    path = pathlib.Path(source)
    if not files.is_dir(path):
        raise errors.InputError(f"{source}: no such directory; pass directories of runs")
    if _is_run(path):
        return [path]
    inside = [
        child
        for child in files.matching(path, "*")
        if _is_run(child) and not files.exists(child / RECORD)
    ]
    if not inside:
        raise errors.InputError(
            f"{source} holds no {artifacts.RULE_CARD}: pass the directory of a run that has "
            "validated at least once, or of an exported rule"
        )
    for child in inside:
        if not text.is_utf8(child.name):  # It is to stand in tables.
            raise errors.InputError(f"{ascii(str(child))} is no text in UTF-8: use another name")
    return inside


def _is_run(path: pathlib.Path) -> bool:
    return files.is_file(path / artifacts.RULE_CARD)


def _labels(directories: Sequence[pathlib.Path]) -> list[str]:
    """The shortest ends of the paths that tell them apart."""
    parts = [directory.resolve().parts for directory in directories]
    for length in range(1, max(map(len, parts), default=0) + 1):
        labels = ["/".join(part[-length:]) for part in parts]
        if len(set(labels)) == len(labels):
            return labels
    raise errors.InputError("a directory is named twice: remove one")


def _snapshots_in(directory: pathlib.Path, label: str) -> list[Snapshot]:
    card = _card(directory)
    paths = snapshots.find(directory / snapshots.DIRECTORY) or snapshots.find(directory)
    found = [(snapshots.epoch_of(path), path) for path in paths]
    if not found:
        found = [(_epoch(directory, card), artifacts.exported_weights(directory))]
    return [
        Snapshot(label, epoch, directory, path, _fingerprint(card, artifacts.read_weights(path)))
        for epoch, path in found
    ]


def _card(directory: pathlib.Path) -> dict[str, Any]:
    card = files.read_json(directory / artifacts.RULE_CARD)
    if not isinstance(card, dict):
        raise errors.InputError(f"{directory / artifacts.RULE_CARD} is not a rule's card")
    return card


def _epoch(directory: pathlib.Path, card: dict[str, Any]) -> int:
    epoch = card.get("epoch", 0)
    if not isinstance(epoch, int):
        raise errors.InputError(
            f"{directory / artifacts.RULE_CARD} is damaged: its epoch is {json.dumps(epoch)}, no "
            "integer"
        )
    return epoch


def _fingerprint(card: dict[str, Any], arrays: Mapping[str, np.ndarray]) -> str:
    identity = [card.get("rule"), card.get("options")]
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode())
    for name, value in sorted(arrays.items()):
        digest.update(f"{name} {value.dtype} {value.shape}".encode() + value.tobytes())
    return digest.hexdigest()[:20]
