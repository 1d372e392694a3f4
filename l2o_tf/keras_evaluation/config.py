"""The flags of keras_report."""

import dataclasses
import math

from l2o_tf.core.flags import CommandFlags, check_numbers, flag, require, require_given
from l2o_tf.run import shared_flags
from l2o_tf.run.shared_flags import LENGTH, WHAT

DECAYS = ("none", "rules", "all")
_RATES = (0.001, 0.003, 0.01)


@dataclasses.dataclass(frozen=True)
class KerasReportConfig(CommandFlags):
    """The flags of the command.

    Raises:
        InputError: for a value out of range; the message names the flag.
    """

    rules: tuple[str, ...] = shared_flags.rules(" or adam:0.01")
    tasks: tuple[str, ...] = flag(
        ("mnist_convnet", "cifar_resnet", "text_lstm", "autoencoder", "tabular"),
        "Keras tasks, separated by commas: those of the default, wide_mlp, deep_mlp, "
        "cifar_convnet, digits_convnet, denoiser, char_gru, char_transformer, all for all twelve, "
        "or module:make_model for your own, a function without arguments that returns an "
        "l2o_tf.keras_evaluation.tasks.Task.",
        WHAT,
    )
    adam_rates: tuple[float, ...] = flag(
        _RATES, "Learning rates of Keras' Adam, of which each task takes the best.", WHAT
    )
    adamw_rates: tuple[float, ...] = flag(
        _RATES, "Learning rates of Keras' AdamW, of which the best over all tasks is taken.", WHAT
    )
    decay: str = flag(
        "none",
        "Whose steps fall to 0 along a cosine: none, rules (what LearnedOptimizer's total_steps "
        "does), or all, Adam's and AdamW's too.",
        WHAT,
    )
    num_steps_scale: float = flag(
        1.0, "A multiple of each task's number of steps, such as 0.1 for a quick look.", LENGTH
    )
    num_seeds: int = flag(3, "Trainings per task and optimizer.", LENGTH)
    seed: int = shared_flags.first_seed("optimizers")
    jobs: int = shared_flags.jobs(" and end with each task, which frees memory")
    workdir: str = shared_flags.workdir("results'", "report")
    data_dir: str | None = shared_flags.data_dir()

    def __post_init__(self):
        require_given(self, "rules", "A,B", "the rules to report on")
        require_given(self, "workdir", "DIR", "the directory of the results")
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
        require(self.jobs >= 1, "jobs", self.jobs, "at least 1")
