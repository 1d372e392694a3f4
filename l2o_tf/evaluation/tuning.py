"""Analytical rules with their best learning rate of a grid: the baselines of the paper's figure 7.

The winner is the rate with the lowest mean of ln loss over the last tenth of the steps, averaged
over tuning seeds that evaluation never uses. Results are cached as JSON, one file per (rule,
optimizee, data set, split, number of steps).
"""

import math
import pathlib
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from l2o_tf import errors, files, rules, seeds
from l2o_tf.evaluation import runner

TUNABLE = ("sgd", "momentum", "nesterov", "rmsprop", "adam", "adagrad")
RATES = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0, 3.0, 10.0)
DEFAULT_NUM_SEEDS = 2


class Task(NamedTuple):
    """What a rule is tuned for."""

    optimizee: str
    dataset: str
    split: str
    num_steps: int


class Trial(NamedTuple):
    """One learning rate of a grid and its score; infinite if it diverged."""

    learning_rate: float
    score: float


def search(
    rule: str,
    measure: runner.Runner,
    num_steps: int,
    rates: tuple[float, ...] = RATES,
    num_seeds: int = DEFAULT_NUM_SEEDS,
) -> Iterator[Trial]:
    """Runs a rule with every learning rate.

    Args:
        rule: one of TUNABLE.
        measure: runs rules on the optimizee.
        num_steps: optimizee steps per run.
        rates: the grid.
        num_seeds: runs per rate.
    """
    for rate in rates:
        candidate = rules.create(rule, learning_rate=rate)
        scores = [
            score(measure.run(candidate, seeds.make_seed(i, "tuning"), num_steps))
            for i in range(num_seeds)
        ]
        yield Trial(rate, float(np.mean(scores)))


def score(losses: np.ndarray) -> float:
    """The mean of ln loss over the last tenth of the steps; infinite for a diverged run."""
    last = losses[-max(1, len(losses) // 10) :].astype(np.float64)
    if not np.isfinite(losses).all():
        return math.inf
    return float(np.mean(np.log(np.maximum(last, np.finfo(np.float32).tiny))))


def best(trials: list[Trial]) -> Trial:
    """The winner.

    Raises:
        InputError: if every rate diverged.
    """
    winner = min(trials, key=lambda trial: trial.score)
    if math.isinf(winner.score):
        raise errors.InputError("every learning rate of the grid diverged: use smaller --rates")
    return winner


class Cache:
    """The directory where results of tuning are kept."""

    def __init__(self, directory: str):
        self.directory = pathlib.Path(directory)

    def path(self, rule: str, task: Task) -> pathlib.Path:
        """The file of one result."""
        return self.directory / ("-".join([rule, *map(str, task)]) + ".json")

    def read(self, rule: str, task: Task) -> float | None:
        """The tuned learning rate; None where there is none yet.

        Raises:
            InputError: if the file is damaged.
        """
        path = self.path(rule, task)
        if not path.exists():
            return None
        try:
            return float(files.read_json(path)["learning_rate"])
        except (KeyError, TypeError, ValueError):
            raise errors.InputError(f"{path} is damaged: delete it to tune again") from None

    def write(self, rule: str, task: Task, trials: list[Trial], num_seeds: int) -> None:
        """Stores a grid and its winner."""
        winner = best(trials)
        files.write_json(
            self.path(rule, task),
            {
                "rule": rule,
                **task._asdict(),
                "learning_rate": winner.learning_rate,
                "num_seeds": num_seeds,
                "scores": {
                    str(t.learning_rate): None if math.isinf(t.score) else t.score for t in trials
                },
            },
        )
