"""What the hierarchical RNN is made of: its options and its meta-parameters."""

import dataclasses
import math
from typing import Any

import tensorflow as tf

from l2o_tf.core import errors, seeds
from l2o_tf.rules import base, drifting

# Initial values of the legacy code (`hierarchical_rnn.py`, flag defaults).
_WEIGHT_SCALE = 0.5
_GATE_BIAS = 2.2
_INPUT_DECAY_BIAS = 2.2
_SCALE_DECAY_BIAS = 3.2
_LR_MOMENTUM_LOGIT = 3.2
_LOG_STEP_OFFSET = -1.0
_SHORTCUT_SCALE = 0.1


@dataclasses.dataclass(frozen=True)
class Options:
    """Options of `HierarchicalRNN`, with the names of the legacy class.

    The defaults are those of the legacy training script (`metarun.py`). The legacy class itself
    has False for `use_problem_lr_mean`, `use_gradient_shortcut` and `use_grad_products`.

    Attributes:
        level_sizes: GRU units per coordinate, per tensor and of the whole problem; the last one
            or two may be left out.
        init_lr_range: (low, high), positive; the learning rate that a coordinate starts with is
            drawn log-uniformly: half of its logarithm per coordinate, the other half per tensor.
            Results depend strongly on this draw. Equal bounds give a fixed learning rate.
        max_log_lr: upper bound of the natural logarithm of a learning rate.
        num_gradient_scales: number of running means of the gradient, each with about twice the
            time constant of the one before; 1 takes the gradient as it is.
        learnable_decay: whether the network sets the decay of the mean square gradient (0.93
            otherwise) and, if `learnable_inp_decay`, that of the running means (else 0.89).
        learnable_inp_decay: see `learnable_decay`.
        learnable_rnn_init: whether initial hidden states are meta-parameters; they are drawn
            from U(-1, 1) for every trajectory otherwise.
        dynamic_output_scale: whether a step is a direction of unit mean square per tensor times
            a learning rate that the network sets; the direction alone otherwise.
        zero_init_lr_weights: whether the network starts without changing learning rates.
        use_attention: whether gradients are taken at another point than the one that is scored,
            see `HierarchicalRNN.true_params`.
        use_gradient_shortcut: whether a linear map of the scaled gradients is added to the step.
        use_grad_products: whether products of neighbouring gradient scales are inputs.
        use_log_means_squared: whether log mean squares, minus their mean over scales, are inputs.
        use_multiple_scale_decays: whether mean squares get one time constant per gradient scale
            instead of a common one.
        use_relative_lr: whether the log learning rate minus its mean is an input.
        use_problem_lr_mean: whether that mean is over the problem; over the tensor otherwise.
        use_extreme_indicator: whether the distance of a log learning rate from [ln 1e-6, 0] is
            an input.
        use_lr_shortcut: whether the log learning rate minus ln 1e-3 is an input.
        average_tensors: whether the global GRU is fed the mean of all tensors' states, as its
            paper and the comments of the legacy code say. By default it is fed the state of the
            last tensor, as the legacy code does.
        drift: what is added to updates where there is no gradient; not of the paper.
        drift_of: of which coordinates, see `drifting.Drift`.

    Raises:
        InputError: for options that contradict each other or are out of range.
    """

    level_sizes: tuple[int, ...] = (10, 20, 20)
    init_lr_range: tuple[float, float] = (1e-6, 1e-2)
    max_log_lr: float = 33.0
    num_gradient_scales: int = 4
    learnable_decay: bool = True
    learnable_inp_decay: bool = True
    learnable_rnn_init: bool = True
    dynamic_output_scale: bool = True
    zero_init_lr_weights: bool = True
    use_attention: bool = False
    use_gradient_shortcut: bool = True
    use_grad_products: bool = True
    use_log_means_squared: bool = True
    use_multiple_scale_decays: bool = False
    use_relative_lr: bool = True
    use_problem_lr_mean: bool = True
    use_extreme_indicator: bool = False
    use_lr_shortcut: bool = False
    average_tensors: bool = False
    drift: float = 0.0
    drift_of: str = "coordinates"

    def __post_init__(self):
        # Options read back from JSON come with lists.
        object.__setattr__(self, "level_sizes", tuple(self.level_sizes))
        object.__setattr__(self, "init_lr_range", tuple(self.init_lr_range))
        object.__setattr__(self, "drift", self.added_drift.size)
        sizes = self.level_sizes
        if not 1 <= len(sizes) <= 3 or any(not isinstance(n, int) or n < 1 for n in sizes):
            raise errors.InputError(
                f"level_sizes must be 1, 2 or 3 positive integers, got {list(sizes)}"
            )
        check_lr_range(self.init_lr_range)
        if self.num_gradient_scales < 1:
            raise errors.InputError(
                f"num_gradient_scales must be at least 1, got {self.num_gradient_scales}"
            )
        needs_lr = ("use_relative_lr", "use_extreme_indicator", "use_lr_shortcut")
        wrong = [name for name in needs_lr if getattr(self, name)]
        if wrong and not self.dynamic_output_scale:
            raise errors.InputError(
                f"without dynamic_output_scale there is no learning rate: turn off "
                f"{' and '.join(wrong)}"
            )

    def values(self) -> dict[str, Any]:
        """JSON values that make these options again."""
        values = dataclasses.asdict(self)
        for name in ("drift", "drift_of"):  # They are no options of the legacy class.
            del values[name]
        values |= self.added_drift.options()
        return {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}

    @property
    def added_drift(self) -> drifting.Drift:
        """What is added to updates where there is no gradient."""
        return drifting.Drift(self.drift, self.drift_of)

    @property
    def num_levels(self) -> int:
        """The number of GRU levels, 1 to 3."""
        return len(self.level_sizes)

    @property
    def num_features(self) -> int:
        """The number of inputs of the coordinates' GRU."""
        scales = self.num_gradient_scales
        return (
            scales
            + (scales - 1) * self.use_grad_products
            + scales * self.use_log_means_squared
            + self.use_relative_lr
            + self.use_extreme_indicator
            + self.use_lr_shortcut
        )

    @property
    def has_learnable_input_decay(self) -> bool:
        """Whether the network sets the decay of the running means."""
        return self.learnable_decay and self.learnable_inp_decay and self.num_gradient_scales > 1

    @property
    def feeds_features_to_tensor_level(self) -> bool:
        """Whether the tensors' GRU sees the mean features beside the mean hidden state.

        The legacy code leaves them out where the features are the scaled gradients alone.
        """
        return self.num_features > self.num_gradient_scales


def check_lr_range(lr_range: tuple[float, ...]) -> None:
    """Raises InputError unless `lr_range` is (low, high) with 0 < low <= high < infinity."""
    if len(lr_range) != 2 or not 0 < lr_range[0] <= lr_range[1] < math.inf:
        raise errors.InputError(
            f"init_lr_range must be two positive numbers (low, high), got {list(lr_range)}"
        )


def initial_weights(options: Options, seed: seeds.Seed) -> base.Weights:
    """Draws meta-parameters with the distributions of the legacy code.

    Args:
        options: which meta-parameters there are.
        seed: int32 [2].

    Returns:
        Tensors by name, with n_i the units of level i, F features and S gradient scales:
        `level<i>/init` [1, n_i];
        `level<i>/gates/w` [inputs_i + n_i, 2 n_i] and `/b`, reset gate first;
        `level<i>/candidate/w` [inputs_i + n_i, n_i] and `/b`;
        `level0/from_tensor/w` [n_1, 3 n_0], `level0/from_global/w` [n_2, 3 n_0],
        `level1/from_global/w` [n_2, 3 n_1] and `/b`: what a level adds to the one below;
        `update/w`, `attention/w` [n_0, 1] and `update_shortcut/w`, `attention_shortcut/w` [S, 1];
        `scale_decay`, `input_decay`, `log_lr`: `/w` [n_0, 1] and `/b` [1];
        `log_lr/momentum_logit` [] and `log_lr/step_offset` [].
    """
    weights: base.Weights = {}

    def normal(name: str, shape: tuple[int, int], mean: float, scale: float):
        stddev = scale / math.sqrt(shape[0])
        weights[name] = mean + seeds.normal(seeds.fold(seed, len(weights)), shape, stddev)

    def affine(name: str, inputs: int, outputs: int, bias: float = 0.0):
        normal(f"{name}/w", (inputs, outputs), 0.0, _WEIGHT_SCALE)
        weights[f"{name}/b"] = tf.fill([outputs], bias)

    units = options.level_sizes
    fed = options.num_features if options.feeds_features_to_tensor_level else 0
    num_inputs = (options.num_features, units[0] + fed, units[1] if len(units) == 3 else 0)
    for level, n in enumerate(units):
        if options.learnable_rnn_init:
            weights[f"level{level}/init"] = draw_hidden(seeds.fold(seed, len(weights)), n)
        affine(f"level{level}/gates", num_inputs[level] + n, 2 * n, _GATE_BIAS)
        affine(f"level{level}/candidate", num_inputs[level] + n, n)
    if options.num_levels > 1:
        affine("level0/from_tensor", units[1], 3 * units[0])
    if options.num_levels > 2:
        affine("level0/from_global", units[2], 3 * units[0])
        affine("level1/from_global", units[2], 3 * units[1])

    normal("update/w", (units[0], 1), 0.0, _WEIGHT_SCALE)
    scales = options.num_gradient_scales
    if options.use_gradient_shortcut:
        normal("update_shortcut/w", (scales, 1), 1.0 / scales, _SHORTCUT_SCALE)
    if options.use_attention:
        weights["attention/w"] = weights["update/w"]
        if options.use_gradient_shortcut:
            normal("attention_shortcut/w", (scales, 1), 1.0 / scales, _SHORTCUT_SCALE)
    if options.learnable_decay:
        affine("scale_decay", units[0], 1, _SCALE_DECAY_BIAS)
    if options.has_learnable_input_decay:
        affine("input_decay", units[0], 1, _INPUT_DECAY_BIAS)
    if options.dynamic_output_scale:
        affine("log_lr", units[0], 1)
        if options.zero_init_lr_weights:
            weights["log_lr/w"] = tf.zeros([units[0], 1])
        weights["log_lr/momentum_logit"] = tf.constant(_LR_MOMENTUM_LOGIT)
        weights["log_lr/step_offset"] = tf.constant(_LOG_STEP_OFFSET)
    return weights


def draw_hidden(seed: seeds.Seed, units: int, dtype: tf.DType = tf.float32) -> tf.Tensor:
    """Draws an initial hidden state [1, units] from U(-1, 1)."""
    return seeds.uniform(seed, [1, units], -1.0, 1.0, dtype)
