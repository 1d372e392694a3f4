"""Toy functions against NumPy."""

import numpy as np
import tensorflow as tf

from l2o_tf import optimizees, rules
from l2o_tf.core import seeds
from l2o_tf.training import unrolls

SEED = seeds.make_seed(4, "test")


def test_simple_multi_is_a_sum_of_squares_from_ones():
    optimizee = optimizees.create("simple_multi")
    params = optimizee.init(SEED)
    assert [float(p) for p in params] == [1, 1]
    loss, grads = unrolls.loss_and_gradients(optimizee, [tf.constant(3.0), tf.constant(-2.0)], ())
    assert float(loss) == 13
    assert [float(g) for g in grads] == [6, -4]


def test_square_cos_and_its_gradient():
    optimizee = optimizees.create("square_cos")
    w, y, w_cos = (t.numpy().astype(np.float64) for t in optimizee.batch(SEED, 0))
    x = np.random.default_rng(0).normal(size=[128, 2])
    loss, (grad,) = unrolls.loss_and_gradients(
        optimizee, [tf.constant(x)], type(optimizee.batch(SEED, 0))(w, y, w_cos)
    )
    residual = np.einsum("bij,bj->bi", w, x) - y
    waves = 10 * np.einsum("bij,bj->b", w_cos, np.cos(2 * np.pi * x))
    expected = np.mean(np.sum(residual**2, axis=1) - waves + 20)
    np.testing.assert_allclose(loss, expected, rtol=1e-12)
    slope = 20 * np.pi * np.sin(2 * np.pi * x) * w_cos.sum(axis=1)
    expected = (2 * np.einsum("bij,bi->bj", w, residual) + slope) / 128
    np.testing.assert_allclose(grad, expected, rtol=1e-9)


def test_square_cos_draws_three_different_uniform_tensors():
    w, y, w_cos = optimizees.create("square_cos").batch(SEED, 0)
    assert (w.shape, y.shape, w_cos.shape) == ((128, 2, 2), (128, 2), (128, 2, 2))
    for tensor in (w, y, w_cos):
        assert 0 <= np.min(tensor) and np.max(tensor) < 1
        np.testing.assert_allclose(np.mean(tensor), 0.5, atol=0.06)
    assert abs(np.corrcoef(np.ravel(w), np.ravel(w_cos))[0, 1]) < 0.2


def test_simple_follows_gradient_descent_in_closed_form():
    optimizee, rule = optimizees.create("simple"), rules.from_spec("sgd:0.1")
    start = unrolls.start(optimizee, rule, SEED)
    run = unrolls.unroll(rule, optimizee, start, lambda t: (), 5)
    np.testing.assert_allclose(run.losses, 0.8 ** (2 * np.arange(5)), rtol=1e-6)
