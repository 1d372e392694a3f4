"""Random scaling against its closed form."""

import numpy as np
import pytest
import tensorflow as tf

from l2o_tf import optimizees, rules
from l2o_tf.core import errors, seeds
from l2o_tf.optimizees import scaling
from l2o_tf.training import unrolls
from tests import small_images

SEED = seeds.make_seed(5, "test")


def mlp():
    return optimizees.create("mlp", small_images.dataset((8, 8, 1)), batch_size=6)


def test_the_first_loss_is_that_of_the_inner_optimizee():
    inner, rule = mlp(), rules.create("sgd")
    losses, gradients = [], []
    for optimizee in (inner, scaling.RandomScaling(inner)):
        start = unrolls.start(optimizee, rule, SEED)
        batches = unrolls.random_batches(optimizee, SEED, 0)
        loss, grads = unrolls.loss_and_gradients(optimizee, start.params, batches(0))
        losses.append(loss)
        gradients.append(grads)
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-6)
    for g, scaled, s in zip(*gradients, batches(0).scales, strict=True):
        np.testing.assert_allclose(scaled, s * g, rtol=1e-4, atol=1e-7)


def test_gradient_descent_is_that_with_a_rate_for_each_coordinate():
    inner = optimizees.create("quadratic", batch_size=4, num_dims=3)
    optimizee, rule = scaling.RandomScaling(inner, bound=1.0), rules.from_spec("sgd:0.05")
    start = unrolls.start(optimizee, rule, SEED)
    batches = unrolls.random_batches(optimizee, SEED, 0)
    run = tf.function(unrolls.unroll)(rule, optimizee, start, batches, 6)
    (s,), (w, y) = batches(0).scales, batches(0).inner
    x = start.params[0] * s
    for loss in run.losses:
        residual = tf.linalg.matvec(w, x) - y
        np.testing.assert_allclose(loss, np.mean(np.sum(residual**2, axis=1)), rtol=1e-5)
        x -= 0.05 * s**2 * tf.linalg.matvec(w, residual, transpose_a=True) * 2 / 4
    np.testing.assert_allclose(run.end.params[0] * s, x, rtol=1e-5)


def test_scales_are_log_uniform_and_belong_to_the_trajectory():
    optimizee = scaling.RandomScaling(optimizees.create("quadratic"), bound=3.0)
    logs = np.log(optimizee.batch(SEED, tf.constant(0)).scales[0])
    assert logs.size == 1280 and np.abs(logs).max() <= 3
    # Three standard errors of the mean, the fourth moment gives those of the variance.
    np.testing.assert_allclose(logs.mean(), 0, atol=3 * np.sqrt(3 / logs.size))
    np.testing.assert_allclose(logs.var(), 3, atol=3 * np.sqrt((81 / 5 - 9) / logs.size))
    later = optimizee.batch(SEED, tf.constant(7)).scales[0]
    np.testing.assert_array_equal(np.log(later), logs)
    other = np.log(optimizee.batch(seeds.make_seed(6, "test"), tf.constant(0)).scales[0])
    assert abs(np.corrcoef(other.ravel(), logs.ravel())[0, 1]) < 0.1


def logs_of(scaled, seed):
    return [np.log(s) for s in scaled.batch(seed, tf.constant(0)).scales]


def logs_of_seeds(scaled, made):
    """`logs_of` for each of the seeds [number, 2]."""
    scales = tf.function(
        lambda: tf.map_fn(
            lambda seed: scaled.batch(seed, tf.constant(0)).scales,
            made,
            fn_output_signature=[tf.float32] * len(scaled.init(SEED)),
        )
    )()
    return list(zip(*(np.log(s) for s in scales)))


def test_levels_share_scales():
    inner = mlp()
    shapes = [p.shape for p in inner.init(SEED)]
    coordinates, tensors, shared = (
        logs_of(scaling.RandomScaling(inner, 2.0, level), SEED) for level in scaling.LEVELS[:3]
    )
    assert [log.shape for log in coordinates] == shapes
    assert all(np.unique(log).size > 0.9 * log.size for log in coordinates)
    assert all(log.shape == () for log in tensors) and len(set(map(float, tensors))) == len(shapes)
    assert len(shared) == len(shapes) and len(set(map(float, shared))) == 1
    for level in scaling.LEVELS:
        scaled = scaling.RandomScaling(inner, 2.0, level)
        scales = scaled.batch(SEED, tf.constant(0)).scales
        for p, s, own in zip(scaled.init(SEED), scales, inner.init(SEED), strict=True):
            np.testing.assert_allclose(p * s, own, rtol=1e-5, atol=1e-7)


@pytest.mark.slow
def test_a_trajectory_draws_one_of_the_levels():
    inner = optimizees.create("quadratic", batch_size=4, num_dims=3)
    *levels, mixed = (scaling.RandomScaling(inner, 2.0, level) for level in scaling.LEVELS)
    made = tf.stack([seeds.make_seed(number, "levels") for number in range(90)])
    drawn = [
        [
            all(np.allclose(a, b, rtol=1e-4, atol=1e-5) for a, b in zip(logs, expected))
            for logs in of_levels
        ]
        for expected, *of_levels in zip(*(logs_of_seeds(s, made) for s in (mixed, *levels)))
    ]
    counts = np.sum(drawn, axis=0)
    assert all(sum(same) == 1 for same in drawn)
    # Each third within four standard errors of a binomial distribution.
    assert (np.abs(counts - 30) < 4 * np.sqrt(20)).all()


def test_there_is_no_other_level():
    with pytest.raises(errors.InputError, match="unknown level 'layer' of scaling: coordinate"):
        scaling.RandomScaling(mlp(), level="layer")


def test_minibatches_change_and_are_those_of_the_inner_optimizee():
    inner = mlp()
    optimizee = scaling.RandomScaling(inner)
    for step in (0, 1):
        expected = inner.batch(SEED, tf.constant(step))
        np.testing.assert_array_equal(
            optimizee.batch(SEED, tf.constant(step)).inner.images, expected.images
        )


@pytest.mark.parametrize("bound", [0, -1, float("inf"), float("nan")])
def test_the_bound_must_be_positive(bound):
    with pytest.raises(errors.InputError, match="bound of random scaling must be positive"):
        scaling.RandomScaling(mlp(), bound)
