"""What evaluations and searches of learning rates run on."""

import functools
import json
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from l2o_tf import optimizees, rules
from l2o_tf.core import seeds
from l2o_tf.data import datasets
from l2o_tf.evaluation import contenders, runner, tasks, tuning
from l2o_tf.evaluation.config import EvaluateConfig, EvaluationFlags, TuneConfig


class Wanted(NamedTuple):
    """One run: the rule's label, the optimizee, the seed, and the rate if it was searched for."""

    label: str
    optimizee: str
    seed: int
    learning_rate: float | None


def seed_of_run(seed: int) -> seeds.Seed:
    """The seed of the trajectory that is seed number `seed` of an evaluation."""
    return seeds.make_seed(seed, "evaluation")


def _ignore(what: Any) -> None:
    pass


class Workbench:
    """Rules, data sets, optimizees and compiled runners, each made once and when first needed."""

    def __init__(self, config: EvaluationFlags | TuneConfig, tell: Callable[[str], None]):
        self._config, self._tell = config, tell
        self._rules: dict[str, contenders.Contender] | None = None
        self._datasets: dict[str, datasets.Dataset] = {}
        self._runners: dict[str, runner.Runner] = {}

    # Late, so that a rule of a plug-in, which knows its name, is complained about first.
    @functools.cached_property
    def _options(self) -> dict[str, dict[str, Any]]:
        """The optimizees' own options; raises InputError for unknown ones of either."""
        options = tasks.options(self._config.optimizees, self._config.optimizee_options)
        for name, own in options.items():
            if own:
                self._tell(f"{name} with {json.dumps(own, sort_keys=True)}")
        return options

    def task(self, optimizee: str) -> tasks.Task:
        """What is optimized: the optimizee and its data."""
        config, options = self._config, tasks.text_of(self._options[optimizee])
        dataset = tasks.dataset_of(optimizee, config.dataset)
        split = config.split if dataset else ""
        return tasks.Task(optimizees.label(optimizee), dataset, split, config.num_steps, options)

    def runner(self, optimizee: str) -> runner.Runner:
        """The runner of an optimizee."""
        if optimizee not in self._runners:
            self._runners[optimizee] = runner.Runner(self.create(optimizee))
        return self._runners[optimizee]

    def create(self, optimizee: str) -> optimizees.Optimizee:
        """An optimizee on its data."""
        dataset = self._dataset(self.task(optimizee).dataset)
        return optimizees.create(optimizee, dataset, **self._options[optimizee])

    def _dataset(self, name: str) -> datasets.Dataset | None:
        if name and name not in self._datasets:
            self._datasets[name] = datasets.load(name, self._config.split, self._config.data_dir)
        return self._datasets.get(name)

    def known_rate(self, rule: str, optimizee: str) -> float | None:
        """The tuned learning rate of a rule in the cache; None where there is none."""
        record = tuning.Cache(self._config.tuned_dir).read(rule, self.task(optimizee))
        return None if record is None else record.learning_rate

    def tuned(self, rule: str, optimizee: str) -> float:
        """The tuned learning rate of a rule: from the cache, or searched now."""
        rate = self.known_rate(rule, optimizee)
        if rate is not None:
            return rate
        found = self.tune(rule, optimizee, tuning.RATES, tuning.DEFAULT_NUM_SEEDS)
        self._tell(winner(rule, optimizee, found))
        return found.learning_rate

    def tune(
        self, rule: str, optimizee: str, rates: tuple[float, ...], num_seeds: int
    ) -> tuning.Winner:
        """The best rate of a grid and of what was tried before; raises as `tuning.search`."""
        cache, task = tuning.Cache(self._config.tuned_dir), self.task(optimizee)
        on = functools.partial(self.runner, optimizee)
        return tuning.search(rule, task, on, rates, num_seeds, cache, self._tell)

    def rules(self) -> dict[str, contenders.Contender]:
        """The rules of an evaluation by label; raises as `contenders.load`."""
        if self._rules is None:
            config = self._config
            lr_range = None if isinstance(config, TuneConfig) else config.init_lr_range
            self._rules = contenders.load(config.rules, lr_range)
        return self._rules

    def measure(self, wanted: Wanted, progress: Callable[[int], None] = _ignore) -> np.ndarray:
        """The losses of a run, float32 [num_steps]; `progress` as for `runner.Runner.run`."""
        label, optimizee, seed, rate = wanted
        rule = self.rules()[label]
        if isinstance(rule, tuning.Tuned):
            rule = rules.create(rule.name, learning_rate=rate)
        on = self.runner(optimizee)
        return on.run(rule, seed_of_run(seed), self._config.num_steps, progress)


class Bench(Workbench):
    """A workbench of a process of `pool`, which says nothing and reads the rules once more."""

    def __init__(self, argument: tuple[EvaluateConfig, dict[str, str]]):
        """Of an evaluation and the fingerprints of its rules by label."""
        config, self._fingerprints = argument
        super().__init__(config, _ignore)

    def measure(self, wanted: Wanted, progress: Callable[[int], None] = _ignore) -> np.ndarray:
        """As of a workbench.

        Raises:
            InputError: if the rule has been replaced since the evaluation began, such as by a run
                that still trains.
        """
        label = wanted.label
        found = contenders.fingerprint(self.rules()[label])
        contenders.check_unchanged(label, found, self._fingerprints[label], "evaluation")
        return super().measure(wanted, progress)


def winner(rule: str, optimizee: str, found: tuning.Winner) -> str:
    """What people read of a search."""
    return f"{rule} on {optimizee}: learning rate {found.learning_rate:g}{tuning.edge(*found)}"
