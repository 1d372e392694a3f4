"""A small multi-layer perceptron that maps normalised features of each coordinate to its step."""

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from l2o_tf.core import errors, seeds
from l2o_tf.rules import base
from l2o_tf.rules import mlp_features as features

VARIANTS = ("base", "full")
_NUM_OUTPUTS = 3  # As published; the step is made of the first one alone.
_NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
_NUM_ITERATIONS = 5
_ADAM_BETAS = (0.9, 0.95)
STARTS = ("random", "momentum")


class AdamState(NamedTuple):
    """Moments of a tensor that is left to Adam, shaped like it."""

    first: tf.Tensor
    second: tf.Tensor


class MLPState(NamedTuple):
    """The accumulators of each tensor, and the number of steps, which the network does not see."""

    tensors: tuple[features.MatrixState | features.VectorState | AdamState, ...]
    step: tf.Tensor


@base.register("mlp")
class MLP(base.UpdateRule):
    """u = -lr (d / rms(d) + weight_decay p), where d is a perceptron's output (Celo2).

    The perceptron, 347 weights, sees moments of the gradient, factored and full, and the
    parameter, each scaled to a root mean square of 1 over a tensor's last two axes, and neither
    the loss nor the number of the step: what decays is the learning rate alone. The state is 16
    bytes per parameter of a matrix, 28 of a vector, 8 where Adam takes the steps.

    The variant "base" takes the direction d as it is, "full" orthogonalises that of matrices by
    Newton-Schulz iterations. Tensors that `adam` names take steps of Adam with `adam_factor` times
    the learning rate: "none"; "vectors", those of rank 0 and 1, such as biases; or one bool for
    each tensor. With `total_steps`, the learning rate falls to 0 along a cosine over so many steps,
    as that of `LearnedOptimizer` does with its own argument of this name.

    The start "random" draws all initial weights, as published. From "momentum" on, the untrained
    rule already is an optimizer: two hidden units of each layer pass the momentum over the root of
    the second moment on, Adam's direction, and the others, drawn, do not reach the output yet.
    Source: arXiv 2602.19142 but for this start.
    """

    learned = True

    def __init__(
        self,
        seed: seeds.Seed | None = None,
        variant: str = "base",
        units: Sequence[int] = (8, 8),
        learning_rate: float = 0.001,
        weight_decay: float = 0.0,
        adam: str | Sequence[bool] = "none",
        adam_factor: float = 20.0,
        total_steps: int = 0,
        start: str = "random",
        name: str | None = None,
    ):
        """Draws initial weights from `seed` (int32 [2]) for hidden layers of the given `units`.

        Raises:
            InputError: for an unknown variant, routing or start, or a number out of its range.
        """
        _check(variant, units, adam, start)
        for option, value, least in (
            ("learning_rate", learning_rate, "positive"),
            ("adam_factor", adam_factor, "positive"),
            ("weight_decay", weight_decay, "at least 0"),
            ("total_steps", total_steps, "at least 0"),
        ):
            if not (0 < value or (least != "positive" and value == 0)) or value == math.inf:
                raise errors.InputError(f"{option} of the rule mlp must be {least}, got {value}")
        seed = seeds.make_seed(0, "rule") if seed is None else seed
        weights = _initial_weights(seed, units)
        super().__init__(_with_momentum(weights) if start == "momentum" else weights, name=name)
        self.variant, self.units = variant, tuple(units)
        self.learning_rate, self.weight_decay = learning_rate, weight_decay
        self.adam = adam if isinstance(adam, str) else tuple(adam)
        self.adam_factor, self.total_steps = adam_factor, total_steps

    def options(self):
        options = {
            "variant": self.variant,
            "units": list(self.units),
            "learning_rate": self.learning_rate,
            "weight_decay": self.weight_decay,
            "adam": self.adam if isinstance(self.adam, str) else list(self.adam),
            "adam_factor": self.adam_factor,
        }
        # Where it is not the default only: cards of before stay valid.
        return options | ({"total_steps": self.total_steps} if self.total_steps else {})

    def keras_route(self):
        # A formula has no decay and no schedule of its own: the rule then steps vectors itself.
        if self.adam != "vectors" or self.weight_decay or self.total_steps:
            return {}
        return {f"adam:{self.adam_factor * self.learning_rate:g}": ["biases", "embeddings"]}

    def init_tensors(self, params, seed, weights):
        """Returns zeros; raises InputError if `adam` is a list for another number of tensors."""
        tensors = []
        for p, is_adams in zip(params, self._routes(params)):
            zeros = tf.zeros(p.shape, p.dtype)
            tensors.append(AdamState(zeros, zeros) if is_adams else features.initial(p))
        return MLPState(tuple(tensors), tf.constant(0))

    def update_tensors(self, grads, state, params, weights):
        step, rate = state.step + 1, self._rate(state.step)
        updates, tensors = [], []
        for grad, tensor, p in zip(grads, state.tensors, params, strict=True):
            if isinstance(tensor, AdamState):
                direction, tensor = _adam(grad, tensor, step)
                direction *= self.adam_factor
            else:
                direction, tensor = self._direction(grad, tensor, p, weights)
            updates.append(-rate * (direction + self.weight_decay * p))
            tensors.append(tensor)
        return updates, MLPState(tuple(tensors), step)

    def _rate(self, step: tf.Tensor) -> float | tf.Tensor:
        """The learning rate of the step after so many."""
        if not self.total_steps:
            return self.learning_rate
        done = tf.minimum(tf.cast(step, tf.float32) / self.total_steps, 1.0)
        return self.learning_rate * (1 + tf.cos(math.pi * done)) / 2

    def hold(self, before, after, params, given):
        pairs = zip(before.tensors, after.tensors, given, strict=True)
        return after._replace(tensors=tuple(new if has else old for old, new, has in pairs))

    def _routes(self, params) -> list[bool]:
        if isinstance(self.adam, str):
            return [self.adam == "vectors" and p.shape.rank < 2 for p in params]
        if len(self.adam) != len(params):
            raise errors.InputError(
                f"the option adam of the rule says for {len(self.adam)} tensors whether Adam takes"
                f" their steps, but there are {len(params)}"
            )
        return list(self.adam)

    def _direction(self, grad, state, p, weights):
        """The step of one tensor before the learning rate, shaped like it, and its next state."""
        seen, after = features.see(grad, state, p)
        hidden = _first_layer(seen, weights["w0"], weights["b0"])
        for layer in range(1, len(self.units)):
            hidden = _layer(hidden, weights[f"w{layer}"], weights[f"b{layer}"])
        last = len(self.units)
        (direction,) = _affine(hidden, weights[f"w{last}"][:, :1], weights[f"b{last}"][:1])
        if self.variant == "full" and p.shape.rank >= 2:
            direction = _orthogonalised(direction)
        direction *= tf.math.rsqrt(features.mean_square(direction) + features.EPSILON)
        return tf.reshape(direction, p.shape), after


def _first_layer(seen: features.Seen, kernel: tf.Tensor, bias: tf.Tensor) -> list[tf.Tensor]:
    """The hidden units, each shaped like the tensor.

    What is wide as the tensor is weighed coordinate by coordinate in one loop, without a tensor
    of all features; what is constant along an axis costs next to nothing.
    """
    # The scales go into the weights: [num_features, units, ...].
    trailing = [1] * (seen.scales.shape.rank - 1)
    full, lines = features.parts(kernel, seen)
    scaled = seen.scales[:, None] * tf.reshape(full, [*full.shape, *trailing])
    offset = tf.reshape(bias, [-1, *trailing])
    for part, line in zip(lines, seen.lines, strict=True):
        offset += tf.tensordot(part, line, axes=[[0], [0]])
    return _layer(seen.full, scaled, offset)


def _layer(inputs: Sequence[tf.Tensor], kernel: tf.Tensor, bias: tf.Tensor) -> list[tf.Tensor]:
    return [tf.nn.relu(total) for total in _affine(inputs, kernel, bias)]


def _affine(inputs: Sequence[tf.Tensor], kernel: tf.Tensor, bias: tf.Tensor) -> list[tf.Tensor]:
    """A linear layer, coordinate by coordinate.

    Args:
        inputs: tensors [*shape].
        kernel: [num_inputs, num_outputs, ...], what follows broadcasts to `shape`.
        bias: [num_outputs, ...], likewise.

    Returns:
        The outputs, tensors [*shape].
    """
    num_outputs = bias.shape[0]
    factors = tf.unstack(tf.reshape(kernel, [-1, *kernel.shape[2:]]))
    outputs = []
    for j, offset in enumerate(tf.unstack(bias)):
        first, *others = [x * factor for x, factor in zip(inputs, factors[j::num_outputs])]
        # The sum of tensors is last: XLA computes that once, but what depends on a single tensor
        # of this size once for each use.
        outputs.append(tf.add_n([first + offset, *others]))
    return outputs


def _orthogonalised(direction: tf.Tensor) -> tf.Tensor:
    """Brings the singular values of the matrices in the last two axes near 1."""
    a, b, c = _NEWTON_SCHULZ
    tall = direction.shape[-2] > direction.shape[-1]
    x = tf.linalg.matrix_transpose(direction) if tall else direction
    norm = tf.sqrt(tf.reduce_sum(tf.square(x), axis=[-2, -1], keepdims=True))
    x /= norm + 1e-8
    for _ in range(_NUM_ITERATIONS):
        gram = tf.matmul(x, x, transpose_b=True)
        x = a * x + tf.matmul(b * gram + c * tf.matmul(gram, gram), x)
    return tf.linalg.matrix_transpose(x) if tall else x


def _adam(grad, state, step):
    """Adam's direction and next state."""
    beta1, beta2 = (tf.cast(beta, grad.dtype) for beta in _ADAM_BETAS)
    t = tf.cast(step, grad.dtype)
    first = beta1 * state.first + (1 - beta1) * grad
    second = beta2 * state.second + (1 - beta2) * tf.square(grad)
    mean, square = first / (1 - beta1**t), second / (1 - beta2**t)
    return mean / (tf.sqrt(square) + 1e-8), AdamState(first, second)


def _initial_weights(seed: seeds.Seed, units: Sequence[int]) -> base.Weights:
    """Truncated normal with standard deviation 1 / sqrt(fan-in); zero biases."""
    sizes = [features.NUM_FEATURES, *units, _NUM_OUTPUTS]
    weights = {}
    for layer, (inputs, outputs) in enumerate(itertools.pairwise(sizes)):
        weights[f"w{layer}"] = seeds.truncated_normal(
            seeds.fold(seed, layer), [inputs, outputs], 1 / math.sqrt(inputs)
        )
        weights[f"b{layer}"] = tf.zeros([outputs])
    return weights


def _with_momentum(weights: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """Lets the first two units of each layer pass on a feature's positive and negative part."""
    last = len(weights) // 2 - 1
    started = dict(weights)
    for layer in range(last + 1):
        kernel = weights[f"w{layer}"]
        passed = np.zeros([kernel.shape[0], 1 if layer == last else 2], np.float32)
        if layer == 0:
            passed[features.NORMALISED_MOMENTUM] = 1, -1
        elif layer < last:
            passed[:2] = np.eye(2)
        else:
            passed[:2, 0] = 1, -1
        started[f"w{layer}"] = tf.concat([passed, kernel[:, passed.shape[1] :]], axis=1)
    return started


def _check(variant, units, adam, start) -> None:
    if variant not in VARIANTS:
        raise errors.InputError(
            f"unknown variant {variant!r} of the rule mlp; known: {', '.join(VARIANTS)}"
        )
    if start not in STARTS:
        raise errors.InputError(
            f"unknown start {start!r} of the rule mlp; known: {', '.join(STARTS)}"
        )
    fewest = 2 if start == "momentum" else 1
    if not units or any(n < fewest for n in units):
        raise errors.InputError(
            f"the rule mlp needs at least {fewest} units in each hidden layer with the start"
            f" {start}, got {list(units)}"
        )
    if adam not in ("none", "vectors") and (
        isinstance(adam, str) or not all(isinstance(entry, bool) for entry in adam)
    ):
        raise errors.InputError(
            f"the option adam of the rule mlp is none, vectors or a list of bools, got {adam!r}"
        )
