"""The flags of meta-training that L2O-Scale brought: objective, lengths, regularizers, problems."""

import dataclasses
import math
from typing import Any

from l2o_tf.core import errors, files
from l2o_tf.core.flags import flag, require
from l2o_tf.training.choices import (
    META_OPTIMIZERS,
    OBJECTIVES,
    REGULARIZER_TIMES,
    REGULARIZERS,
)

_WHAT, _LENGTH, _META = "What to train", "How long", "Meta-optimization"
_OBJECTIVE = "Meta-objective (L2O-Scale)"


@dataclasses.dataclass(frozen=True)
class ObjectiveFlags:
    """A part of the flags of meta-training, beside those of `TrainConfig` itself.

    Raises:
        InputError: for a value out of range; the message names the flag.
    """

    init_lr_range: tuple[float, ...] | None = flag(
        None,
        "low,high: range of the random learning rates that a coordinate starts with, for scale "
        "and coordinatewise_rnn; equal bounds fix them. Default: the rule's, 1e-6,1e-2 for scale.",
        _WHAT,
    )
    rule_options: str = flag(
        "",
        "Further options of the rule as JSON, such as "
        '{"use_attention": true, "level_sizes": [10, 20, 20]}.',
        _WHAT,
    )
    problem_sets: tuple[str, ...] = flag(
        (),
        "In place of --optimizee: sets of L2O-Scale's problems, one problem of which is drawn for "
        "each epoch: quadratic, bowl, softmax_2_class, ..., mnist_mlp, or scale_meta for the "
        "whole ensemble.",
        _WHAT,
    )
    random_num_unrolls: tuple[float, ...] | None = flag(
        None,
        "minimum,scale[,maximum]: draw the number of unrolls of an epoch, round(Exp(scale)) + "
        "minimum, instead of following from the number of steps.",
        _LENGTH,
    )
    random_unroll_length: tuple[float, ...] | None = flag(
        None, "minimum,scale,maximum: the same for the steps of an unroll.", _LENGTH
    )
    meta_optimizer: str = flag(
        "adam",
        "What changes the rule's weights: adam, or rmsprop (decay 0.9, epsilon 1e-20, gradients "
        "that are not finite set to 0 and the others clipped to +-1e4).",
        _META,
    )
    meta_learning_rate: float | None = flag(
        None, "Its learning rate. Default: 1e-3 for adam, 1e-6 for rmsprop.", _META
    )
    l2_reg: float = flag(0.0, "Factor of the sum of squared weights in the objective.", _META)

    objective: str = flag(
        "sum",
        "sum of the losses of an unroll; mean of losses relative to the first of the trajectory; "
        "mean of the log of relative losses.",
        _OBJECTIVE,
    )
    numerator_epsilon: bool = flag(
        False, "Let log take log((f + 1e-6) / (f0 + 1e-6)), not log(f / (f0 + 1e-6) + 1e-6).",
        _OBJECTIVE,
    )  # fmt: skip
    early_stop: float | None = flag(
        None,
        "End an unroll at a loss above this multiple of the trajectory's first. Default: never.",
        _OBJECTIVE,
    )
    scoring_examples: int = flag(
        0,
        "Examples on which all points of an unroll are scored, drawn anew for each unroll (all "
        "data if there are fewer); needs --problem_sets. 0: the minibatch of each step.",
        _OBJECTIVE,
    )
    keep_state: bool = flag(
        False,
        "Start an epoch with the rule's state of the one before, as the legacy L2O-Scale does, "
        "not afresh; for one optimizee.",
        _OBJECTIVE,
    )
    regularizer: str = flag(
        "none",
        "Penalty on the points of an unroll: none, jacob (mean square of the gradient), hessian "
        "(trace), hessian-ev (largest eigenvalue) or hessian-esd (sum of Lanczos eigenvalues).",
        _OBJECTIVE,
    )
    regularizer_weight: float = flag(1e-2, "Factor of the penalty.", _OBJECTIVE)
    regularizer_iterations: int = flag(
        10, "Random probes of hessian, iterations of hessian-ev and hessian-esd.", _OBJECTIVE
    )
    regularizer_time: str = flag(
        "always",
        "The unrolls of an epoch with a penalty: always, or those prior or posterior to the one "
        "at --regularizer_fraction.",
        _OBJECTIVE,
    )
    regularizer_fraction: float = flag(0.5, "See --regularizer_time; from 0 to 1.", _OBJECTIVE)

    @property
    def meta_rate(self) -> float:
        """The learning rate of the meta-optimizer."""
        rate = self.meta_learning_rate
        return META_OPTIMIZERS[self.meta_optimizer] if rate is None else rate

    def options_of_rule(self) -> dict[str, Any]:
        """The arguments of the rule.

        Raises:
            InputError: unless --rule_options is a JSON object.
        """
        try:
            options = files.parse_json(self.rule_options or "{}")
        except ValueError as error:
            raise errors.InputError(f"--rule_options={self.rule_options}: {error}") from None
        if not isinstance(options, dict):
            raise errors.InputError(
                f'--rule_options={self.rule_options} must be a JSON object, {{"name": value}}'
            )
        if self.init_lr_range is not None:
            options["init_lr_range"] = self.init_lr_range
        return options

    def check_objective(self) -> None:
        """Raises InputError for values out of range or that contradict each other."""
        self.options_of_rule()
        for name, options in (("meta_optimizer", META_OPTIMIZERS), ("objective", OBJECTIVES),
                              ("regularizer", REGULARIZERS),
                              ("regularizer_time", REGULARIZER_TIMES)):  # fmt: skip
            value = getattr(self, name)
            require(value in options, name, value, f"one of {', '.join(options)}")
        for name in ("l2_reg", "scoring_examples", "regularizer_weight"):
            value = getattr(self, name)
            require(0 <= value < math.inf, name, value, "at least 0")
        iterations, fraction = self.regularizer_iterations, self.regularizer_fraction
        require(iterations >= 1, "regularizer_iterations", iterations, "at least 1")
        require(0 <= fraction <= 1, "regularizer_fraction", fraction, "between 0 and 1")
        rate, stop = self.meta_learning_rate, self.early_stop
        require(
            rate is None or 0 < rate < math.inf, "meta_learning_rate", rate, "a positive number"
        )
        require(stop is None or 1 < stop < math.inf, "early_stop", stop, "above 1")
        steps, unrolls = self.random_unroll_length, self.random_num_unrolls
        require(
            steps is None or len(steps) == 3,
            "random_unroll_length", ",".join(map(str, steps or ())), "minimum,scale,maximum",
        )  # fmt: skip
        if (steps is None) != (unrolls is None):
            raise errors.InputError(
                "--random_num_unrolls and --random_unroll_length belong together: give both or none"
            )
        if self.scoring_examples and not self.problem_sets:
            raise errors.InputError(
                f"--scoring_examples={self.scoring_examples} needs --problem_sets: other "
                "optimizees are scored on the minibatch of each step"
            )
