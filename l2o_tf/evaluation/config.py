"""The flags of evaluate, tune and select."""

import dataclasses

from l2o_tf.core import errors
from l2o_tf.core.flags import (
    MAX_FLOAT,
    MIN_FLOAT,
    CommandFlags,
    flag,
    json_object,
    require,
    require_given,
    to_text,
)
from l2o_tf.data import datasets
from l2o_tf.evaluation import results
from l2o_tf.run import shared_flags
from l2o_tf.run.device_flags import DeviceFlags
from l2o_tf.run.shared_flags import FILES, LENGTH, WHAT

_MAX_SEEDS = 10**6

_RATES_HELP = "The grid of learning rates. Default: 0.0001, 0.0003, 0.001, ... 3, 10."


def _optimizees_flag():
    return flag(
        ("mlp",),
        "Optimizees, separated by commas: mlp, mlp_relu, mlp_deeper, conv_mnist, conv_cifar, "
        "nas_cifar, lenet, ..., or module:function for your own, such as a Keras model: the "
        "function of a module in the current directory is given the data set and returns an "
        "l2o_tf Optimizee.",
        WHAT,
    )


def _dataset_flag():
    return flag(
        None,
        "A TensorFlow Datasets image classification set, or digits (embedded). Default: what the "
        "paper uses for the optimizee, mnist or cifar10.",
        WHAT,
    )


def _split_flag():
    return flag(
        "test",
        "The images that the optimizee is trained on: test (never seen in meta-training; the "
        "paper's curves are on it), train, or validation (5,000 of MNIST that neither has); or "
        "examples of one, such as train[:10000].",
        WHAT,
    )


def _num_steps_flag():
    return flag(10000, "Optimizee steps per run.", LENGTH)


def _tuned_dir_flag():
    return flag("runs/tuned", "Where tuned learning rates are kept.", FILES)


@dataclasses.dataclass(frozen=True)
class EvaluationFlags(CommandFlags):
    """What an evaluation runs, wherever it runs."""

    rules: tuple[str, ...] = shared_flags.rules(", adam:0.01, or tuned:adam")
    init_lr_range: tuple[float, ...] | None = flag(
        None,
        "low,high: range of the random learning rates that a coordinate starts with, for the "
        "rules that have such (scale, coordinatewise_rnn); equal bounds fix them. Default: the "
        "rule's.",
        WHAT,
    )
    optimizees: tuple[str, ...] = _optimizees_flag()
    optimizee_options: str = shared_flags.optimizee_options()
    dataset: str | None = _dataset_flag()
    split: str = _split_flag()
    num_steps: int = _num_steps_flag()
    num_seeds: int = flag(10, "Runs per rule and optimizee.", LENGTH)
    seed: int = shared_flags.first_seed("rules")
    data_dir: str | None = shared_flags.data_dir()
    tuned_dir: str = _tuned_dir_flag()


@dataclasses.dataclass(frozen=True)
class EvaluateConfig(EvaluationFlags, DeviceFlags):
    """The flags of evaluation.

    Raises:
        InputError: for a value out of range; the message names the flag.
    """

    jobs: int = shared_flags.jobs()
    shard: str = flag(
        "1/1",
        "i/n: do the i-th of n parts of the runs only, for several machines with one --workdir, or "
        "whose DIR/runs are copied together. Who finds all runs done writes tables and figures.",
        LENGTH,
    )
    workdir: str = shared_flags.workdir("results'", "evaluation")

    def __post_init__(self):
        require_given(self, "rules", "A,B", "the rules to evaluate")
        require_given(self, "workdir", "DIR", "the directory of the results")
        _check_common(self)
        last = 2**31 - self.num_seeds
        require(-(2**31) <= self.seed <= last, "seed", self.seed, f"from -2147483648 to {last}")
        require(self.jobs >= 1, "jobs", self.jobs, "at least 1")
        self.shard_of()

    def identity(self) -> dict:
        """What all results of one directory have in common."""
        return {
            "optimizee_options": json_object("optimizee_options", self.optimizee_options),
            "dataset": self.dataset,
            "split": self.split,
            "num_steps": self.num_steps,
            "deterministic": self.deterministic,
            "tf32": self.tf32,
        }

    def shard_of(self) -> tuple[int, int]:
        """The i and n of --shard."""
        return _parse_shard(self.shard)


@dataclasses.dataclass(frozen=True)
class TuneConfig(CommandFlags, DeviceFlags):
    """The flags of tuning.

    Raises:
        InputError: for a value out of range; the message names the flag.
    """

    rules: tuple[str, ...] = flag(
        ("sgd", "momentum", "rmsprop", "adam", "adagrad"),
        "Analytical rules, separated by commas.",
        WHAT,
    )
    optimizees: tuple[str, ...] = _optimizees_flag()
    optimizee_options: str = shared_flags.optimizee_options()
    dataset: str | None = _dataset_flag()
    split: str = _split_flag()
    rates: tuple[float, ...] | None = flag(None, _RATES_HELP, LENGTH)
    num_steps: int = _num_steps_flag()
    num_seeds: int = flag(2, "Runs per learning rate.", LENGTH)
    data_dir: str | None = shared_flags.data_dir()
    tuned_dir: str = _tuned_dir_flag()

    def __post_init__(self):
        if not self.rules:
            raise errors.InputError("--rules is empty: name at least one")
        for rate in self.rates or ():
            expected = f"positive numbers of float32, {MIN_FLOAT:.2g} to {MAX_FLOAT:.2g}"
            require(MIN_FLOAT <= rate <= MAX_FLOAT, "rates", rate, expected)
        _check_common(self)


@dataclasses.dataclass(frozen=True)
class SelectConfig(CommandFlags, DeviceFlags):
    """The flags of selection.

    Raises:
        InputError: for a value out of range; the message names the flag.
    """

    ARGUMENTS = ("runs",)  # What arguments without a flag are.

    runs: tuple[str, ...] = flag(
        (),
        "Directories of runs, or of snapshots beside their rule.json, or of exported rules, or "
        "folders of such; the same as the arguments without a flag.",
        WHAT,
    )
    optimizees: tuple[str, ...] = flag(
        ("mlp", "mlp_relu"), "What to measure on; each counts alike.", WHAT
    )
    optimizee_options: str = shared_flags.optimizee_options()
    dataset: str | None = _dataset_flag()
    split: str | None = flag(
        None,
        "The images that the optimizee is trained on: validation (5,000 of MNIST that "
        "meta-training has not seen) or train, or examples of one, such as train[:10000], as many "
        "as the test images. Default: validation where the data set has it, else train. Never "
        "test, on which results are reported.",
        WHAT,
    )
    num_steps: int = flag(10000, "Optimizee steps of the last rung: the horizon.", LENGTH)
    rungs: tuple[int, ...] | None = flag(
        None,
        "Steps of the rungs before: a third of the snapshots goes on from each. Default: a tenth "
        "and three tenths of --num_steps. Empty, --rungs=, to measure every snapshot on the "
        "whole horizon.",
        LENGTH,
    )
    num_seeds: int = flag(2, "Trajectories per snapshot and optimizee.", LENGTH)
    jobs: int = shared_flags.jobs()
    shard: str = flag(
        "1/1",
        "i/n: measure the i-th of n parts of a rung only, then stop; for several machines with "
        "one --workdir, or whose DIR/scores are copied together between rungs.",
        LENGTH,
    )
    workdir: str = shared_flags.workdir("selection's", "selection")
    data_dir: str | None = shared_flags.data_dir()

    def __post_init__(self):
        if not self.runs:
            raise errors.InputError("no runs: python -m l2o_tf.select RUN [RUN...] --workdir=DIR")
        require_given(self, "workdir", "DIR", "the directory of the selection")
        _check_common(self)
        if self.split and datasets.parse_split(self.split)[0] == "test":
            raise errors.InputError(
                f"--split={self.split}: results are reported on the test images, so a rule must "
                "not be chosen on them; use validation or train"
            )
        require(self.jobs >= 1, "jobs", self.jobs, "at least 1")
        increasing = all(a < b for a, b in zip(self.all_rungs(), self.all_rungs()[1:]))
        fits = increasing and self.all_rungs()[0] > 0
        expected = f"positive, increasing and below --num_steps={self.num_steps}"
        require(fits, "rungs", to_text(self.rungs), expected)
        self.shard_of()

    def all_rungs(self) -> tuple[int, ...]:
        """The steps of every rung; below 100 steps there is none by default but the last."""
        if self.rungs is not None:
            return (*self.rungs, self.num_steps)
        shorter = (self.num_steps // 10, 3 * self.num_steps // 10)
        return (*(steps for steps in shorter if steps >= 100), self.num_steps)

    def shard_of(self) -> tuple[int, int]:
        """The i and n of --shard."""
        return _parse_shard(self.shard)

    def to_json(self) -> dict:
        """The flags, as JSON values."""
        values = dataclasses.asdict(self)
        return {name: list(v) if isinstance(v, tuple) else v for name, v in values.items()}


def _parse_shard(text: str) -> tuple[int, int]:
    parts = text.split("/")
    fits = len(parts) == 2 and all(part.isdecimal() for part in parts)
    fits = fits and 1 <= int(parts[0]) <= int(parts[1])
    require(fits, "shard", text, "i/n with i from 1 to n, such as 1/3")
    return int(parts[0]), int(parts[1])


def _check_common(config: EvaluateConfig | TuneConfig | SelectConfig) -> None:
    if not config.optimizees:
        raise errors.InputError("--optimizees is empty: name at least one")
    if len(set(config.optimizees)) < len(config.optimizees):
        raise errors.InputError("--optimizees names one twice: remove it")
    json_object("optimizee_options", config.optimizee_options)
    if config.split is not None:
        try:
            datasets.parse_split(config.split)
        except errors.InputError:
            require(False, "split", config.split, f"one of {datasets.SPLIT_FORMS}")
    for name, most in (("num_steps", results.MAX_STEPS), ("num_seeds", _MAX_SEEDS)):
        require(getattr(config, name) >= 1, name, getattr(config, name), "at least 1")
        require(getattr(config, name) <= most, name, getattr(config, name), f"at most {most}")
