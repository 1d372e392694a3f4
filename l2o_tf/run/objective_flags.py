"""The flags of how the rule's weights are changed, and by which objective."""

import dataclasses
import math

from l2o_tf.core.flags import flag, require
from l2o_tf.training.choices import (
    META_OPTIMIZERS,
    OBJECTIVES,
    REGULARIZER_TIMES,
    REGULARIZERS,
)

_META, _OBJECTIVE = "Meta-optimization", "Meta-objective (L2O-Scale)"


@dataclasses.dataclass(frozen=True)
class ObjectiveFlags:
    """Meta-optimization and meta-objective."""

    estimator: str = flag(
        "bptt",
        "How meta-gradients are found: bptt (backpropagation), es (evolution strategy for each "
        "unroll), pes (persistent evolution strategy), or the name of a plug-in's.",
        _META,
    )
    evolution_pairs: int = flag(8, "Antithetic pairs of unrolls of es and pes.", _META)
    evolution_stddev: float = flag(
        0.01, "Standard deviation of the noise that es and pes add to the weights.", _META
    )
    evolution_together: bool = flag(
        False,
        "Run all perturbed unrolls of es and pes as one batch: faster for rules of many small "
        "operations, such as mlp, slower for LSTMs.",
        _META,
    )
    weight_average: float = flag(
        0.0,
        "Validate and export a moving average of the rule's weights over epochs, with this decay: "
        "0.95 averages over the last 20 or so. 0 for the weights themselves, as in the paper.",
        _META,
    )
    second_derivatives: bool = flag(
        False, "Differentiate also through the gradients that the rule is given.", _META
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
    meta_weight_decay: float = flag(
        0.0,
        "Decoupled weight decay, a multiple of the meta-optimizer's learning rate: adam with it "
        "is AdamW.",
        _META,
    )
    l2_reg: float = flag(0.0, "Factor of the sum of squared weights in the objective.", _META)
    objective: str = flag(
        "sum",
        "sum of the losses of an unroll; mean of losses relative to the first of the trajectory; "
        "mean of the log of relative losses.",
        _OBJECTIVE,
    )
    numerator_epsilon: bool = flag(
        False,
        "Let log take log((f + 1e-6) / (f0 + 1e-6)), not log(f / (f0 + 1e-6) + 1e-6).",
        _OBJECTIVE,
    )
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

    def check_objective(self) -> None:
        """Raises InputError for values out of range."""
        for name, options in (
            ("meta_optimizer", META_OPTIMIZERS),
            ("objective", OBJECTIVES),
            ("regularizer", REGULARIZERS),
            ("regularizer_time", REGULARIZER_TIMES),
        ):
            value = getattr(self, name)
            require(value in options, name, value, f"one of {', '.join(options)}")
        for name in ("l2_reg", "meta_weight_decay", "scoring_examples", "regularizer_weight"):
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
