"""A report on rules from its flags to its files."""

import pathlib
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import keras

from l2o_tf import rules
from l2o_tf.core import errors, flags, locks
from l2o_tf.evaluation import contenders, progress, tuning
from l2o_tf.keras_evaluation import report, store, tasks, training
from l2o_tf.keras_evaluation.config import KerasReportConfig
from l2o_tf.keras_optimizer import LearnedOptimizer

# Of Keras' AdamW by default.
WEIGHT_DECAY = 0.004


class Entry(NamedTuple):
    """An optimizer of the report.

    Attributes:
        label: its name in tables and files.
        kind: "rule", "adam" or "adamw".
        make: creates it for a training of so many steps.
        identity: equal for equal optimizers only.
    """

    label: str
    kind: str
    make: Callable[[int], keras.optimizers.Optimizer]
    identity: str


def report_on(config: KerasReportConfig, tell: Callable[[str], None]) -> None:
    """Trains every task with every optimizer and seed that is not done yet; writes the report.

    Args:
        config: the flags.
        tell: is given what a person should read, a line at a time.

    Raises:
        InputError: for a rule, a task or data that cannot be used, or a directory that holds
            another report.
        Interrupted: after a KeyboardInterrupt.
    """
    lock = locks.exclusive(pathlib.Path(config.workdir) / ".lock", f"report {config.workdir}")
    with flags.resumable("keras_report", config), lock:
        _report_on(config, tell)


def entries(config: KerasReportConfig) -> list[Entry]:
    """The optimizers: the rules, then Adam and AdamW with each of their rates.

    Raises:
        InputError: if a rule cannot be loaded, or if two optimizers have one label.
    """
    found = []
    for label, rule in contenders.load(config.rules).items():
        if isinstance(rule, tuning.Tuned):
            raise errors.InputError(
                f"--rules: tuned:{rule.name} is not for this command, which tunes Adam anyway"
            )
        found.append(Entry(label, "rule", _learned(rule, config), contenders.fingerprint(rule)))
    for kind, rates in (("adam", config.adam_rates), ("adamw", config.adamw_rates)):
        for rate in rates:
            label = f"keras {kind}:{rate:g}"
            found.append(Entry(label, kind, _baseline(kind, rate, config), f"{kind}:{rate!r}"))
    labels = [entry.label for entry in found]
    for label in labels:
        if labels.count(label) > 1:
            raise errors.InputError(f"two optimizers are named {label}: write newname=RULE")
    return found


def _learned(rule: rules.UpdateRule, config):
    decays = config.decay != "none"
    return lambda steps: LearnedOptimizer(rule, total_steps=steps if decays else None)


def _baseline(kind, rate, config):
    def make(num_steps):
        schedule = keras.optimizers.schedules.CosineDecay(rate, num_steps)
        chosen = schedule if config.decay == "all" else rate
        if kind == "adam":
            return keras.optimizers.Adam(chosen)
        return keras.optimizers.AdamW(chosen, weight_decay=WEIGHT_DECAY)

    return make


def _report_on(config: KerasReportConfig, tell: Callable[[str], None]) -> None:
    optimizers = entries(config)
    chosen = tasks.names() if config.tasks == ("all",) else list(config.tasks)
    for name in chosen:
        tasks.check(name)
    kept = store.Store(pathlib.Path(config.workdir) / "runs")
    runs: dict[store.Key, training.Run] = {}
    keys = [
        (name, entry, config.seed + i)
        for name in chosen
        for i in range(config.num_seeds)
        for entry in optimizers
    ]
    for done, (name, entry, seed) in enumerate(keys):
        key = store.Key(name.replace(":", "."), entry.label, seed)
        identity = _identity(entry, config)
        found = kept.read(key, identity)
        if found is None:
            what = f"{key.task} with {key.optimizer}, seed {seed}"
            found = _train(name, entry, seed, config, what, tell)
            found = kept.write(key, identity, found)
            tell(f"{what}: {outcome(found)} ({done + 1} of {len(keys)})")
        runs[key] = found
    kinds = {entry.label: entry.kind for entry in optimizers}
    written = report.write(pathlib.Path(config.workdir), runs, kinds)
    sys.stdout.write(report.summary(written))
    tell(f"report.txt, report.csv and report.png are in {config.workdir}")


def _identity(entry: Entry, config: KerasReportConfig) -> dict[str, Any]:
    decays = config.decay == "all" or (config.decay == "rules" and entry.kind == "rule")
    return {
        "optimizer": entry.identity,
        "decay": decays,
        "num_steps_scale": config.num_steps_scale,
    }


def _train(name, entry, seed, config, what, tell) -> training.Run:
    keras.backend.clear_session()
    task = tasks.create(name, config.data_dir)
    num_steps = max(1, round(task.num_steps * config.num_steps_scale))
    shown = progress.Progress(tell, 1, num_steps)
    shown.start(what)
    return training.train(task, entry.make(num_steps), seed, num_steps, shown)


def outcome(run: training.Run) -> str:
    """What a training gave, in a few words."""
    if run.diverged_at:
        return f"diverged at step {run.diverged_at}"
    validation = "not finite" if run.validation_loss is None else f"{run.validation_loss:.4g}"
    return f"validation loss {validation}, {run.cpu_ms:.1f} CPU-ms per step"
