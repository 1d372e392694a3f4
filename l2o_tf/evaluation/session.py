"""Evaluation and tuning from their flags to their files: evaluate and tune."""

import contextlib
import itertools
import json
import pathlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from typing import Any

from l2o_tf import optimizees
from l2o_tf.core import devices, errors, files, flags
from l2o_tf.evaluation import contenders, pool, progress, report, results, tuning, workbench
from l2o_tf.evaluation.config import EvaluateConfig, TuneConfig


def _nothing(*_: str) -> None:
    pass


def evaluate(
    config: EvaluateConfig,
    tell: Callable[[str], None],
    prepare: Callable[[], None] = _nothing,
    show: Callable[[str], None] = _nothing,
) -> None:
    """Runs every rule on every optimizee with every seed that is not done yet.

    Args:
        config: the flags.
        tell: is given what a person should read, a line at a time.
        prepare: what processes of --jobs call before they use TensorFlow.
        show: is given the results, a text at a time; by default they are in files only.

    Raises:
        InputError: for a rule, an optimizee or data that cannot be used, or a directory that
            holds another evaluation; nothing is written then.
        Interrupted: after a KeyboardInterrupt.
    """
    with flags.resumable("evaluate", config):
        _evaluate(config, tell, prepare, show)


def tune(
    config: TuneConfig, tell: Callable[[str], None], show: Callable[[str], None] = _nothing
) -> None:
    """Tunes every rule on every optimizee and shows the winners; arguments as for `evaluate`.

    Raises:
        InputError: for a rule, an optimizee or data that cannot be used, or if every learning
            rate diverged.
        Interrupted: after a KeyboardInterrupt.
    """
    with flags.resumable("tune", config):
        _tune(config, tell, show)


def adopt(
    config: EvaluateConfig,
    fingerprints: dict[str, str],
    runs: Iterable[results.Run],
    tell: Callable[[str], None],
    show: Callable[[str], None] = _nothing,
) -> None:
    """Stores runs that were made elsewhere, as `evaluate` would have.

    Args:
        config: the flags of the evaluation that they are part of.
        fingerprints: of its rules, by label.
        runs: the runs; those that are stored already are left out.
        tell: as for `evaluate`.
        show: likewise.

    Raises:
        InputError: if the directory holds another evaluation.
    """
    with results.lock(config.workdir):
        files.write_json(_record_path(config), _check_workdir(config, fingerprints))
    stored = results.stored(config.workdir)
    rates = {(r.rule, r.optimizee): r.learning_rate for r in stored.values()}
    for run in runs:
        if run.key in stored:
            continue
        if rates.get((run.rule, run.optimizee), run.learning_rate) != run.learning_rate:
            raise errors.InputError(
                f"{config.workdir} holds runs of {run.rule} on {run.optimizee} with another "
                "learning rate: use another directory"
            )
        results.append(config.workdir, run)
        tell(f"{run.rule} on {run.optimizee}, seed {run.seed}: {report.outcome(run)}")
    show(report.write(pathlib.Path(config.workdir), map(optimizees.label, config.optimizees)))


def _evaluate(config: EvaluateConfig, tell, prepare, show) -> None:
    bench = workbench.Workbench(config, tell)
    loaded = bench.rules()
    check_keys(config, loaded)
    fingerprints = {label: contenders.fingerprint(rule) for label, rule in loaded.items()}
    _check_workdir(config, fingerprints)
    results.remove_temporaries(config.workdir)
    stored = results.stored(config.workdir)
    rates = _rates(config, bench, loaded, stored.values())
    missing = [key for key in _own_runs(config, loaded) if _run_key(*key) not in stored]
    if missing:
        searches = _searches(bench, loaded, missing, rates)
        tell(_announcement(bench, config, missing, searches))
        _make_ready(config, bench, missing, searches, fingerprints)
    shown = progress.Progress(tell, len(missing), config.num_steps)
    searching, num_left = 0.0, len(missing)  # Seconds, runs.

    def wanted():
        nonlocal searching, num_left
        for label, optimizee, seed in missing:
            if results.is_stored(config.workdir, _run_key(label, optimizee, seed)):
                shown.skip()  # By another evaluation in the same directory.
                num_left -= 1
                continue
            rule = loaded[label]
            if isinstance(rule, tuning.Tuned) and (label, optimizee) not in rates:
                began = time.monotonic()
                # Once: another process may find a better one before the last seed.
                rates[label, optimizee] = bench.tuned(rule.name, optimizee)
                searching += time.monotonic() - began
            yield workbench.Wanted(label, optimizee, seed, rates.get((label, optimizee)))

    started, num_done, seconds = time.monotonic(), 0, 0.0
    with _open(config, bench, fingerprints, shown, prepare) as measure:
        for (label, optimizee, seed, rate), losses in measure(wanted()):
            task = bench.task(optimizee)
            run = results.Run(label, task.optimizee, task.dataset, task.split, seed, losses, rate)
            results.append(config.workdir, run)
            num_done, num_left = num_done + 1, num_left - 1
            seconds = time.monotonic() - started - searching
            left = ""
            if config.jobs > 1:  # Where no process says how far its run is.
                to_go = progress.duration(seconds / num_done * num_left)
                left = f" ({num_done} of {len(missing)} runs, about {to_go} left)"
            tell(f"{label} on {optimizee}, seed {seed}: {report.outcome(run)}{left}")
    if num_done:
        tell(f"{num_done * config.num_steps / seconds:.0f} optimizee steps per second")
    _report(config, loaded, tell, show)


def _make_ready(config, bench, missing, searches, fingerprints) -> None:
    """Finds out what cannot be used or written before the first long run, and then records it."""
    # Data first, so that nothing is written if they cannot be used.
    for optimizee in dict.fromkeys(optimizee for _, optimizee, _ in missing):
        bench.runner(optimizee)
    with results.lock(config.workdir):
        files.write_json(_record_path(config), _check_workdir(config, fingerprints))
    if config.jobs > 1:  # Else processes, and what they have done, would wait for a search.
        for search in searches:
            bench.tuned(*search)


def _searches(bench, loaded, missing, rates) -> list[tuple[str, str]]:
    """The rules and optimizees whose learning rates are to be searched for."""
    tuned = {
        (rule.name, optimizee)
        for label, optimizee, _ in missing
        if isinstance(rule := loaded[label], tuning.Tuned) and (label, optimizee) not in rates
    }
    return [key for key in tuned if bench.known_rate(*key) is None]


def _announcement(bench, config: EvaluateConfig, missing, searches: Sized) -> str:
    """What is to be run before there is a result, on which images, with what."""
    tasks = [bench.task(name) for name in dict.fromkeys(optimizee for _, optimizee, _ in missing)]
    what = ", ".join(task.title for task in tasks)
    text = f"{len(missing)} runs of {config.num_steps} steps on {what}; {devices.describe()}"
    if config.jobs > 1:
        text += f", {config.jobs} at a time"
    if searches:
        runs = len(searches) * len(tuning.RATES) * tuning.DEFAULT_NUM_SEEDS
        text += f", and up to {runs} more to tune learning rates"
    return text


@contextlib.contextmanager
def _open(config, bench, fingerprints, shown, prepare) -> Iterator[pool.Measure[workbench.Wanted]]:
    """What measures: the bench, which shows how far a run is, or processes."""
    if config.jobs > 1:
        recipe = workbench.__name__, (config, fingerprints)
        with pool.open(config.jobs, recipe, prepare) as measure:
            yield measure
        return

    def measure_here(wanted):
        for one in wanted:
            shown.start(f"{one.label} on {one.optimizee}, seed {one.seed}")
            yield one, bench.measure(one, shown)

    yield measure_here


def _report(config: EvaluateConfig, labels: Iterable[str], tell, show) -> None:
    """Writes tables and figures, of a shard only if it is the one that ends last."""
    if config.shard_of()[1] > 1:
        done = results.done(config.workdir)
        left = sum(_run_key(*key) not in done for key in _all_runs(config, labels))
        if left:
            tell(
                f"this shard is done; {left} runs of others are missing: when they are in "
                f"{pathlib.Path(config.workdir) / 'runs'}, run this again for tables and figures"
            )
            return
    show(report.write(pathlib.Path(config.workdir), map(optimizees.label, config.optimizees)))


def _tune(config: TuneConfig, tell, show) -> None:
    for rule in config.rules:
        tuning.check_tunable(rule)
    bench = workbench.Workbench(config, tell)
    rates = config.rates or tuning.RATES
    for optimizee in config.optimizees:
        for rule in config.rules:
            found = bench.tune(rule, optimizee, rates, config.num_seeds)
            path = tuning.Cache(config.tuned_dir).path(rule, bench.task(optimizee))
            show(f"{workbench.winner(rule, optimizee, found)} ({path})")


def _run_key(label: str, optimizee: str, seed: int) -> str:
    return results.run_key(label, optimizees.label(optimizee), seed)


def check_keys(config: EvaluateConfig, labels: Iterable[str]) -> None:
    """Raises InputError for an optimizee that there is not, or a label that cannot be stored."""
    last = config.seed + config.num_seeds - 1
    for optimizee in config.optimizees:
        optimizees.get(optimizee)
        results.check_label("optimizee", optimizees.label(optimizee))
        for label in labels:
            results.check_key(_run_key(label, optimizee, last))


def _rates(
    config: EvaluateConfig,
    bench: workbench.Workbench,
    loaded: Mapping[str, contenders.Contender],
    stored: Iterable[results.Run],
) -> dict[tuple[str, str], float]:
    """The learning rates that runs of tuned rules have, by label and optimizee.

    Raises:
        InputError: if they are several, or a tuning since then has found another, which one label
            would mix.
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
            if len(used) > 1 or known not in (None, *used):
                now = "" if known is None else f", but {known:g} is tuned now"
                raise errors.InputError(
                    f"{config.workdir} holds runs of {label} on {optimizee} with the learning rate "
                    f"{' and '.join(f'{rate:g}' for rate in sorted(used))}{now}: write "
                    f"newname=tuned:{rule.name} or use another --workdir"
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
    if isinstance(known, dict):  # Evaluations of older versions lack flags that came later.
        known = {"optimizee_options": {}, "deterministic": False, "tf32": False, **known}
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


def _own_runs(config: EvaluateConfig, labels: Iterable[str]) -> list[tuple[str, str, int]]:
    """Those of this shard."""
    index, count = config.shard_of()
    return list(_all_runs(config, labels))[index - 1 :: count]
