"""Functions without data: squares, a batch of random quadratics, the same with cosines."""

import math
from typing import NamedTuple

import tensorflow as tf

from l2o_tf.core import seeds
from l2o_tf.optimizees import base


@base.register("simple", dataset=None)
class Simple(base.Optimizee):
    """f(x) = x^2 from x = 1. Source: legacy `problems.py`, simple."""

    def __init__(self, dataset=None, batch_size=None):
        del dataset, batch_size

    def init(self, seed):
        return [tf.ones([])]

    def loss(self, params, batch):
        return tf.square(params[0])


@base.register("simple_multi", dataset=None)
class SimpleMulti(base.Optimizee):
    """f(x) = x_0^2 + x_1^2 from x = (1, 1), two tensors for two rules (see `rules.assigned`).

    Source: legacy `problems.py`, simple_multi_optimizer, and `util.py`, simple-multi.

    Attributes:
        assignment: the name of the rule of each parameter tensor.
    """

    assignment = ("cw", "adam")

    def __init__(self, dataset=None, batch_size=None):
        del dataset, batch_size

    def init(self, seed):
        return [tf.ones([]), tf.ones([])]

    def loss(self, params, batch):
        return tf.add_n([tf.square(p) for p in params])


class QuadraticBatch(NamedTuple):
    """Coefficients w [batch_size, num_dims, num_dims] and y [batch_size, num_dims]."""

    w: tf.Tensor
    y: tf.Tensor


@base.register("quadratic", dataset=None, options={"num_dims": int})
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


class SquareCosBatch(NamedTuple):
    """Coefficients w, w_cos [batch_size, num_dims, num_dims] and y [batch_size, num_dims]."""

    w: tf.Tensor
    y: tf.Tensor
    w_cos: tf.Tensor


@base.register("square_cos", dataset=None, options={"num_dims": int})
class SquareCos(Quadratic):
    """f(x) = mean_b (||W_b x_b - y_b||^2 - 10 sum(C_b cos(2 pi x_b))) + 10 num_dims.

    x ~ N(0, 0.01^2); W, y, C ~ U(0, 1) are drawn anew for every trajectory. Source: legacy
    `problems.py`, square_cos, with two dimensions as in `util.py`.
    """

    def __init__(self, dataset=None, batch_size: int = 128, num_dims: int = 2):
        super().__init__(dataset, batch_size, num_dims)

    def batch(self, seed, step):
        quadratic = super().batch(seed, step)
        w_cos = seeds.uniform(seeds.fold(seed, 2), [self.batch_size, self.num_dims, self.num_dims])
        return SquareCosBatch(*quadratic, w_cos)

    def loss(self, params, batch):
        cosines = tf.linalg.matvec(batch.w_cos, 10 * tf.cos(2 * math.pi * params[0]))
        waves = tf.reduce_mean(tf.reduce_sum(cosines, axis=1))
        return super().loss(params, batch) - waves + 10 * self.num_dims
