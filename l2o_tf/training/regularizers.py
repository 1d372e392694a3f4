"""Penalties on where an update rule leads: flat regions are preferred to sharp ones.

Each is a function of a loss at a point, differentiable once more with respect to the point. The
sum over an unroll is added to the meta-loss. Source: legacy `l2o-scale-regularize-train`,
option reg_optimizer.
"""

import dataclasses
from collections.abc import Callable

import tensorflow as tf

from l2o_tf.core import coordinates, errors, seeds
from l2o_tf.optimizees.base import Params
from l2o_tf.training.choices import REGULARIZER_TIMES, REGULARIZERS

Loss = Callable[[Params], tf.Tensor]

NAMES = tuple(name for name in REGULARIZERS if name != "none")


@dataclasses.dataclass(frozen=True)
class Regularizer:
    """What is added to the meta-loss: weight times the penalty, summed over steps.

    Attributes:
        name: one of `NAMES`: the mean square of the gradient ("jacob"), the trace of the Hessian
            ("hessian"), its eigenvalue of largest magnitude ("hessian-ev"), or the sum of its
            Lanczos eigenvalues ("hessian-esd").
        weight: the factor of the penalty.
        num_iterations: random probes of "hessian", iterations of the other two.
        time: one of `REGULARIZER_TIMES`: in all unrolls of an epoch, or only in those before or
            after the unroll number int(fraction * num_unrolls + 1), counted from 0.
        fraction: see `time`.

    Raises:
        InputError: for values out of range.
    """

    name: str
    weight: float
    num_iterations: int = 10
    time: str = "always"
    fraction: float = 0.5

    def __post_init__(self):
        if self.name not in NAMES or self.time not in REGULARIZER_TIMES:
            raise errors.InputError(
                f"a regularizer is one of {', '.join(NAMES)} and its time one of "
                f"{', '.join(REGULARIZER_TIMES)}, got {self.name!r} and {self.time!r}"
            )
        if self.num_iterations < 1 or not 0 <= self.fraction <= 1:
            raise errors.InputError(
                "a regularizer needs at least 1 iteration and a fraction from 0 to 1, got "
                f"{self.num_iterations} and {self.fraction}"
            )

    def weight_in(self, unroll: int | tf.Tensor, num_unrolls: int | tf.Tensor) -> tf.Tensor:
        """The factor, a float32 scalar, in unroll number `unroll` of an epoch, from 0 on."""
        limit = tf.cast(tf.cast(num_unrolls, tf.float32) * self.fraction + 1, tf.int32)
        applies = {"always": True, "prior": unroll < limit, "posterior": unroll > limit}
        return self.weight * tf.cast(applies[self.time], tf.float32)

    def penalty(self, loss: Loss, params: Params, seed: seeds.Seed) -> tf.Tensor:
        """The penalty, a scalar, at `params`; probes are drawn from `seed`, int32 [2]."""
        if self.name == "jacob":
            return mean_square_gradient(loss, params)
        count = self.num_iterations if self.name == "hessian" else 1
        probes = rademacher(seed, params, count)
        if self.name == "hessian":
            return hessian_trace(loss, params, probes)
        start = [p[0] for p in probes]
        if self.name == "hessian-ev":
            return largest_eigenvalue(loss, params, start, self.num_iterations)
        return lanczos_trace(loss, params, start, self.num_iterations)


def rademacher(seed: seeds.Seed, params: Params, count: int) -> list[tf.Tensor]:
    """Draws -1 or 1, tensors [count, *shape_i]."""
    signs = seeds.uniform(seed, [count, coordinates.count(params)], 0, 2, tf.int32)
    return coordinates.unflatten(tf.cast(2 * signs - 1, params[0].dtype), params)


def mean_square_gradient(loss: Loss, params: Params) -> tf.Tensor:
    """The mean over all coordinates of the squared gradient."""
    return tf.reduce_mean(tf.square(coordinates.flatten(_gradient(loss, params))))


def hessian_trace(loss: Loss, params: Params, probes: Params) -> tf.Tensor:
    """Hutchinson's estimate: the mean of v' H v over the probes v [num_probes, *shape_i]."""
    num_probes = probes[0].shape[0]
    values = [
        _inner(v, hessian_vector(loss, params, v))
        for v in ([p[i] for p in probes] for i in range(num_probes))
    ]
    return tf.add_n(values) / num_probes


def largest_eigenvalue(loss: Loss, params: Params, start: Params, num_iterations: int) -> tf.Tensor:
    """Power iteration for the eigenvalue of largest magnitude of the Hessian.

    The vector is a constant to differentiation: to first order an eigenvalue does not change
    with its eigenvector.
    """
    vector = _normalized(start)
    for _ in range(num_iterations - 1):
        product = hessian_vector(loss, params, vector)
        vector = [tf.stop_gradient(v) for v in _normalized(product)]
    return _inner(vector, hessian_vector(loss, params, vector))


def lanczos_trace(loss: Loss, params: Params, start: Params, num_iterations: int) -> tf.Tensor:
    """The trace of the tridiagonal matrix of Lanczos' method, which is its eigenvalues' sum.

    With as many iterations as coordinates, more of which are not made, it is the trace of the
    Hessian. Vectors are orthogonalised against all before them.
    """
    basis = [coordinates.flatten(_normalized(start))]
    diagonal: list[tf.Tensor] = []
    residual: tf.Tensor | None = None
    for _ in range(min(num_iterations, coordinates.count(params))):
        if residual is not None:
            # Lanczos' recurrence has orthogonalised it already, but for rounding.
            norm, vector = tf.norm(residual), residual
            for earlier in basis:
                vector -= tf.reduce_sum(vector * earlier) * earlier
            basis.append(vector / (tf.norm(vector) + 1e-6))
        product = coordinates.flatten(
            hessian_vector(loss, params, coordinates.unflatten(basis[-1], params))
        )
        diagonal.append(tf.reduce_sum(product * basis[-1]))
        residual = product - diagonal[-1] * basis[-1]
        if len(basis) > 1:
            residual -= norm * basis[-2]
    return tf.add_n(diagonal)


def hessian_vector(loss: Loss, params: Params, vector: Params) -> list[tf.Tensor]:
    """The product of the Hessian with `vector`, tensors shaped like `params`."""
    with tf.GradientTape() as tape:
        tape.watch(params)
        slope = _inner(_gradient(loss, params), vector)
    return tape.gradient(slope, params, unconnected_gradients="zero")


def _gradient(loss: Loss, params: Params) -> list[tf.Tensor]:
    with tf.GradientTape() as tape:
        tape.watch(params)
        value = loss(params)
    return tape.gradient(value, params, unconnected_gradients="zero")


def _inner(a: Params, b: Params) -> tf.Tensor:
    return tf.add_n([tf.reduce_sum(x * y) for x, y in zip(a, b)])


def _normalized(vector: Params) -> list[tf.Tensor]:
    norm = tf.sqrt(_inner(vector, vector))
    return [v / (norm + 1e-6) for v in vector]
