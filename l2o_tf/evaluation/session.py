"""Evaluation and tuning from their flags to their files: evaluate and tune."""

import contextlib
import functools
import pathlib
import sys
import time
from collections.abc import Callable, Iterable, Iterator

from l2o_tf import optimizees, rules
from l2o_tf.core import errors, files, flags, seeds
from l2o_tf.data import datasets
from l2o_tf.evaluation import contenders, report, results, runner, tuning
from l2o_tf.evaluation.config import EvaluateConfig, TuneConfig


class Workbench:
    """Data sets, optimizees and compiled runners, each made once and when first needed."""

    def __init__(self, config: EvaluateConfig | TuneConfig, tell: Callable[[str], None]):
        self._config, self._tell = config, tell
        self._datasets: dict[str, datasets.Dataset] = {}
        self._runners: dict[str, runner.Runner] = {}
        for name in config.optimizees:
            optimizees.get(name)

    def task(self, optimizee: str) -> tuning.Task:
        """What is optimized: the optimizee and its data."""
        default = optimizees.default_dataset(optimizee)
        data = (self._config.dataset or default, self._config.split) if default else ("", "")
        return tuning.Task(optimizees.label(optimizee), *data, self._config.num_steps)

    def runner(self, optimizee: str) -> runner.Runner:
        """The runner of an optimizee."""
        if optimizee not in self._runners:
            created = optimizees.create(optimizee, self._dataset(self.task(optimizee).dataset))
            self._runners[optimizee] = runner.Runner(created)
        return self._runners[optimizee]

    def _dataset(self, name: str) -> datasets.Dataset | None:
        if name and name not in self._datasets:
            self._datasets[name] = datasets.load(name, self._config.split, self._config.data_dir)
        return self._datasets.get(name)

    def tuned(self, rule: str, optimizee: str) -> float:
        """The tuned learning rate of a rule: from the cache, or searched now."""
        record = tuning.Cache(self._config.tuned_dir).read(rule, self.task(optimizee))
        if record is not None and record.learning_rate is not None:
            return record.learning_rate
        rate = self.tune(rule, optimizee, tuning.RATES, tuning.DEFAULT_NUM_SEEDS)
        self._tell(_winner(rule, optimizee, rate, tuning.RATES))
        return rate

    def tune(self, rule: str, optimizee: str, rates: tuple[float, ...], num_seeds: int) -> float:
        """The best rate of a grid; raises as `tuning.search`."""
        cache, task = tuning.Cache(self._config.tuned_dir), self.task(optimizee)
        on = functools.partial(self.runner, optimizee)
        return tuning.search(rule, task, on, rates, num_seeds, cache, self._tell)


def evaluate(config: EvaluateConfig, tell: Callable[[str], None]) -> None:
    """Runs every rule on every optimizee with every seed that is not done yet.

    Args:
        config: the flags.
        tell: is given what a person should read, a line at a time.

    Raises:
        InputError: for a rule, an optimizee or data that cannot be used, or a directory that
            holds another evaluation; nothing is written then.
        Interrupted: after a KeyboardInterrupt.
    """
    with _resumable("evaluate", config):
        _evaluate(config, tell)


def tune(config: TuneConfig, tell: Callable[[str], None]) -> None:
    """Tunes every rule on every optimizee and prints the winners; arguments as for `evaluate`.

    Raises:
        InputError: for a rule, an optimizee or data that cannot be used, or if every learning
            rate diverged.
        Interrupted: after a KeyboardInterrupt.
    """
    with _resumable("tune", config):
        _tune(config, tell)


@contextlib.contextmanager
def _resumable(command: str, config: EvaluateConfig | TuneConfig) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        raise errors.Interrupted(
            f"what is done is kept. To go on: python -m l2o_tf.{command} {flags.to_flags(config)}"
        ) from None


def _evaluate(config: EvaluateConfig, tell: Callable[[str], None]) -> None:
    loaded = contenders.load(config.rules, config.init_lr_range)
    bench = Workbench(config, tell)
    fingerprints = {label: contenders.fingerprint(rule) for label, rule in loaded.items()}
    record = _check_workdir(config, fingerprints)
    seconds, num_steps_run = 0.0, 0
    for label, optimizee, seed in _missing(config, loaded):
        # Data that cannot be used are found out before anything is written, and a directory that
        # cannot be written before the first long run.
        rule, task, on = loaded[label], bench.task(optimizee), bench.runner(optimizee)
        if not num_steps_run:
            files.write_json(_record_path(config), record)
        if isinstance(rule, tuning.Tuned):
            rule = rules.create(rule.name, learning_rate=bench.tuned(rule.name, optimizee))
        started = time.monotonic()
        losses = on.run(rule, seeds.make_seed(seed, "evaluation"), config.num_steps)
        seconds += time.monotonic() - started
        run = results.Run(label, task.optimizee, task.dataset, task.split, seed, losses)
        results.append(config.workdir, run)
        num_steps_run += config.num_steps
        tell(f"{label} on {optimizee}, seed {seed}: {report.outcome(run)}")
    if num_steps_run:
        tell(f"{num_steps_run / seconds:.0f} optimizee steps per second")
    report.write(pathlib.Path(config.workdir), map(optimizees.label, config.optimizees))


def _tune(config: TuneConfig, tell: Callable[[str], None]) -> None:
    for rule in config.rules:
        tuning.check_tunable(rule)
    bench = Workbench(config, tell)
    rates = config.rates or tuning.RATES
    for optimizee in config.optimizees:
        for rule in config.rules:
            rate = bench.tune(rule, optimizee, rates, config.num_seeds)
            path = tuning.Cache(config.tuned_dir).path(rule, bench.task(optimizee))
            sys.stdout.write(f"{_winner(rule, optimizee, rate, rates)} ({path})\n")


def _winner(rule: str, optimizee: str, rate: float, rates: tuple[float, ...]) -> str:
    return f"{rule} on {optimizee}: learning rate {rate:g}{tuning.edge(rate, rates)}"


def _record_path(config: EvaluateConfig) -> pathlib.Path:
    return pathlib.Path(config.workdir) / "config.json"


def _check_workdir(config: EvaluateConfig, fingerprints: dict[str, str]) -> dict:
    """What config.json is to hold: what all runs share, and which rule a label stands for."""
    path = _record_path(config)
    identity = config.identity()
    known = files.read_json(path) if path.exists() else identity
    if not isinstance(known, dict) or not identity.keys() <= known.keys():
        raise errors.InputError(f"{config.workdir} holds no evaluation: use another --workdir")
    for name, value in identity.items():
        if known[name] != value:
            raise errors.InputError(
                f"{config.workdir} holds an evaluation with --{name}={known[name]}, not "
                f"{value}: use another --workdir"
            )
    evaluated = known.get("rules", {})
    for label, fingerprint in fingerprints.items():
        if evaluated.get(label, fingerprint) != fingerprint:
            raise errors.InputError(
                f"{config.workdir} holds runs of another rule (or other weights) named {label}: "
                "write newname=RULE or use another --workdir"
            )
    return {**identity, "rules": {**evaluated, **fingerprints}}


def _missing(config: EvaluateConfig, labels: Iterable[str]) -> Iterator[tuple[str, str, int]]:
    done = results.done(config.workdir)
    for optimizee in config.optimizees:
        for label in labels:
            for seed in range(config.seed, config.seed + config.num_seeds):
                if results.run_key(label, optimizees.label(optimizee), seed) not in done:
                    yield label, optimizee, seed
