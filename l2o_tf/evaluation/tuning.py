"""Analytical rules with their best learning rate of a grid: the baselines of the paper's figure 7.

The winner is the rate with the lowest mean of ln loss over the last tenth of the steps, averaged
over tuning seeds that evaluation never uses. Scores and winners are cached as JSON, one file per
(rule, optimizee, data set, split, number of steps), so that a search that was interrupted, or is
repeated with more rates, runs only what is new.
"""

import math
import pathlib
from collections.abc import Collection, Mapping
from typing import NamedTuple

import numpy as np

from l2o_tf import rules
from l2o_tf.core import errors, files, seeds
from l2o_tf.evaluation import runner, statistics

TUNABLE = ("sgd", "momentum", "nesterov", "rmsprop", "adam", "adagrad")
RATES = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0, 3.0, 10.0)
DEFAULT_NUM_SEEDS = 2

Scores = Mapping[float, float]  # By learning rate; infinite if a run diverged.


class Task(NamedTuple):
    """What a rule is tuned for; data set and split are empty where the loss needs no data."""

    optimizee: str
    dataset: str
    split: str
    num_steps: int


class Record(NamedTuple):
    """What is known of a rule on a task.

    Attributes:
        learning_rate: the winner of the last grid; None before a grid is complete.
        num_seeds: the runs that each score is the mean of.
        scores: the score of every learning rate that was tried.
    """

    learning_rate: float | None
    num_seeds: int
    scores: Scores


def measure(
    rule: str, learning_rate: float, on: runner.Runner, num_steps: int, num_seeds: int
) -> float:
    """The mean score of one learning rate over tuning seeds; infinite if a run diverged.

    Args:
        rule: one of TUNABLE.
        learning_rate: the rate to try.
        on: runs rules on the optimizee.
        num_steps: optimizee steps per run.
        num_seeds: the number of runs.
    """
    candidate = rules.create(rule, learning_rate=learning_rate)
    runs = [on.run(candidate, seeds.make_seed(i, "tuning"), num_steps) for i in range(num_seeds)]
    return float(np.mean([score(losses) for losses in runs]))


def score(losses: np.ndarray) -> float:
    """The mean of ln loss over the last tenth of the steps; infinite for a diverged run."""
    last = statistics.last_tenth(losses).astype(np.float64)
    if not np.isfinite(losses).all():
        return math.inf
    return float(np.mean(np.log(np.maximum(last, np.finfo(np.float32).tiny))))


def best(scores: Scores) -> float:
    """The learning rate with the lowest score.

    Raises:
        InputError: if every rate diverged.
    """
    winner = min(scores, key=scores.__getitem__)
    if math.isinf(scores[winner]):
        raise errors.InputError("every learning rate of the grid diverged: use smaller --rates")
    return winner


def edge(learning_rate: float, rates: Collection[float]) -> str:
    """A remark on a winner that may not be the best, because the grid ends there; else empty."""
    for end, where, others in ((min, "lowest", "lower"), (max, "highest", "higher")):
        if len(rates) > 1 and learning_rate == end(rates):
            return f", the {where} of the grid: tune with {others} --rates as well"
    return ""


class Cache:
    """The directory where results of tuning are kept."""

    def __init__(self, directory: str):
        self.directory = pathlib.Path(directory)

    def path(self, rule: str, task: Task) -> pathlib.Path:
        """The file of one rule and task."""
        return self.directory / ("-".join(filter(None, [rule, *map(str, task)])) + ".json")

    def read(self, rule: str, task: Task) -> Record | None:
        """What is known; None where nothing is.

        Raises:
            InputError: if the file is damaged.
        """
        path = self.path(rule, task)
        if not path.exists():
            return None
        try:
            record = _parse(files.read_json(path))
        except (AttributeError, KeyError, TypeError, ValueError):
            raise errors.InputError(f"{path} is damaged: delete it to tune again") from None
        return record

    def write(self, rule: str, task: Task, record: Record) -> None:
        """Stores what is known, in place of what was."""
        scores = {str(rate): None if math.isinf(s) else s for rate, s in record.scores.items()}
        content = {"rule": rule, **task._asdict(), **record._asdict(), "scores": scores}
        files.write_json(self.path(rule, task), content)


def _parse(content: dict) -> Record:
    scores = {
        float(rate): math.inf if score is None else float(score)
        for rate, score in content["scores"].items()
    }
    record = Record(content["learning_rate"], int(content["num_seeds"]), scores)
    if not all(0 < rate < math.inf and score > -math.inf for rate, score in scores.items()):
        raise ValueError("not the scores of learning rates")
    if record.learning_rate is not None and record.learning_rate not in scores:
        raise ValueError("the winner has no score")
    return record
