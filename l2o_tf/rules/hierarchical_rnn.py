"""L2O-Scale: the hierarchical RNN of Wichrowska et al. 2017 as an update rule.

A GRU per coordinate is biased by a GRU per tensor, and both by one global GRU. Everything is
features-major, [features, num_coordinates], over the coordinates of all tensors at once; the
tensors' GRUs are one batch [units, num_tensors].
"""

import inspect
import math
from typing import Any, NamedTuple

import tensorflow as tf

from l2o_tf.core import coordinates, errors, seeds
from l2o_tf.rules import base, recurrent
from l2o_tf.rules.hierarchical_options import Options, draw_hidden, initial_weights

Params = coordinates.Params

MIN_LOG_LR = -33.0
_FIXED_SCALE_DECAY = 0.93
_FIXED_INPUT_DECAY = 0.89
_READOUTS = ("update", "attention", "scale_decay", "input_decay", "log_lr")


class HierarchicalState(NamedTuple):
    """The state of `HierarchicalRNN`; parts that its options do without are ().

    Attributes:
        hidden: [units_0, num_coordinates], the coordinates' GRU.
        tensor_hidden: [units_1, num_tensors], the tensors' GRU.
        global_hidden: [units_2, 1], the global GRU.
        accumulated: [num_gradient_scales, num_coordinates], running means of the gradient.
        mean_square: [num_gradient_scales, num_coordinates], running means of their squares.
        input_decay: [num_coordinates], the decay of the fastest running mean.
        scale_decay: [num_coordinates], the decay of the mean squares.
        log_lr: [num_coordinates], natural logarithms of the learning rates.
        attention_offset: [num_coordinates], true minus attended parameters.
    """

    hidden: tf.Tensor
    tensor_hidden: tf.Tensor | tuple
    global_hidden: tf.Tensor | tuple
    accumulated: tf.Tensor
    mean_square: tf.Tensor
    input_decay: tf.Tensor
    scale_decay: tf.Tensor
    log_lr: tf.Tensor | tuple
    attention_offset: tf.Tensor | tuple


class _PerTensor:
    """Means over and copies to the coordinates of each parameter tensor."""

    def __init__(self, params: Params):
        self._sizes = [math.prod(p.shape) for p in params]

    def mean(self, values: tf.Tensor) -> tf.Tensor:
        """Maps [..., num_coordinates] to [..., num_tensors]."""
        parts = tf.split(values, self._sizes, axis=-1)
        return tf.stack([tf.reduce_mean(part, axis=-1) for part in parts], axis=-1)

    def spread(self, values: tf.Tensor) -> tf.Tensor:
        """Maps [..., num_tensors] to [..., num_coordinates]."""
        # Not tf.repeat: its gradient is a scatter, slow under XLA and not deterministic on GPUs.
        columns = tf.split(values, len(self._sizes), axis=-1)
        leading = values.shape[:-1]
        return tf.concat(
            [tf.broadcast_to(c, [*leading, n]) for c, n in zip(columns, self._sizes)], axis=-1
        )


def _not_empty(params: Params) -> Params:
    """The tensors that have coordinates: those without have no mean."""
    return [p for p in params if math.prod(p.shape)] or params


@base.register("scale")
class HierarchicalRNN(base.UpdateRule):
    """The hierarchical RNN of L2O-Scale.

    The initial log learning rates are random unless `init_lr_range` has equal bounds, so that
    `init` needs a seed; results vary a lot between draws.

    Options of the legacy class that concern meta-training alone (log objective, numerator
    epsilon, early stop, second derivatives) belong to the trainer.

    Source: Wichrowska et al. 2017, "Learned Optimizers that Scale and Generalize", section 3;
    legacy `optimizer/hierarchical_rnn.py` and `rnn_cells.py`.
    """

    learned = True
    looks_at_params = False

    def __init__(self, seed: seeds.Seed | None = None, name: str | None = None, **options: Any):
        """Draws initial weights.

        Args:
            seed: int32 [2].
            name: the module's name.
            **options: the fields of `hierarchical_options.Options`.

        Raises:
            InputError: for options that contradict each other or are out of range.
        """
        self.settings = Options(**options)
        seed = seeds.make_seed(0, "rule") if seed is None else seed
        super().__init__(initial_weights(self.settings, seed), name=name)
        self.learned_start = self.settings.learnable_rnn_init
        self.scores_elsewhere = self.settings.use_attention

    def options(self):
        return self.settings.values()

    @classmethod
    def option_parameters(cls):
        return dict(inspect.signature(Options).parameters)

    def init_tensors(
        self, params: Params, seed: seeds.Seed | None, weights: base.Weights
    ) -> HierarchicalState:
        """Returns the state before the first step of a trajectory.

        Args:
            params: the optimizee's parameters, a list of tensors of static shape.
            seed: int32 [2]; needed for random learning rates or hidden states.
            weights: values for the meta-parameters; the initial hidden states are among them, and
                a meta-gradient with respect to those has to pass through here.

        Raises:
            InputError: if there is something to draw and no seed.
        """
        params = _not_empty(params)
        options, dtype = self.settings, params[0].dtype
        fixed = options.learnable_rnn_init and (
            options.init_lr_range[0] == options.init_lr_range[1] or not options.dynamic_output_scale
        )
        if seed is None and not fixed:
            raise errors.InputError(
                "the hierarchical RNN starts from random learning rates or hidden states: "
                "give init a seed, or set init_lr_range to two equal numbers"
            )
        num_coordinates = coordinates.count(params)
        zeros = tf.zeros([num_coordinates], dtype)
        zeros_by_scale = tf.zeros([options.num_gradient_scales, num_coordinates], dtype)
        columns = (num_coordinates, len(params), 1)
        hidden: list = [(), (), ()]
        for level, units in enumerate(options.level_sizes):
            vector = (
                weights[f"level{level}/init"]
                if options.learnable_rnn_init
                else draw_hidden(seeds.fold(seed, 2, level), units, dtype)
            )
            hidden[level] = tf.broadcast_to(tf.transpose(vector), [units, columns[level]])
        return HierarchicalState(
            hidden[0],
            hidden[1],
            hidden[2],
            accumulated=zeros_by_scale,
            mean_square=zeros_by_scale,
            input_decay=zeros,
            scale_decay=zeros,
            log_lr=self._initial_log_lr(params, seed) if options.dynamic_output_scale else (),
            attention_offset=zeros if options.use_attention else (),
        )

    def _initial_log_lr(self, params: Params, seed: seeds.Seed | None) -> tf.Tensor:
        """Draws log learning rates [num_coordinates]."""
        low, high = (math.log(lr) for lr in self.settings.init_lr_range)
        shape, dtype = [coordinates.count(params)], params[0].dtype
        if low == high:
            log_lr = tf.fill(shape, tf.constant(low, dtype))
        else:
            # Half of the logarithm per tensor: with independent coordinates all tensors would
            # start with the same mean.
            half = (low / 2, high / 2, dtype)
            by_tensor = seeds.uniform(seeds.fold(seed, 1), [len(params)], *half)
            log_lr = seeds.uniform(seeds.fold(seed, 0), shape, *half)
            log_lr += _PerTensor(params).spread(by_tensor)
        return tf.clip_by_value(log_lr, MIN_LOG_LR, self.settings.max_log_lr)

    def true_params(self, params: Params, state: HierarchicalState) -> Params:
        """The parameters that are to be scored: `params` themselves without attention.

        With attention the trajectory `params + updates` that a loop carries are the attended
        points, where gradients are to be taken; what the rule optimizes is an offset away.
        """
        if not self.settings.use_attention:
            return list(params)
        offsets = coordinates.unflatten(state.attention_offset, params)
        return [p + offset for p, offset in zip(params, offsets)]

    def update_tensors(self, grads, state, params, weights):
        per_tensor, flat_grads = _PerTensor(_not_empty(params)), coordinates.flatten(grads)
        accumulated, mean_square = self._moments(flat_grads, state)
        scaled = tf.asinh(accumulated * tf.math.rsqrt(mean_square + 1e-16))
        features = self._features(scaled, mean_square, state.log_lr, per_tensor)
        hidden, tensor_hidden, global_hidden = self._advance(weights, features, state, per_tensor)
        readouts = _read(weights, hidden)
        log_step, log_lr = self._log_learning_rates(weights, readouts, state)

        direction = self._direction(weights, readouts, "update", scaled, per_tensor)
        if self.settings.dynamic_output_scale:
            step = tf.exp(log_step + weights["log_lr/step_offset"]) * direction
        else:
            step = direction
        if self.settings.use_attention:
            attention = self._direction(weights, readouts, "attention", scaled, per_tensor)
            if self.settings.dynamic_output_scale:
                attention *= tf.exp(log_step)
            flat_update, attention_offset = state.attention_offset - attention, attention - step
        else:
            flat_update, attention_offset = -step, ()
        updates = coordinates.unflatten(flat_update, params)

        new_state = HierarchicalState(
            hidden,
            tensor_hidden,
            global_hidden,
            accumulated,
            mean_square,
            input_decay=_decay(weights, readouts, "input_decay", state, _FIXED_INPUT_DECAY),
            scale_decay=_decay(weights, readouts, "scale_decay", state, _FIXED_SCALE_DECAY),
            log_lr=log_lr,
            attention_offset=attention_offset,
        )
        return self.settings.added_drift.add(updates, grads), new_state

    def _moments(self, grads: tf.Tensor, state: HierarchicalState) -> tuple[tf.Tensor, tf.Tensor]:
        """Running means of the gradient [num_coordinates] and of its square, per scale."""
        num_scales = self.settings.num_gradient_scales
        if num_scales == 1:
            accumulated = grads[None]
        else:
            decays = _time_constants(state.input_decay, num_scales)
            accumulated = grads * (1.0 - decays) + state.accumulated * decays
        decays = (
            _time_constants(state.scale_decay, num_scales)
            if self.settings.use_multiple_scale_decays
            else state.scale_decay
        )
        # The legacy code sets the decay to 0 where all mean squares of a tensor are 0. They are
        # before the first step only, when the decay is 0 anyway.
        square = tf.square(accumulated) + 1e-12
        return accumulated, (1.0 - decays) * square + decays * state.mean_square

    def _features(
        self,
        scaled: tf.Tensor,
        mean_square: tf.Tensor,
        log_lr: tf.Tensor,
        per_tensor: _PerTensor,
    ) -> tf.Tensor:
        """The inputs [num_features, num_coordinates] of the coordinates' GRU."""
        options = self.settings
        features = [scaled]
        if options.use_grad_products and options.num_gradient_scales > 1:
            features.append(scaled[:-1] * scaled[1:])
        if options.use_log_means_squared:
            log_square = tf.math.log(mean_square + 1e-16)
            features.append(log_square - tf.reduce_mean(log_square, axis=0))
        if options.use_relative_lr:
            if options.use_problem_lr_mean:
                mean = tf.reduce_mean(log_lr)
            else:
                mean = per_tensor.spread(per_tensor.mean(log_lr))
            features.append((log_lr - mean)[None])
        if options.use_extreme_indicator:
            features.append((tf.nn.relu(log_lr) - tf.nn.relu(math.log(1e-6) - log_lr))[None])
        if options.use_lr_shortcut:
            features.append((log_lr - math.log(1e-3))[None])
        return tf.concat(features, axis=0)

    def _advance(
        self,
        weights: base.Weights,
        features: tf.Tensor,
        state: HierarchicalState,
        per_tensor: _PerTensor,
    ) -> tuple[tf.Tensor, tf.Tensor | tuple, tf.Tensor | tuple]:
        """The next hidden states of the three levels."""
        num_levels = self.settings.num_levels
        if num_levels == 1:
            return _gru(weights, "level0", features, state.hidden), (), ()

        coordinate_bias = recurrent.linear(weights, "level0/from_tensor", state.tensor_hidden)
        tensor_bias: tf.Tensor | float = 0.0
        if num_levels == 3:
            top = state.global_hidden
            coordinate_bias += recurrent.linear(weights, "level0/from_global", top)
            tensor_bias = recurrent.linear(weights, "level1/from_global", top)
        hidden = _gru(weights, "level0", features, state.hidden, per_tensor.spread(coordinate_bias))
        summary = per_tensor.mean(hidden)
        if self.settings.feeds_features_to_tensor_level:
            summary = tf.concat([summary, per_tensor.mean(features)], axis=0)
        tensor_hidden = _gru(weights, "level1", summary, state.tensor_hidden, tensor_bias)
        if num_levels == 2:
            return hidden, tensor_hidden, ()

        if self.settings.average_tensors:
            summary = tf.reduce_mean(tensor_hidden, axis=1, keepdims=True)
        else:
            summary = tensor_hidden[:, -1:]
        return hidden, tensor_hidden, _gru(weights, "level2", summary, state.global_hidden)

    def _log_learning_rates(
        self, weights: base.Weights, readouts: dict[str, tf.Tensor], state: HierarchicalState
    ) -> tuple[tf.Tensor | tuple, tf.Tensor | tuple]:
        """Log learning rates [num_coordinates] of this step and their running means."""
        if not self.settings.dynamic_output_scale:
            return (), ()
        log_step = state.log_lr + readouts["log_lr"] + weights["log_lr/b"]
        # A straight-through gradient: rates out of range can be learned back into it.
        clipped = tf.clip_by_value(log_step, MIN_LOG_LR, self.settings.max_log_lr)
        log_step += tf.stop_gradient(clipped - log_step)
        momentum = tf.sigmoid(weights["log_lr/momentum_logit"])
        return log_step, momentum * state.log_lr + (1.0 - momentum) * log_step

    def _direction(
        self,
        weights: base.Weights,
        readouts: dict[str, tf.Tensor],
        head: str,
        scaled: tf.Tensor,
        per_tensor: _PerTensor,
    ) -> tf.Tensor:
        """What to subtract [num_coordinates], of unit mean square per tensor if rates scale it."""
        direction = readouts[head]
        if self.settings.use_gradient_shortcut:
            shortcut = tf.matmul(weights[f"{head}_shortcut/w"], scaled, transpose_a=True)
            direction += shortcut[0]
        if self.settings.dynamic_output_scale:
            mean_square = per_tensor.mean(tf.square(direction))
            direction *= per_tensor.spread(tf.math.rsqrt(mean_square + 1e-16))
        return direction


def _time_constants(decay: tf.Tensor, num_scales: int) -> tf.Tensor:
    """Decays [num_scales, N], each with about twice the time constant of the one before."""
    decays = [decay]
    while len(decays) < num_scales:
        decays.append(tf.sqrt(decays[-1]))
    return tf.stack(decays)


def _gru(
    weights: base.Weights,
    level: str,
    inputs: tf.Tensor,
    hidden: tf.Tensor,
    bias: tf.Tensor | float = 0.0,
) -> tf.Tensor:
    """One step of a GRU whose pre-activations get an extra bias from the level above.

    Args:
        weights: the meta-parameters by name.
        level: "level0", "level1" or "level2".
        inputs: [num_inputs, N].
        hidden: [units, N], the state before the step.
        bias: [3 units, N] or [3 units, 1] for reset gate, update gate and candidate.

    Returns:
        The state [units, N] after the step. The update gate keeps the old state, as in TF1.
    """
    num_inputs, units = inputs.shape[0], hidden.shape[0]
    w_gates, w_candidate = weights[f"{level}/gates/w"], weights[f"{level}/candidate/w"]
    # The inputs' share of all three in one product, and no [inputs, hidden] to be put together.
    w_inputs = tf.concat([w_gates[:num_inputs], w_candidate[:num_inputs]], axis=1)
    b_inputs = tf.concat([weights[f"{level}/gates/b"], weights[f"{level}/candidate/b"]], axis=0)
    total = tf.matmul(w_inputs, inputs, transpose_a=True) + b_inputs[:, None] + bias
    recurrent_gates = tf.matmul(w_gates[num_inputs:], hidden, transpose_a=True)
    reset, keep = tf.split(tf.sigmoid(total[: 2 * units] + recurrent_gates), 2)
    recalled = tf.matmul(w_candidate[num_inputs:], reset * hidden, transpose_a=True)
    return keep * hidden + (1.0 - keep) * tf.tanh(total[2 * units :] + recalled)


def _read(weights: base.Weights, hidden: tf.Tensor) -> dict[str, tf.Tensor]:
    """All linear readouts [num_coordinates] of the hidden state, without biases, by name."""
    names = [name for name in _READOUTS if f"{name}/w" in weights]
    stacked = tf.concat([weights[f"{name}/w"] for name in names], axis=1)
    return dict(zip(names, tf.unstack(tf.matmul(stacked, hidden, transpose_a=True))))


def _decay(
    weights: base.Weights,
    readouts: dict[str, tf.Tensor],
    name: str,
    state: HierarchicalState,
    fixed: float,
) -> tf.Tensor:
    """The next decay [num_coordinates]: read out, or fixed where it is not learned."""
    if name not in readouts:
        return tf.fill(state.scale_decay.shape, tf.constant(fixed, state.scale_decay.dtype))
    return tf.sigmoid(readouts[name] + weights[f"{name}/b"])
