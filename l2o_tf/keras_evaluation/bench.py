"""What trains: the optimizers of a report, and one training of a task at a time."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import keras

from l2o_tf import rules
from l2o_tf.core import errors
from l2o_tf.evaluation import contenders, progress, tuning
from l2o_tf.keras_evaluation import identities, store, tasks, training
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


class Wanted(NamedTuple):
    """One training: the task as the flags name it, the optimizer's label, and the seed."""

    task: str
    optimizer: str
    seed: int

    @property
    def key(self) -> store.Key:
        """What it is stored under."""
        return store.Key(self.task.replace(":", "."), self.optimizer, self.seed)

    def __str__(self):
        return f"{self.key.task} with {self.optimizer}, seed {self.seed}"


class Workbench:
    """Trains tasks with the optimizers of a report."""

    def __init__(self, config: KerasReportConfig):
        self._config = config
        self._tasks: dict[str, dict[str, Any]] = {}

    # Late, so that a process of `pool` has started when it complains about a rule.
    @functools.cached_property
    def entries(self) -> dict[str, Entry]:
        """The optimizers by label; raises as the function `entries`."""
        return {entry.label: entry for entry in entries(self._config)}

    def identity(self, wanted: Wanted) -> dict[str, Any]:
        """What must be the same for a training to be the same.

        Raises:
            InputError: for a task or data that cannot be used; the first of a task makes it.
        """
        entry, config = self.entries[wanted.optimizer], self._config
        decays = config.decay == "all" or (config.decay == "rules" and entry.kind == "rule")
        return {
            "optimizer": entry.identity,
            "decay": decays,
            "num_steps_scale": config.num_steps_scale,
            **self._task(wanted.task),
        }

    def _task(self, name: str) -> dict[str, Any]:
        if name not in self._tasks:
            self._tasks[name] = identities.task_identity(name, self._config.data_dir)
        return self._tasks[name]

    def measure(
        self, wanted: Wanted, tell: Callable[[str], None] = lambda line: None
    ) -> training.Run:
        """Trains; `tell` is given how far it is.

        Raises:
            InputError: for a task or data that cannot be used.
        """
        keras.backend.clear_session()
        # Else a model that Keras cannot build again would start elsewhere with each optimizer.
        with training.seeded(wanted.seed, "keras task"):
            task = tasks.create(wanted.task, self._config.data_dir)
        num_steps = max(1, round(task.num_steps * self._config.num_steps_scale))
        shown = progress.Progress(tell, 1, num_steps)
        shown.start(str(wanted))
        optimizer = self.entries[wanted.optimizer].make(num_steps)
        return training.train(task, optimizer, wanted.seed, num_steps, shown)


class Bench(Workbench):
    """A workbench of a process of `pool`, which reads the rules once more."""

    def __init__(self, argument: tuple[KerasReportConfig, dict[str, str]]):
        """Of a report and the identities of its optimizers by label."""
        config, self._identities = argument
        super().__init__(config)

    def measure(
        self, wanted: Wanted, tell: Callable[[str], None] = lambda line: None
    ) -> training.Run:
        """As of a workbench.

        Raises:
            InputError: if the rule has been replaced since the report began, such as by a run that
                still trains.
        """
        label = wanted.optimizer
        found = self.entries[label].identity if label in self.entries else None
        contenders.check_unchanged(label, found, self._identities[label], "report")
        return super().measure(wanted, tell)


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
