"""Evaluation and tuning from their flags to their files: evaluate and tune."""

import contextlib
import hashlib
import json
import pathlib
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import tensorflow as tf

from l2o_tf import loading, optimizees, rules
from l2o_tf.core import errors, files, flags, seeds
from l2o_tf.data import datasets
from l2o_tf.evaluation import figures, results, runner, statistics, tuning
from l2o_tf.evaluation.config import EvaluateConfig, TuneConfig

_TUNED = "tuned:"


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
        """Searches a grid, but for the rates in the cache, and stores the winner.

        Raises:
            InputError: if every rate diverged, or the file in the cache is damaged.
        """
        cache, task = tuning.Cache(self._config.tuned_dir), self.task(optimizee)
        known = cache.read(rule, task)
        scores = dict(known.scores) if known and known.num_seeds == num_seeds else {}
        for number, rate in enumerate(rates, 1):
            if rate not in scores:
                on = self.runner(optimizee)
                scores[rate] = tuning.measure(rule, rate, on, task.num_steps, num_seeds)
                cache.write(rule, task, tuning.Record(None, num_seeds, scores))
                self._tell(
                    f"tuning {rule} on {optimizee}: learning rate {rate:g} "
                    f"({number} of {len(rates)}): ln loss {scores[rate]:.3f}"
                )
        winner = tuning.best({rate: scores[rate] for rate in rates})
        cache.write(rule, task, tuning.Record(winner, num_seeds, scores))
        return winner


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
    loaded = {label: _load(source) for label, source in _sources(config.rules).items()}
    if config.init_lr_range is not None:
        loaded = _with_lr_range(loaded, config.init_lr_range)
    bench = Workbench(config, tell)
    record = _check_workdir(config, {label: _fingerprint(rule) for label, rule in loaded.items()})
    seconds, num_steps_run = 0.0, 0
    for label, optimizee, seed in _missing(config, loaded):
        # Data that cannot be used are found out before anything is written, and a directory that
        # cannot be written before the first long run.
        rule, task, on = loaded[label], bench.task(optimizee), bench.runner(optimizee)
        if not num_steps_run:
            files.write_json(_record_path(config), record)
        if isinstance(rule, str):
            rule = rules.create(rule, learning_rate=bench.tuned(rule, optimizee))
        started = time.monotonic()
        losses = on.run(rule, seeds.make_seed(seed, "evaluation"), config.num_steps)
        seconds += time.monotonic() - started
        run = results.Run(label, task.optimizee, task.dataset, task.split, seed, losses)
        results.append(config.workdir, run)
        num_steps_run += config.num_steps
        tell(f"{label} on {optimizee}, seed {seed}: {_outcome(run)}")
    if num_steps_run:
        tell(f"{num_steps_run / seconds:.0f} optimizee steps per second")
    _report(config)


def _tune(config: TuneConfig, tell: Callable[[str], None]) -> None:
    for rule in config.rules:
        _check_tunable(rule)
    bench = Workbench(config, tell)
    rates = config.rates or tuning.RATES
    for optimizee in config.optimizees:
        for rule in config.rules:
            rate = bench.tune(rule, optimizee, rates, config.num_seeds)
            path = tuning.Cache(config.tuned_dir).path(rule, bench.task(optimizee))
            sys.stdout.write(f"{_winner(rule, optimizee, rate, rates)} ({path})\n")


def _winner(rule: str, optimizee: str, rate: float, rates: tuple[float, ...]) -> str:
    return f"{rule} on {optimizee}: learning rate {rate:g}{tuning.edge(rate, rates)}"


def _sources(entries: Iterable[str]) -> dict[str, str]:
    """Where each rule comes from, by label."""
    sources: dict[str, str] = {}
    for entry in entries:
        label, source = _label_and_source(entry)
        results.check_label("rule", label)
        if label in sources:
            raise errors.InputError(
                f"--rules has two entries of the name {label}: write label=RULE for one of them"
            )
        sources[label] = source
    return sources


def _label_and_source(entry: str) -> tuple[str, str]:
    path = pathlib.Path(entry)
    if path.exists():
        return path.resolve().name, entry
    label, equals, source = entry.partition("=")
    return (label, source) if equals else (entry, entry)


def _load(source: str) -> rules.UpdateRule | str:
    """A rule, or the name of the rule to tune of "tuned:NAME"."""
    if not source.startswith(_TUNED):
        return loading.load(source)
    name = source.removeprefix(_TUNED)
    _check_tunable(name)
    return name


def _with_lr_range(
    loaded: dict[str, rules.UpdateRule | str], lr_range: tuple[float, ...]
) -> dict[str, rules.UpdateRule | str]:
    """The rules, those with random first learning rates changed to draw from `lr_range`."""
    changed = {
        label: rules.with_options(rule, init_lr_range=lr_range)
        for label, rule in loaded.items()
        if not isinstance(rule, str) and "init_lr_range" in rule.options()
    }
    if not changed:
        raise errors.InputError(
            "--init_lr_range is for the rules scale and coordinatewise_rnn: none is in --rules"
        )
    return {**loaded, **changed}


def _check_tunable(name: str) -> None:
    if name not in tuning.TUNABLE:
        raise errors.InputError(
            f"{name!r} cannot be tuned; rules that can: {', '.join(tuning.TUNABLE)}"
        )


def _fingerprint(rule: rules.UpdateRule | str) -> str:
    """Equal for equal rules only."""
    if isinstance(rule, str):
        return _TUNED + rule
    digest = hashlib.sha256(json.dumps(rule.options(), sort_keys=True).encode())
    for name, value in sorted(rule.weights().items()):
        digest.update(name.encode() + np.asarray(value).tobytes())
    return f"{rule.registered_name}-{digest.hexdigest()[:16]}"


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
                if f"{label}|{optimizees.label(optimizee)}|{seed}" not in done:
                    yield label, optimizee, seed


def _outcome(run: results.Run) -> str:
    if run.diverged_at is not None:
        return f"diverged at step {run.diverged_at}"
    last = statistics.last_tenth(run.losses)
    return f"ln loss {statistics.mean_of_log(last, len(last))[0]:.3f} over the last tenth"


def _report(config: EvaluateConfig) -> None:
    workdir = pathlib.Path(config.workdir)
    results.consolidate(workdir)
    runs = results.load(workdir)
    table = statistics.table(runs)
    files.write_atomically(workdir / "table.txt", (table + "\n").encode())
    _write_tensorboard(workdir, runs)
    sys.stdout.write(table + "\n")
    for optimizee in map(optimizees.label, config.optimizees):
        picture = workdir / f"{optimizee}.png"
        figures.quick_look([run for run in runs if run.optimizee == optimizee], picture)
        sys.stdout.write(f"curves: {picture}\n")
    sys.stdout.write(f"results: {workdir / 'results.csv'}, {workdir / 'losses.npz'}\n")


def _write_tensorboard(workdir: pathlib.Path, runs: list[results.Run]) -> None:
    """A run per rule, a curve per optimizee: means of ln loss over 100 steps and over seeds."""
    for (rule, optimizee), group in statistics.group(runs).items():
        directory = workdir / "tensorboard" / re.sub(r"[^\w.-]", "_", rule) / optimizee
        for old in directory.glob("events.out.tfevents.*"):
            old.unlink()
        means = statistics.over_seeds([statistics.mean_of_log(run.losses) for run in group]).mean
        with tf.summary.create_file_writer(str(directory)).as_default():
            for k, value in enumerate(means, 1):
                tf.summary.scalar("ln_loss", value, step=k * results.WINDOW)
