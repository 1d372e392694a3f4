"""Selection from its flags to its files: `python -m l2o_tf.select`."""

import math
import pathlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import tqdm

from l2o_tf import artifacts
from l2o_tf.core import errors, files, flags
from l2o_tf.data import datasets
from l2o_tf.evaluation import pool, selection, selection_report
from l2o_tf.evaluation.config import SelectConfig
from l2o_tf.evaluation.tasks import Task, held_out

_SCORES = "scores"
_BENCH = "l2o_tf.evaluation.measuring"
_SECONDS_BETWEEN_LINES = 10
_Tasks = Mapping[str, Task]  # By optimizee.
_Measure = pool.Measure[selection.Measurement]


class _OthersMissing(Exception):
    """Measurements of other shards are not there yet."""


def select(
    config: SelectConfig,
    tell: Callable[[str], None],
    prepare: Callable[[], None],
    show: Callable[[str], None] = lambda text: None,
) -> None:
    """Measures snapshots by successive halving and exports the best one.

    Args:
        config: the flags.
        tell: is given what a person should read, a line at a time.
        prepare: what processes of --jobs call before they use TensorFlow.
        show: is given the table and where the winner is; by default they are in files only.

    Raises:
        InputError: for runs, optimizees or data that cannot be used, or if all snapshots diverged.
        Interrupted: after a KeyboardInterrupt.
    """
    with flags.resumable("select", config):
        _select(config, tell, prepare, show)


def _select(config: SelectConfig, tell, prepare, show) -> None:
    workdir = pathlib.Path(config.workdir)
    _check_workdir(workdir)
    for folder in (workdir, workdir / _SCORES):
        files.remove_temporaries(folder)
    candidates = selection.find(config.runs, workdir)
    tasks = held_out(config)
    runs = len({snapshot.run for snapshot in candidates})
    tell(f"selecting among {len(candidates)} snapshots of {runs} runs on {_what(tasks)}")
    files.write_json(workdir / selection.RECORD, config.to_json())
    if config.jobs > 1:  # Processes that find no data would all download them at the same time.
        for dataset, split in {task[1:3] for task in tasks.values() if task.dataset}:
            datasets.load(dataset, split, config.data_dir)
    with pool.open(config.jobs, (_BENCH, config.data_dir), prepare) as measure:
        work = _Work(config, tasks, measure, tell)
        try:
            done = selection.halve(candidates, config.all_rungs(), work.rung)
        except _OthersMissing as missing:
            tell(f"{missing}; when they are in {workdir / _SCORES}, run this again to go on")
            return
    show(_report(config, done, tasks, work.store))


def adopt(
    config: SelectConfig, measured: Iterable[tuple[selection.Measurement, selection.Measured]]
) -> None:
    """Stores measurements that were made elsewhere, as `select` would have.

    Args:
        config: the flags of the selection that they are part of.
        measured: what was measured.

    Raises:
        InputError: if the directory holds something else.
    """
    workdir = pathlib.Path(config.workdir)
    _check_workdir(workdir)
    files.write_json(workdir / selection.RECORD, config.to_json())
    store = selection.Store(workdir / _SCORES)
    for measurement, found in measured:
        store.write(measurement, found)


def _what(tasks: _Tasks) -> str:
    return ", ".join(task.title for task in tasks.values())


def _check_workdir(workdir: pathlib.Path) -> None:
    """A winner is not to be written over a run's export."""
    if files.exists(workdir) and not files.is_dir(workdir):
        raise errors.InputError(f"--workdir={workdir} is no directory: choose another one")
    if files.is_taken(workdir) and not files.exists(workdir / selection.RECORD):
        raise errors.InputError(
            f"--workdir={workdir} exists and holds no selection; choose an empty or new directory"
        )


class _Work:
    """Measures what is missing, rung by rung."""

    def __init__(self, config: SelectConfig, tasks: _Tasks, measure: _Measure, tell):
        self.store = selection.Store(pathlib.Path(config.workdir) / _SCORES)
        self._config, self._tasks, self._measure, self._tell = config, tasks, measure, tell
        self._started, self._steps_done, self._last_line = time.monotonic(), 0, -math.inf

    def rung(
        self, candidates: Sequence[selection.Snapshot], num_steps: int
    ) -> dict[selection.Snapshot, float]:
        """The score of each snapshot: the mean over optimizees and seeds.

        Raises:
            _OthersMissing: if a shard of this selection has not all of them.
        """
        wanted = {one: list(self._measurements(one, num_steps)) for one in candidates}
        self._measure_missing([one for group in wanted.values() for one in group], num_steps)
        scores = {
            snapshot: float(np.mean([self.store.get(one).score for one in group]))
            for snapshot, group in wanted.items()
        }
        self._summary(scores, num_steps)
        return scores

    def _measurements(self, snapshot: selection.Snapshot, num_steps: int):
        for task in self._tasks.values():
            for seed in range(self._config.num_seeds):
                yield selection.Measurement(snapshot, task._replace(num_steps=num_steps), seed)

    def _measure_missing(self, wanted: list[selection.Measurement], num_steps: int) -> None:
        # Equal rules share a file, and so a measurement.
        files_of = {self.store.path(one): one for one in wanted}
        index, count = self._config.shard_of()
        mine = sorted(files_of)[index - 1 :: count]
        known = {path: self.store.read(one) for path, one in files_of.items()}
        missing = {path for path, found in known.items() if found is None}
        best = min([found.score for found in known.values() if found], default=math.inf)
        todo = [one for path, one in files_of.items() if path in missing.intersection(mine)]
        for number, (one, found) in enumerate(self._measure(todo), 1):
            self.store.write(one, found)
            self._steps_done += num_steps
            best = min(best, found.score)
            self._progress(num_steps, number, len(todo), len(files_of), best)
        left = sum(not files.exists(path) for path in missing)
        if left:
            raise _OthersMissing(
                f"{num_steps} steps: this shard is done; {left} measurements of others are missing"
            )

    def _progress(self, num_steps: int, number: int, total: int, in_rung: int, best: float) -> None:
        now = time.monotonic()
        if now - self._last_line < _SECONDS_BETWEEN_LINES and number < total:
            return
        self._last_line = now
        left = (total - number) * num_steps
        for later in self._config.all_rungs():
            if later > num_steps:
                in_rung = math.ceil(in_rung / selection.SURVIVORS)
                left += in_rung * later
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


def _report(
    config: SelectConfig,
    rungs: Sequence[selection.Rung],
    tasks: _Tasks,
    store: selection.Store,
) -> str:
    """Writes table, figure and winner; returns what people read of them."""
    workdir = pathlib.Path(config.workdir)
    table = selection_report.Table(rungs, tasks, config.num_seeds, store)
    files.write_atomically(workdir / "table.csv", table.csv().encode())
    text = table.text()
    files.write_atomically(workdir / "table.txt", text.encode())
    selection_report.draw(rungs, workdir / "selection.png", _what(tasks))
    winner = table.rows[0].snapshot
    card, arrays = table.card(config), artifacts.read_weights(winner.path)
    selection.check(winner)
    artifacts.write(workdir, arrays, card)
    return (
        f"{text}the best is {winner.name} ({winner.path}): "
        f"{workdir / artifacts.RULE_ARRAYS}, {workdir / artifacts.RULE_CARD}\n"
        f"all: {workdir / 'table.csv'}, {workdir / 'selection.png'}"
    )
