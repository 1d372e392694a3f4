"""Small optimizees in float64, for derivatives that can be checked to many digits."""

import numpy as np
import tensorflow as tf

from l2o_tf import optimizees


class SmallQuadratic(optimizees.Optimizee):
    """f(x, y) = ||A x - b + noise_t||^2 / 2 + y^4 with a batch-dependent noise."""

    def __init__(self, dtype=tf.float64, num_batches=64):
        rng = np.random.default_rng(0)
        self._a = tf.constant(rng.normal(size=(3, 3)), dtype)
        self._b = tf.constant(rng.normal(size=3), dtype)
        self._noise = tf.constant(0.1 * rng.normal(size=(num_batches, 3)), dtype)
        self._dtype = dtype

    def init(self, seed):
        return [tf.constant([1.0, -0.5, 2.0], self._dtype), tf.constant([[0.7]], self._dtype)]

    def batch(self, seed, step):
        return self._noise[step]

    def loss(self, params, batch):
        residual = tf.linalg.matvec(self._a, params[0]) - self._b + batch
        return tf.reduce_sum(tf.square(residual)) / 2 + tf.reduce_sum(params[1] ** 4)


BOWL_CURVATURES, BOWL_START = np.array([0.5, 1.0, 3.0]), np.array([1.0, -2.0, 0.5])


class Bowl(optimizees.Optimizee):
    """f(x) = sum_i c_i x_i^2 / 2, on which gradient descent has the closed form (1 - r c)^t x."""

    def init(self, seed):
        return [tf.constant(BOWL_START, tf.float32)]

    def loss(self, params, batch):
        curvatures = tf.constant(BOWL_CURVATURES, tf.float32)
        return tf.reduce_sum(curvatures * tf.square(params[0])) / 2


def cast(weights, dtype=tf.float64):
    return {name: tf.cast(value, dtype) for name, value in weights.items()}
