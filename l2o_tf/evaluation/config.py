"""The flags of evaluate and tune."""

import dataclasses

from l2o_tf.core import errors
from l2o_tf.core.flags import flag
from l2o_tf.data.datasets import SPLITS

_WHAT, _LENGTH, _FILES = "What to run", "How long", "Files"
_RATES_HELP = "The grid of learning rates. Default: 0.0001, 0.0003, 0.001, ... 3, 10."


def _optimizees_flag():
    return flag(
        ("mlp",),
        "Optimizees, separated by commas: mlp, mlp_relu, mlp_deeper, conv_mnist, conv_cifar, "
        "nas_cifar, lenet, ..., or module:function for your own, such as a Keras model: the "
        "function of a module in the current directory is given the data set and returns an "
        "l2o_tf Optimizee.",
        _WHAT,
    )


def _dataset_flag():
    return flag(
        None,
        "A TensorFlow Datasets image classification set, or digits (embedded). Default: what the "
        "paper uses for the optimizee, mnist or cifar10.",
        _WHAT,
    )


def _split_flag():
    return flag(
        "test",
        "The images that the optimizee is trained on: test (never seen in meta-training; the "
        "paper's curves are on it), train, or validation (5,000 of MNIST that neither has).",
        _WHAT,
    )


def _data_dir_flag():
    return flag(
        None, "Where the data sets are. Default: TFDS_DATA_DIR or ~/tensorflow_datasets.", _FILES
    )


def _tuned_dir_flag():
    return flag("runs/tuned", "Where tuned learning rates are kept.", _FILES)


@dataclasses.dataclass(frozen=True)
class EvaluateConfig:
    """The flags of evaluation.

    Raises:
        InputError: for a value out of range; the message names the flag.
    """

    rules: tuple[str, ...] = flag(
        (),
        "Rules, separated by commas: a run directory, an exported rule, a pretrained name, a "
        "legacy .l2l file, adam:0.01, or tuned:adam; label=RULE gives it another name.",
        _WHAT,
    )
    init_lr_range: tuple[float, ...] | None = flag(
        None,
        "low,high: range of the random learning rates that a coordinate starts with, for the "
        "rules that have such (scale, coordinatewise_rnn); equal bounds fix them. Default: the "
        "rule's.",
        _WHAT,
    )
    optimizees: tuple[str, ...] = _optimizees_flag()
    dataset: str | None = _dataset_flag()
    split: str = _split_flag()
    num_steps: int = flag(10000, "Optimizee steps per run.", _LENGTH)
    num_seeds: int = flag(10, "Runs per rule and optimizee.", _LENGTH)
    seed: int = flag(0, "The first seed; all rules share initial values and batches.", _LENGTH)
    workdir: str = flag(
        "", "The results' directory. An interrupted evaluation goes on where it was.", _FILES
    )
    data_dir: str | None = _data_dir_flag()
    tuned_dir: str = _tuned_dir_flag()

    def __post_init__(self):
        if not self.rules:
            raise errors.InputError("--rules=A,B is needed: the rules to evaluate")
        if not self.workdir:
            raise errors.InputError("--workdir=DIR is needed: the directory of the results")
        _check_common(self)

    def identity(self) -> dict:
        """What all results of one directory have in common."""
        return {"dataset": self.dataset, "split": self.split, "num_steps": self.num_steps}


@dataclasses.dataclass(frozen=True)
class TuneConfig:
    """The flags of tuning.

    Raises:
        InputError: for a value out of range; the message names the flag.
    """

    rules: tuple[str, ...] = flag(
        ("sgd", "momentum", "rmsprop", "adam", "adagrad"),
        "Analytical rules, separated by commas.",
        _WHAT,
    )
    optimizees: tuple[str, ...] = _optimizees_flag()
    dataset: str | None = _dataset_flag()
    split: str = _split_flag()
    rates: tuple[float, ...] | None = flag(None, _RATES_HELP, _LENGTH)
    num_steps: int = flag(10000, "Optimizee steps per run.", _LENGTH)
    num_seeds: int = flag(2, "Runs per learning rate.", _LENGTH)
    data_dir: str | None = _data_dir_flag()
    tuned_dir: str = _tuned_dir_flag()

    def __post_init__(self):
        if not self.rules:
            raise errors.InputError("--rules is empty: name at least one")
        for rate in self.rates or ():
            if not 0 < rate < float("inf"):
                raise errors.InputError(f"--rates={rate} must be positive numbers")
        _check_common(self)


def _check_common(config: EvaluateConfig | TuneConfig) -> None:
    if not config.optimizees:
        raise errors.InputError("--optimizees is empty: name at least one")
    if len(set(config.optimizees)) < len(config.optimizees):
        raise errors.InputError("--optimizees names one twice: remove it")
    if config.split not in SPLITS:
        raise errors.InputError(f"--split={config.split} must be one of {', '.join(SPLITS)}")
    for name in ("num_steps", "num_seeds"):
        if getattr(config, name) < 1:
            raise errors.InputError(f"--{name}={getattr(config, name)} must be at least 1")
