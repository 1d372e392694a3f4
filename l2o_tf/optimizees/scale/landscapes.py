"""Problems with one difficulty each: order, dead gradients, endless paths, ill conditioning."""

import math

import numpy as np
import tensorflow as tf

from l2o_tf.core import errors
from l2o_tf.optimizees.scale import datasets, problem


class DependencyChain(problem.Problem):
    """f(x) = sum_i x_0^2 + x_{i+1}^2 / (x_i^2 + 1e-6), x of num_dims + 1 coordinates.

    A coordinate can only go to 0 after the one before it. As in the legacy code x_0^2 counts
    once for each of the num_dims terms.
    """

    def __init__(self, num_dims: int):
        super().__init__([(num_dims + 1,)])

    def loss(self, params, batch):
        squares = params[0] ** 2
        return tf.reduce_sum(squares[0] + squares[1:] / (squares[:-1] + 1e-6))


class MinMaxWell(problem.Problem):
    """f(x) = max_i x_i^2 + 1 / min_i x_i^2 - 2 + 1e-12; minimum 0 where all |x_i| are 1.

    All but two gradients are 0.
    """

    def __init__(self, num_dims: int):
        super().__init__([(num_dims,)])

    def loss(self, params, batch):
        squares = params[0] ** 2
        return tf.reduce_max(squares) + 1 / tf.reduce_min(squares) - 2 + 1e-12


class OutwardSnake(problem.DataProblem):
    """A winding path to infinity, summed over a batch of bits d [batch_size, num_features].

    f(x) = sum_d d_0 / (||x|| + 1e-6) + sum_i ((x_{i+1} - pi cos x_i) d_{i+1})^2.
    """

    def __init__(self, examples: datasets.Examples, batch_size: int):
        super().__init__([(problem.num_features(examples),)], examples, batch_size)

    def loss(self, params, batch):
        x, bits = params[0], tf.cast(batch.data, params[0].dtype)
        radius = tf.sqrt(tf.reduce_sum(x**2))
        offsets = x[1:] - math.pi * tf.cos(x[:-1])
        return tf.reduce_sum(bits[:, 0] / (radius + 1e-6)) + tf.reduce_sum(
            (offsets * bits[:, 1:]) ** 2
        )


class MatMulAlgorithm(problem.Problem):
    """Searches an algorithm that multiplies n x n matrices with k scalar products.

    The parameters a and b, both [n^2, k], form the k products (vec(A) a) * (vec(B) b); the
    linear map from the products to A B that is best in least squares follows from them. The
    loss is the sum of its squared errors over all pairs of unit matrices A, B: a polynomial
    system of degree 6 whose zeros are exact algorithms. Columns start with norm 1.

    Where the products overflow the loss is infinite. Where they are exactly linearly dependent
    TensorFlow raises `tf.errors.InvalidArgumentError`, but not under XLA.
    """

    def __init__(self, n: int, k: int):
        """Builds the problem.

        Args:
            n: the size of the matrices, at least 2.
            k: the number of products, from n^2 to n^3.

        Raises:
            InputError: if n or k is out of range.
        """
        if n < 2 or not n**2 <= k <= n**3:
            raise errors.InputError(
                f"matrix multiplication needs n >= 2 and n^2 <= k <= n^3, got n = {n}, k = {k}"
            )
        super().__init__([(n**2, k), (n**2, k)])
        self.n, self.k = n, k
        units = np.eye(n**2).reshape(n**2, n, n)
        # [n^4, n^2]: the product of every pair of unit matrices.
        self.targets = np.einsum("aij,bjk->abik", units, units).reshape(n**4, n**2)

    def initial(self, seed, shape):
        return tf.math.l2_normalize(super().initial(seed, shape), axis=0)

    def loss(self, params, batch):
        a, b = params
        targets = tf.constant(self.targets, a.dtype)
        products = tf.reshape(a[:, None] * b[None, :], [self.n**4, self.k])
        gram = tf.matmul(products, products, transpose_a=True)
        # Outside XLA the inversion of a non-finite matrix ends the program, where a diverged
        # trajectory should only be given an infinite loss.
        usable = tf.reduce_all(tf.math.is_finite(gram))
        gram = tf.where(usable, gram, tf.eye(self.k, dtype=a.dtype))
        solution = tf.linalg.inv(gram) @ tf.matmul(products, targets, transpose_a=True)
        loss = tf.reduce_sum((products @ solution - targets) ** 2)
        return tf.where(usable, loss, tf.constant(math.inf, a.dtype))
