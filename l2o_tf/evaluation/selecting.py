"""Selection from its flags to its files: `python -m l2o_tf.select`."""

import math
import pathlib
import sys
import time
import zlib
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import tqdm

from l2o_tf import artifacts, optimizees
from l2o_tf.core import errors, files, flags
from l2o_tf.data import datasets
from l2o_tf.evaluation import pool, selection, selection_report, tuning
from l2o_tf.evaluation.config import SelectConfig

_RECORD = "selection.json"
_SECONDS_BETWEEN_LINES = 10


class _OthersMissing(Exception):
    """Measurements of other shards are not there yet."""


def select(config: SelectConfig, tell: Callable[[str], None], prepare: Callable[[], None]) -> None:
    """Measures snapshots by successive halving and exports the best one.

    Args:
        config: the flags.
        tell: is given what a person should read, a line at a time.
        prepare: what processes of --jobs call before they use TensorFlow.

    Raises:
        InputError: for runs, optimizees or data that cannot be used, or if all snapshots diverged.
        Interrupted: after a KeyboardInterrupt.
    """
    try:
        _select(config, tell, prepare)
    except KeyboardInterrupt:
        raise errors.Interrupted(
            f"what is measured is kept. To go on: python -m l2o_tf.select {flags.to_flags(config)}"
        ) from None


def _select(config: SelectConfig, tell, prepare) -> None:
    workdir = pathlib.Path(config.workdir)
    _check_workdir(workdir)
    candidates = selection.find(config.runs)
    bases = {name: _base_task(config, name) for name in config.optimizees}
    runs = len({snapshot.run for snapshot in candidates})
    tell(f"selecting among {len(candidates)} snapshots of {runs} runs on {_what(bases)}")
    files.write_json(workdir / _RECORD, config.to_json())
    rungs = config.all_rungs()
    with pool.open(config.jobs, config.data_dir, prepare) as measure:
        work = _Work(config, bases, measure, tell)
        try:
            done = selection.halve(candidates, rungs, work.rung)
        except _OthersMissing as missing:
            tell(f"{missing}; when they are in {workdir / 'scores'}, run this again to go on")
            return
    _report(config, done, bases, work.store)


def _base_task(config: SelectConfig, optimizee: str) -> tuning.Task:
    optimizees.get(optimizee)
    default = optimizees.default_dataset(optimizee)
    if default is None:
        return tuning.Task(optimizee, "", "", 0)
    dataset = config.dataset or default
    split = config.split or datasets.held_out_split(dataset, config.data_dir)
    return tuning.Task(optimizee, dataset, split, 0)


def _what(bases: dict[str, tuning.Task]) -> str:
    texts = []
    for name, task in bases.items():
        texts.append(f"{name} ({task.dataset}, {task.split} images)" if task.dataset else name)
    return ", ".join(texts)


def _check_workdir(workdir: pathlib.Path) -> None:
    """A winner is not to be written over a run's export."""
    if workdir.exists() and not workdir.is_dir():
        raise errors.InputError(f"--workdir={workdir} is no directory: choose another one")
    if workdir.is_dir() and any(workdir.iterdir()) and not (workdir / _RECORD).exists():
        raise errors.InputError(
            f"--workdir={workdir} exists and holds no selection; choose an empty or new directory"
        )


class _Work:
    """Measures what is missing, rung by rung."""

    def __init__(self, config: SelectConfig, bases, measure: "pool.Measure", tell):
        self.store = selection.Store(pathlib.Path(config.workdir) / "scores")
        self._config, self._bases, self._measure, self._tell = config, bases, measure, tell
        self._started, self._steps_done, self._last_line = time.monotonic(), 0, -math.inf

    def rung(
        self, candidates: Sequence[selection.Snapshot], num_steps: int
    ) -> dict[selection.Snapshot, float]:
        """The score of each snapshot: the mean over optimizees and seeds.

        Raises:
            _OthersMissing: if a shard of this selection has not all of them.
        """
        wanted = list(self._measurements(candidates, num_steps))
        known = {one: self.store.read(one) for one in wanted}
        missing = [one for one in wanted if known[one] is None]
        # Equal rules are one file.
        unique = {(one.snapshot.fingerprint, *one[1:]): one for one in missing}
        mine = [one for key, one in unique.items() if self._is_mine(key)]
        best = min([m.score for m in known.values() if m], default=math.inf)
        for number, (one, found) in enumerate(self._measure(mine), 1):
            self.store.write(one, found)
            self._steps_done += num_steps
            best = min(best, found.score)
            self._progress(num_steps, number, len(mine), len(candidates), best)
        if len(mine) < len(unique):
            raise _OthersMissing(
                f"{num_steps} steps: this shard is done; {len(unique) - len(mine)} measurements "
                "of others are missing"
            )
        scores = {
            snapshot: float(np.mean([self._read(one).score for one in group]))
            for snapshot, group in self._by_snapshot(wanted).items()
        }
        self._summary(scores, num_steps)
        return scores

    def _measurements(self, candidates: Iterable[selection.Snapshot], num_steps: int):
        for base in self._bases.values():
            for snapshot in candidates:
                for seed in range(self._config.num_seeds):
                    task = base._replace(num_steps=num_steps)
                    yield selection.Measurement(snapshot, task, seed)

    def _by_snapshot(self, wanted):
        groups = {}
        for one in wanted:
            groups.setdefault(one.snapshot, []).append(one)
        return groups

    def _read(self, one: selection.Measurement) -> selection.Measured:
        found = self.store.read(one)
        assert found is not None
        return found

    def _is_mine(self, key: tuple) -> bool:
        index, count = self._config.shard_of()
        return zlib.crc32(repr(key).encode()) % count == index - 1

    def _progress(self, num_steps: int, number: int, total: int, candidates: int, best) -> None:
        now = time.monotonic()
        if now - self._last_line < _SECONDS_BETWEEN_LINES and number < total:
            return
        self._last_line = now
        per_snapshot = len(self._bases) * self._config.num_seeds
        left = (total - number) * num_steps
        for later in self._config.all_rungs():
            if later > num_steps:
                candidates = math.ceil(candidates / selection.SURVIVORS)
                left += candidates * per_snapshot * later
        seconds = left * (now - self._started) / self._steps_done
        self._tell(
            f"{num_steps} steps: {number} of {total} measurements, best ln loss {best:.3f}, about "
            f"{tqdm.tqdm.format_interval(seconds)} left in all"
        )

    def _summary(self, scores: dict[selection.Snapshot, float], num_steps: int) -> None:
        left = selection.survivors(scores)
        if not left:
            raise errors.InputError(
                f"all {len(scores)} snapshots diverged within {num_steps} steps: train others"
            )
        diverged = sum(math.isinf(score) for score in scores.values())
        text = f"; {diverged} diverged" if diverged else ""
        if num_steps < self._config.num_steps:
            text += f"; {len(left)} of {len(scores)} go on"
        self._tell(f"{num_steps} steps: best {left[0].name}, ln loss {scores[left[0]]:.3f}{text}")


def _report(config: SelectConfig, rungs, bases, store) -> None:
    workdir = pathlib.Path(config.workdir)
    table = selection_report.Table(rungs, bases, config.num_seeds, store)
    files.write_atomically(workdir / "table.csv", table.csv().encode())
    text = table.text()
    files.write_atomically(workdir / "table.txt", text.encode())
    selection_report.draw(rungs, workdir / "selection.png", _what(bases))
    winner = table.rows[0].snapshot
    files.write_json(workdir / artifacts.RULE_CARD, table.card(config))
    files.write_atomically(workdir / artifacts.RULE_ARRAYS, winner.path.read_bytes())
    sys.stdout.write(
        f"{text}the best is {winner.name} ({winner.path}): "
        f"{workdir / artifacts.RULE_ARRAYS}, {workdir / artifacts.RULE_CARD}\n"
        f"all: {workdir / 'table.csv'}, {workdir / 'selection.png'}\n"
    )
