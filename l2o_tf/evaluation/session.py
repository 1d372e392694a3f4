"""Evaluation and tuning from their flags to their files: evaluate and tune."""

import pathlib
import sys
import time
from collections.abc import Iterable

import numpy as np
import tensorflow as tf

from l2o_tf import errors, files, loading, optimizees, rules, seeds
from l2o_tf.data import datasets
from l2o_tf.evaluation import figures, results, runner, statistics, tuning
from l2o_tf.evaluation.config import EvaluateConfig, TuneConfig

_TUNED = "tuned:"


class Workbench:
    """Data sets, optimizees and compiled runners, each made once and when first needed."""

    def __init__(self, config: EvaluateConfig | TuneConfig):
        self._config = config
        self._datasets: dict[str, datasets.Dataset] = {}
        self._runners: dict[str, runner.Runner] = {}
        for name in config.optimizees:
            optimizees.get(name)

    def task(self, optimizee: str) -> tuning.Task:
        """What is optimized: the optimizee and its data."""
        dataset = self._config.dataset or optimizees.default_dataset(optimizee)
        return tuning.Task(optimizee, dataset, self._config.split, self._config.num_steps)

    def runner(self, optimizee: str) -> runner.Runner:
        """The runner of an optimizee."""
        if optimizee not in self._runners:
            name = self.task(optimizee).dataset
            if name not in self._datasets:
                self._datasets[name] = datasets.load(
                    name, self._config.split, self._config.data_dir
                )
            created = optimizees.create(optimizee, self._datasets[name])
            self._runners[optimizee] = runner.Runner(created)
        return self._runners[optimizee]

    def tune(self, rule: str, optimizee: str, rates=tuning.RATES, num_seeds=None) -> float:
        """The tuned learning rate of a rule: from the cache, or searched now."""
        cache, task = tuning.Cache(self._config.tuned_dir), self.task(optimizee)
        rate = cache.read(rule, task)
        if rate is None:
            num_seeds = num_seeds or tuning.DEFAULT_NUM_SEEDS
            trials = []
            for trial in tuning.search(
                rule, self.runner(optimizee), task.num_steps, rates, num_seeds
            ):
                trials.append(trial)
                _say(
                    f"tuning {rule} on {optimizee}: learning rate {trial.learning_rate:g} "
                    f"({len(trials)} of {len(rates)}): ln loss {trial.score:.3f}"
                )
            cache.write(rule, task, trials, num_seeds)
            rate = tuning.best(trials).learning_rate
        return rate


def evaluate(config: EvaluateConfig) -> int:
    """Runs every rule on every optimizee with every seed that is not done yet."""
    sources = dict(map(_label_and_source, config.rules))
    if len(sources) != len(config.rules):
        raise errors.InputError(
            "--rules has two entries of the same name: write label=source for one of them"
        )
    loaded = {
        label: _check_tunable(source) or loading.load(source) for label, source in sources.items()
    }
    bench = Workbench(config)
    _open_workdir(config)
    started, num_steps_run = time.monotonic(), 0
    for label, optimizee, seed in _missing(config, sources):
        rule = loaded[label]
        if isinstance(rule, str):
            rule = rules.create(rule, learning_rate=bench.tune(rule, optimizee))
        losses = bench.runner(optimizee).run(
            rule, seeds.make_seed(seed, "evaluation"), config.num_steps
        )
        task = bench.task(optimizee)
        run = results.Run(label, optimizee, task.dataset, task.split, seed, losses)
        results.append(config.workdir, run)
        num_steps_run += config.num_steps
        _say(f"{label} on {optimizee}, seed {seed}: {_outcome(run)}")
    if num_steps_run:
        _say(f"{num_steps_run / (time.monotonic() - started):.0f} optimizee steps per second")
    _report(config, sources)
    return 0


def tune(config: TuneConfig) -> int:
    """Tunes every rule on every optimizee and prints the winners."""
    for rule in config.rules:
        _check_tunable(f"{_TUNED}{rule}")
    bench = Workbench(config)
    for optimizee in config.optimizees:
        for rule in config.rules:
            rate = bench.tune(rule, optimizee, config.rates or tuning.RATES, config.num_seeds)
            path = tuning.Cache(config.tuned_dir).path(rule, bench.task(optimizee))
            sys.stdout.write(f"{rule} on {optimizee}: learning rate {rate:g} ({path})\n")
    return 0


def _label_and_source(entry: str) -> tuple[str, str]:
    label, equals, source = entry.partition("=")
    if equals:
        return label, source
    path = pathlib.Path(entry)
    return (path.resolve().name if path.exists() else entry), entry


def _check_tunable(source: str) -> str | None:
    """The rule to tune of "tuned:NAME"; None for any other source."""
    if not source.startswith(_TUNED):
        return None
    name = source.removeprefix(_TUNED)
    if name not in tuning.TUNABLE:
        raise errors.InputError(
            f"{name!r} cannot be tuned; rules that can: {', '.join(tuning.TUNABLE)}"
        )
    return name


def _open_workdir(config: EvaluateConfig) -> None:
    recorded = pathlib.Path(config.workdir) / "config.json"
    if recorded.exists():
        known = files.read_json(recorded)
        for name, value in config.identity().items():
            if known.get(name) != value:
                raise errors.InputError(
                    f"{config.workdir} holds an evaluation with --{name}={known.get(name)}, not "
                    f"{value}: use another --workdir"
                )
    else:
        files.write_json(recorded, config.identity())


def _missing(config: EvaluateConfig, labels: Iterable[str]):
    done = results.done(config.workdir)
    for optimizee in config.optimizees:
        for label in labels:
            for seed in range(config.seed, config.seed + config.num_seeds):
                if f"{label}|{optimizee}|{seed}" not in done:
                    yield label, optimizee, seed


def _outcome(run: results.Run) -> str:
    if run.diverged_at is not None:
        return f"diverged at step {run.diverged_at}"
    return f"ln loss {tuning.score(run.losses):.3f} over the last tenth"


def _report(config: EvaluateConfig, labels: Iterable[str]) -> None:
    workdir = pathlib.Path(config.workdir)
    results.consolidate(workdir)
    runs = results.load(workdir)
    table = statistics.table(runs)
    files.write_atomically(workdir / "table.txt", (table + "\n").encode())
    _write_tensorboard(workdir, runs)
    sys.stdout.write(table + "\n")
    for optimizee in config.optimizees:
        picture = workdir / f"{optimizee}.png"
        figures.quick_look([run for run in runs if run.optimizee == optimizee], picture)
        sys.stdout.write(f"curves: {picture}\n")
    sys.stdout.write(f"results: {workdir / 'results.csv'}, {workdir / 'losses.npz'}\n")


def _write_tensorboard(workdir: pathlib.Path, runs: list[results.Run]) -> None:
    """A run per rule, a curve per optimizee: means of ln loss over 100 steps and over seeds."""
    for (rule, optimizee), group in statistics.group(runs).items():
        directory = workdir / "tensorboard" / rule.replace(":", "_") / optimizee
        for old in directory.glob("events.out.tfevents.*"):
            old.unlink()
        windows = statistics.pad([statistics.mean_of_log(run.losses) for run in group])
        with tf.summary.create_file_writer(str(directory)).as_default():
            for k, value in enumerate(np.mean(windows, axis=0), 1):
                tf.summary.scalar("ln_loss", value, step=k * results.WINDOW)


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()
