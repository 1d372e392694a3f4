"""The flags of keras_report."""

import dataclasses
import math

from l2o_tf.core import errors
from l2o_tf.core.flags import CommandFlags, check_numbers, flag, require

DECAYS = ("none", "rules", "all")
_WHAT, _LENGTH, _FILES = "What to run", "How long", "Files"
_RATES = (0.001, 0.003, 0.01)


@dataclasses.dataclass(frozen=True)
class KerasReportConfig(CommandFlags):
    """The flags of the command.

    Raises:
        InputError: for a value out of range; the message names the flag.
    """

    rules: tuple[str, ...] = flag(
        (),
        "Rules, separated by commas: a run directory, an exported rule, a pretrained name, a "
        "legacy .l2l file or adam:0.01; label=RULE gives it another name.",
        _WHAT,
    )
    tasks: tuple[str, ...] = flag(
        ("mnist_convnet", "cifar_resnet", "text_lstm", "autoencoder", "tabular"),
        "Keras tasks, separated by commas: those of the default, wide_mlp, deep_mlp, "
        "cifar_convnet, digits_convnet, denoiser, char_gru, char_transformer, all for all twelve, "
        "or module:make_model for your own, a function without arguments that returns an "
        "l2o_tf.keras_evaluation.tasks.Task.",
        _WHAT,
    )
    adam_rates: tuple[float, ...] = flag(
        _RATES, "Learning rates of Keras' Adam, of which each task takes the best.", _WHAT
    )
    adamw_rates: tuple[float, ...] = flag(
        _RATES, "Learning rates of Keras' AdamW, of which the best over all tasks is taken.", _WHAT
    )
    decay: str = flag(
        "none",
        "Whose steps fall to 0 along a cosine: none, rules (what LearnedOptimizer's total_steps "
        "does), or all, Adam's and AdamW's too.",
        _WHAT,
    )
    num_steps_scale: float = flag(
        1.0, "A multiple of each task's number of steps, such as 0.1 for a quick look.", _LENGTH
    )
    num_seeds: int = flag(3, "Trainings per task and optimizer.", _LENGTH)
    seed: int = flag(0, "The first seed; all optimizers share initial values and batches.", _LENGTH)
    workdir: str = flag(
        "", "The results' directory. An interrupted report goes on where it was.", _FILES
    )
    data_dir: str | None = flag(
        None, "Where the data sets are. Default: TFDS_DATA_DIR or ~/tensorflow_datasets.", _FILES
    )

    def __post_init__(self):
        if not self.rules:
            raise errors.InputError("--rules=A,B is needed: the rules to report on")
        if not self.workdir:
            raise errors.InputError("--workdir=DIR is needed: the directory of the results")
        check_numbers(self)
        for name in ("tasks", "adam_rates", "adamw_rates"):
            values = getattr(self, name)
            expected = "a list of different values"
            require(len(set(values)) == len(values) > 0, name, values, expected)
        for name in ("adam_rates", "adamw_rates"):
            require(min(getattr(self, name)) > 0, name, getattr(self, name), "positive")
        require(self.decay in DECAYS, "decay", self.decay, f"one of {', '.join(DECAYS)}")
        scale = self.num_steps_scale
        require(scale > 0 and math.isfinite(scale), "num_steps_scale", scale, "positive")
        require(1 <= self.num_seeds <= 1000, "num_seeds", self.num_seeds, "from 1 to 1000")
        require(self.seed >= 0, "seed", self.seed, "at least 0")
