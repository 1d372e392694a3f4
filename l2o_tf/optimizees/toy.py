"""Functions without data: x^2 and a batch of random quadratics."""

from typing import NamedTuple

import tensorflow as tf

from l2o_tf import seeds
from l2o_tf.optimizees import base


@base.register("simple")
class Simple(base.Optimizee):
    """f(x) = x^2 from x = 1. Source: legacy `problems.py`, simple."""

    def __init__(self, dataset=None):
        del dataset

    def init(self, seed):
        return [tf.ones([])]

    def loss(self, params, batch):
        return tf.square(params[0])


class QuadraticBatch(NamedTuple):
    """Coefficients w [batch_size, num_dims, num_dims] and y [batch_size, num_dims]."""

    w: tf.Tensor
    y: tf.Tensor


@base.register("quadratic")
class Quadratic(base.Optimizee):
    """f(x) = mean_b ||W_b x_b - y_b||^2 with x ~ N(0, 0.01^2), W, y ~ U(0, 1).

    W and y are drawn anew for every trajectory. Source: legacy `problems.py`, quadratic.
    """

    def __init__(self, dataset=None, batch_size: int = 128, num_dims: int = 10):
        del dataset
        self.batch_size, self.num_dims = batch_size, num_dims

    def init(self, seed):
        return [seeds.normal(seed, [self.batch_size, self.num_dims], 0.01)]

    def batch(self, seed, step):
        return QuadraticBatch(
            seeds.uniform(seeds.fold(seed, 0), [self.batch_size, self.num_dims, self.num_dims]),
            seeds.uniform(seeds.fold(seed, 1), [self.batch_size, self.num_dims]),
        )

    def loss(self, params, batch):
        product = tf.linalg.matvec(batch.w, params[0])
        return tf.reduce_mean(tf.reduce_sum(tf.square(product - batch.y), axis=1))
