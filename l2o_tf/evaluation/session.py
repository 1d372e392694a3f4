"""Evaluation and tuning from their flags to their files: evaluate and tune."""

import contextlib
import functools
import itertools
import json
import pathlib
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from l2o_tf import optimizees, rules
from l2o_tf.core import errors, files, flags, seeds
from l2o_tf.data import datasets
from l2o_tf.evaluation import contenders, progress, report, results, runner, tuning
from l2o_tf.evaluation.config import EvaluateConfig, TuneConfig


class Workbench:
    """Data sets, optimizees and compiled runners, each made once and when first needed."""

    def __init__(self, config: EvaluateConfig | TuneConfig, tell: Callable[[str], None]):
        self._config, self._tell = config, tell
        self._datasets: dict[str, datasets.Dataset] = {}
        self._runners: dict[str, runner.Runner] = {}
        for name in config.optimizees:
            optimizees.get(name)
        self._options = optimizees.options(
            config.optimizees, flags.json_object("optimizee_options", config.optimizee_options)
        )
        for name, own in self._options.items():
            if own:
                tell(f"{name} with {json.dumps(own, sort_keys=True)}")

    def task(self, optimizee: str) -> tuning.Task:
        """What is optimized: the optimizee and its data."""
        default = optimizees.default_dataset(optimizee)
        data = (self._config.dataset or default, self._config.split) if default else ("", "")
        own = self._options[optimizee]
        options = json.dumps(own, sort_keys=True, separators=(",", ":")) if own else ""
        return tuning.Task(optimizees.label(optimizee), *data, self._config.num_steps, options)

    def runner(self, optimizee: str) -> runner.Runner:
        """The runner of an optimizee."""
        if optimizee not in self._runners:
            dataset = self._dataset(self.task(optimizee).dataset)
            created = optimizees.create(optimizee, dataset, **self._options[optimizee])
            self._runners[optimizee] = runner.Runner(created)
        return self._runners[optimizee]

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
        if rate is None:
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
    _check_keys(config, loaded)
    fingerprints = {label: contenders.fingerprint(rule) for label, rule in loaded.items()}
    _check_workdir(config, fingerprints)
    results.remove_temporaries(config.workdir)
    stored = results.stored(config.workdir)
    rates = _rates(config, bench, loaded, stored.values())
    missing = [key for key in _all_runs(config, loaded) if _run_key(*key) not in stored]
    shown = progress.Progress(tell, len(missing), config.num_steps)
    started, num_steps_run = time.monotonic(), 0
    for label, optimizee, seed in missing:
        # Data that cannot be used are found out before anything is written, and a directory that
        # cannot be written before the first long run.
        rule, task, on = loaded[label], bench.task(optimizee), bench.runner(optimizee)
        if not num_steps_run:
            with results.lock(config.workdir):
                record = _check_workdir(config, fingerprints)
                files.write_json(_record_path(config), record)
        if results.is_stored(config.workdir, _run_key(label, optimizee, seed)):
            shown.skip()  # By another evaluation in the same directory.
            continue
        rate = None
        if isinstance(rule, tuning.Tuned):
            rate = rates.get((label, optimizee)) or bench.tuned(rule.name, optimizee)
            rule = rules.create(rule.name, learning_rate=rate)
        shown.start(f"{label} on {optimizee}, seed {seed}")
        losses = on.run(rule, seeds.make_seed(seed, "evaluation"), config.num_steps, shown)
        run = results.Run(label, task.optimizee, task.dataset, task.split, seed, losses, rate)
        results.append(config.workdir, run)
        num_steps_run += config.num_steps
        tell(f"{label} on {optimizee}, seed {seed}: {report.outcome(run)}")
    if num_steps_run:
        seconds = time.monotonic() - started
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


def _run_key(label: str, optimizee: str, seed: int) -> str:
    return results.run_key(label, optimizees.label(optimizee), seed)


def _check_keys(config: EvaluateConfig, labels: Iterable[str]) -> None:
    """Finds out labels that cannot be stored before the first run."""
    last = config.seed + config.num_seeds - 1
    for optimizee in config.optimizees:
        results.check_label("optimizee", optimizees.label(optimizee))
        for label in labels:
            results.check_key(_run_key(label, optimizee, last))


def _rates(
    config: EvaluateConfig,
    bench: Workbench,
    loaded: Mapping[str, contenders.Contender],
    stored: Iterable[results.Run],
) -> dict[tuple[str, str], float]:
    """The learning rates that runs of tuned rules have, by label and optimizee.

    Raises:
        InputError: if a tuning since then has found another, which one label would mix.
    """
    rates: dict[tuple[str, str], set[float]] = {}
    for run in stored:
        if run.learning_rate is not None:
            rates.setdefault((run.rule, run.optimizee), set()).add(run.learning_rate)
    found = {}
    for label, rule in loaded.items():
        for optimizee in config.optimizees:
            used = rates.get((label, optimizees.label(optimizee)))
            if not used or not isinstance(rule, tuning.Tuned):
                continue
            known = bench.known_rate(rule.name, optimizee)
            if known is not None and used != {known}:
                raise errors.InputError(
                    f"{config.workdir} holds runs of {label} on {optimizee} with the learning rate "
                    f"{', '.join(f'{rate:g}' for rate in sorted(used))}, but {known:g} is tuned "
                    f"now: write newname=tuned:{rule.name} or use another --workdir"
                )
            found[label, optimizee] = max(used)
    return found


def _record_path(config: EvaluateConfig) -> pathlib.Path:
    return pathlib.Path(config.workdir) / "config.json"


def _check_workdir(config: EvaluateConfig, fingerprints: dict[str, str]) -> dict:
    """What config.json is to hold: what all runs share, and which rule a label stands for."""
    path = _record_path(config)
    identity = config.identity()
    known = files.read_json(path) if files.exists(path) else identity
    if isinstance(known, dict):
        known = {"optimizee_options": {}, **known}  # Older versions had no such options.
    is_record = isinstance(known, dict) and identity.keys() <= known.keys()
    if not is_record or not isinstance(known.get("rules", {}), dict):
        raise errors.InputError(f"{config.workdir} holds no evaluation: use another --workdir")
    for name, value in identity.items():
        if known[name] != value:
            raise errors.InputError(
                f"{config.workdir} holds an evaluation with --{name}={_typed(known[name])}, not "
                f"{_typed(value)}: use another --workdir"
            )
    evaluated = known.get("rules", {})
    for label, fingerprint in fingerprints.items():
        if evaluated.get(label, fingerprint) != fingerprint:
            raise errors.InputError(
                f"{config.workdir} holds runs of another rule (or other weights) named {label}: "
                "write newname=RULE or use another --workdir"
            )
    return {**identity, "rules": {**evaluated, **fingerprints}}


def _typed(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, dict) else value


def _all_runs(config: EvaluateConfig, labels: Iterable[str]) -> Iterator[tuple[str, str, int]]:
    seed_range = range(config.seed, config.seed + config.num_seeds)
    for optimizee, label, seed in itertools.product(config.optimizees, labels, seed_range):
        yield label, optimizee, seed
