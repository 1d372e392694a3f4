"""Analytical rules with their best learning rate of a grid: the baselines of the paper's figure 7.

The winner is the rate with the lowest mean of ln loss over the last tenth of the steps, averaged
over tuning seeds that evaluation never uses. Scores and winners are cached as JSON, one file per
(rule, optimizee, data set, split, number of steps, options), so that a search that was interrupted,
or is repeated with more rates, runs only what is new.
"""

import contextlib
import math
import pathlib
import urllib.parse
from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple

import numpy as np

from l2o_tf import rules
from l2o_tf.core import errors, files, locks, seeds, text
from l2o_tf.evaluation import progress, runner, statistics, tasks

RATES = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0, 3.0, 10.0)
DEFAULT_NUM_SEEDS = 2
# Here the smallest losses still decide between rates, so that only those that float32 does not
# resolve count alike.
LOSS_FLOOR = float(np.finfo(np.float32).tiny)

Scores = Mapping[float, float]  # By learning rate; infinite if a run diverged.


class Tuned(NamedTuple):
    """An analytical rule that is yet to be given its best learning rate, "tuned:NAME"."""

    name: str


class Record(NamedTuple):
    """What is known of a rule on a task.

    Attributes:
        learning_rate: the winner; None before a grid is complete.
        num_seeds: the runs that each score of the last complete grid is the mean of.
        scores: the score of every learning rate that was tried with so many.
        others: what was tried with other numbers of runs, by that number.
    """

    learning_rate: float | None
    num_seeds: int
    scores: Scores
    others: Mapping[int, Scores] = {}

    def scores_of(self, num_seeds: int) -> Scores:
        """The scores that are means of so many runs."""
        return self.scores if num_seeds == self.num_seeds else self.others.get(num_seeds, {})


class Winner(NamedTuple):
    """What a search found: the best learning rate, and all that it was compared with."""

    learning_rate: float
    rates: Collection[float]


def check_tunable(name: str) -> None:
    """Raises InputError for a rule without a learning rate to search."""
    if name not in rules.tunable_names():
        raise errors.InputError(
            f"{name!r} cannot be tuned; rules that can: {', '.join(rules.tunable_names())}"
        )


def measure(
    rule: str,
    learning_rate: float,
    on: runner.Runner,
    num_steps: int,
    num_seeds: int,
    shown: progress.Progress,
) -> float:
    """The mean score of one learning rate over tuning seeds; infinite if a run diverged.

    Args:
        rule: one of `rules.tunable_names()`.
        learning_rate: the rate to try.
        on: runs rules on the optimizee.
        num_steps: optimizee steps per run.
        num_seeds: the number of runs.
        shown: says how far the runs are.
    """
    candidate, scores = rules.create(rule, learning_rate=learning_rate), []
    for seed in range(num_seeds):
        shown.start(
            f"tuning {rule}, learning rate {learning_rate:g}, run {seed + 1} of {num_seeds}"
        )
        losses = on.run(candidate, seeds.make_seed(seed, "tuning"), num_steps, shown)
        scores.append(statistics.score(losses, LOSS_FLOOR))
        if math.isinf(scores[-1]):  # So is the mean, whatever the other runs do.
            for _ in range(seed + 1, num_seeds):
                shown.skip()
            break
    return float(np.mean(scores))


def best(scores: Scores) -> float:
    """The learning rate with the lowest score.

    Raises:
        InputError: if every rate diverged.
    """
    winner = min(scores, key=scores.__getitem__)
    if math.isinf(scores[winner]):
        raise errors.InputError(
            "every learning rate of the grid diverged: tune with smaller --rates "
            "(python -m l2o_tf.tune)"
        )
    return winner


def edge(learning_rate: float, rates: Collection[float]) -> str:
    """A remark on a winner that may not be the best, because the grid ends there; else empty.

    Args:
        learning_rate: the winner.
        rates: all that it was compared with.
    """
    for end, where, others in ((min, "lowest", "lower"), (max, "highest", "higher")):
        if len(rates) > 1 and learning_rate == end(rates):
            return f", the {where} of the grid: tune with {others} --rates as well"
    return ""


class Cache:
    """The directory where results of tuning are kept."""

    def __init__(self, directory: str):
        self.directory = pathlib.Path(directory)

    def path(self, rule: str, task: tasks.Task) -> pathlib.Path:
        """The file of one rule and task."""
        parts = [urllib.parse.quote(str(part), safe="") for part in (rule, *task) if part != ""]
        name = "-".join(parts)
        name = text.file_name(name)  # The file itself says what it is of.
        return self.directory / f"{name}.json"

    def prepare(self) -> None:
        """Finds out whether the directory can be written; deletes what killed processes left.

        Raises:
            InputError: if it cannot be written.
        """
        with self._lock():
            files.remove_temporaries(self.directory)

    def read(self, rule: str, task: tasks.Task) -> Record | None:
        """What is known; None where nothing is.

        Raises:
            InputError: if the file is damaged.
        """
        path = self.path(rule, task)
        if not files.exists(path):
            return None
        try:
            record = _parse(files.read_json(path))
        except (AttributeError, KeyError, OverflowError, TypeError, ValueError):
            raise errors.InputError(f"{path} is damaged: delete it to tune again") from None
        return record

    def add(self, rule: str, task: tasks.Task, record: Record) -> None:
        """Stores what is new beside what is known; a winner replaces one.

        Several searches may share a directory, also with different numbers of seeds.
        """
        with self._lock():
            known = self.read(rule, task)
            self._write(rule, task, _merged(known, record) if known else record)

    def decide(self, rule: str, task: tasks.Task, num_seeds: int, scores: Scores) -> Winner:
        """Stores the scores of a grid, and as the winner the best of all with so many seeds.

        Raises:
            InputError: if every rate diverged.
        """
        with self._lock():
            known = self.read(rule, task)
            everything = {**(known.scores_of(num_seeds) if known else {}), **scores}
            record = Record(best(everything), num_seeds, everything)
            self._write(rule, task, _merged(known, record) if known else record)
        return Winner(best(everything), everything)

    def _lock(self) -> contextlib.AbstractContextManager:
        return locks.exclusive(self.directory / ".lock", f"{self.directory}", wait=True)

    def _write(self, rule: str, task: tasks.Task, record: Record) -> None:
        content = {
            "rule": rule,
            **task._asdict(),
            "learning_rate": record.learning_rate,
            "num_seeds": record.num_seeds,
            "scores": _to_json(record.scores),
        }
        if record.others:
            content["others"] = {str(n): _to_json(s) for n, s in sorted(record.others.items())}
        files.write_json(self.path(rule, task), content)


def search(
    rule: str,
    task: tasks.Task,
    runner_of_task: Callable[[], runner.Runner],
    rates: Collection[float],
    num_seeds: int,
    cache: Cache,
    tell: Callable[[str], None],
) -> Winner:
    """Searches a grid, but for the rates in the cache, and stores the winner.

    A grid adds to those before it: the winner is the best of all rates that were tried on the task
    with so many seeds.

    Args:
        rule: one of `rules.tunable_names()`.
        task: what it is tuned for.
        runner_of_task: makes the runner when the first run needs it.
        rates: the grid.
        num_seeds: runs per learning rate.
        cache: where scores are kept.
        tell: is given a line with the number of runs, and one for each rate that was run.

    Returns:
        The learning rate with the lowest score, and all that have one.

    Raises:
        InputError: if every rate diverged, or the file in the cache is damaged.
    """
    cache.prepare()
    before = cache.read(rule, task)
    new = len(set(rates).difference(before.scores_of(num_seeds) if before else ()))
    if new:
        tell(f"tuning {rule} on {task.optimizee}: {new * num_seeds} runs of {task.num_steps} steps")
    scores: dict[float, float] = {}
    shown = progress.Progress(tell, len(rates) * num_seeds, task.num_steps)
    for number, rate in enumerate(rates, 1):
        # Read each time: another search in the same directory may have run it meanwhile.
        known = cache.read(rule, task)
        if known and rate in known.scores_of(num_seeds):
            scores[rate] = known.scores_of(num_seeds)[rate]
            for _ in range(num_seeds):
                shown.skip()
            continue
        scores[rate] = measure(rule, rate, runner_of_task(), task.num_steps, num_seeds, shown)
        cache.add(rule, task, Record(None, num_seeds, {rate: scores[rate]}))
        tell(
            f"tuning {rule} on {task.optimizee}: learning rate {rate:g} "
            f"({number} of {len(rates)}): ln loss {scores[rate]:.3f}"
        )
    return cache.decide(rule, task, num_seeds, scores)


def _merged(known: Record, new: Record) -> Record:
    """All scores of both; the winner is the new one, if it has one."""
    scores = {known.num_seeds: known.scores, **known.others}
    scores[new.num_seeds] = {**scores.get(new.num_seeds, {}), **new.scores}
    num_seeds = known.num_seeds if new.learning_rate is None else new.num_seeds
    return Record(
        new.learning_rate or known.learning_rate, num_seeds, scores.pop(num_seeds), scores
    )


def _to_json(scores: Scores) -> dict[str, float | None]:
    return {str(rate): None if math.isinf(s) else s for rate, s in scores.items()}


def _from_json(content: dict) -> Scores:
    scores = {
        float(rate): math.inf if score is None else float(score) for rate, score in content.items()
    }
    if not all(0 < rate < math.inf and score > -math.inf for rate, score in scores.items()):
        raise ValueError("not the scores of learning rates")
    return scores


def _parse(content: dict) -> Record:
    scores = _from_json(content["scores"])
    others = {int(n): _from_json(of_n) for n, of_n in content.get("others", {}).items()}
    record = Record(content["learning_rate"], int(content["num_seeds"]), scores, others)
    if record.learning_rate is not None and record.learning_rate not in scores:
        raise ValueError("the winner has no score")
    return record
