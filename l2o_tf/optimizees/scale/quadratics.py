"""Quadratic problems and norms: convex, with known curvature."""

import numpy as np
import tensorflow as tf

from l2o_tf.core import errors
from l2o_tf.optimizees.scale import datasets, problem


class _LinearSystem(problem.Problem):
    """A function of the residual w x - y; the parameter x is [num_dims, 1]."""

    def __init__(self, w: np.ndarray, y: np.ndarray):
        """Keeps the system.

        Args:
            w: [num_equations, num_dims].
            y: [num_equations, 1].

        Raises:
            InputError: if the shapes do not fit.
        """
        if np.ndim(w) != 2 or np.shape(y) != (len(w), 1):
            raise errors.InputError(
                f"w {np.shape(w)} and y {np.shape(y)} must be [n, num_dims] and [n, 1]"
            )
        super().__init__([(np.shape(w)[1], 1)])
        # Not tensors: gradients of gradients inside loops cannot capture those (TensorFlow 2.21).
        self._w, self._y = np.asarray(w), np.asarray(y)

    def residual(self, x: tf.Tensor) -> tf.Tensor:
        """Returns w x - y, [num_equations, 1]."""
        return tf.constant(self._w, x.dtype) @ x - tf.constant(self._y, x.dtype)


class Quadratic(_LinearSystem):
    """f(x) = 0.5 ||w x - y||^2."""

    @classmethod
    def random(cls, num_dims: int, seed: int) -> "Quadratic":
        """Draws w and y from N(0, 1)."""
        return cls(*problem.gaussian_system(num_dims, seed))

    def loss(self, params, batch):
        return tf.nn.l2_loss(self.residual(params[0]))


class Norm(_LinearSystem):
    """f(x) = (sum_i (|w x - y|_i + 1e-6)^power)^(1 / power).

    Powers below 1 give infinite gradients near a zero of the residual.
    """

    def __init__(self, w: np.ndarray, y: np.ndarray, power: float):
        super().__init__(w, y)
        self.power = power

    @classmethod
    def random(cls, num_dims: int, power: float, seed: int) -> "Norm":
        """Draws w and y from N(0, 1)."""
        return cls(*problem.gaussian_system(num_dims, seed), power)

    def loss(self, params, batch):
        magnitudes = tf.abs(self.residual(params[0])) + 1e-6
        return tf.reduce_sum(magnitudes**self.power) ** (1 / self.power)


class Bowl(problem.Problem):
    """f(x) = 0.5 ||diag(sqrt(condition), 1) R x||^2 in two dimensions, R a rotation by `angle`.

    Args:
        condition: the curvature of the first axis; that of the second is 1.
        angle: in radians, counterclockwise.
    """

    def __init__(self, condition: float, angle: float = 0.0):
        if condition <= 0:
            raise errors.InputError(f"the condition of a bowl must be positive, got {condition}")
        super().__init__([(2, 1)])
        rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        # The legacy square root is that of a float32 number.
        self.matrix = np.sqrt(np.array([[condition], [1.0]], np.float32)) * rotation

    def loss(self, params, batch):
        return tf.nn.l2_loss(tf.constant(self.matrix, params[0].dtype) @ params[0])


class IsotropicQuadratic(problem.Problem):
    """f = the sum of squares of all coordinates of parameters of any shapes."""

    def loss(self, params, batch):
        return tf.add_n([tf.reduce_sum(p**2) for p in params])


class _RowProblem(problem.DataProblem):
    """A problem whose one parameter [1, num_features] is compared with every row of the data."""

    def __init__(self, examples: datasets.Examples, batch_size: int):
        super().__init__([(1, problem.num_features(examples))], examples, batch_size)


class ProjectionQuadratic(_RowProblem):
    """f(x) = sum over the batch of ||x * d||^2, with data d [batch_size, num_features]."""

    def loss(self, params, batch):
        return tf.reduce_sum((params[0] * tf.cast(batch.data, params[0].dtype)) ** 2)


class SumOfQuadratics(_RowProblem):
    """f(x) = sum over the batch of ||x - d||^2 - ||d||^2, plus 1e-12.

    On all of `datasets.random_symmetric` the minimum is 1e-12 at 0; on a batch it is negative.
    """

    def loss(self, params, batch):
        x, data = params[0], tf.cast(batch.data, params[0].dtype)
        # The square multiplied out: the difference of two large sums would lose all digits near 0.
        return tf.reduce_sum(x * (x - 2 * data)) + 1e-12
