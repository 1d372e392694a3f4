"""What must hold for every registered optimizee."""

import numpy as np
import pytest
import tensorflow as tf

from l2o_tf import optimizees
from l2o_tf.core import plugins, seeds
from l2o_tf.training import unrolls
from tests import small_images

plugins.load(plugins.requested(()))  # Those of L2O_TF_PLUGINS.

FIXED_START = {"simple", "simple_multi"}
WITHOUT_DATA = FIXED_START | {"quadratic", "square_cos"}


# A large one, and siblings of others that differ in a size or a layer.
SLOW = {"vgg16", "mlp_relu", "mlp_deeper", "conv_cifar", "cifar_multi"}


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name
        for name in optimizees.names()
    ],
)
def optimizee(request):
    options = {} if request.param in FIXED_START else {"batch_size": 3}
    return request.param, optimizees.create(request.param, small_images.dataset(), **options)


@pytest.fixture(scope="module")
def params(optimizee):
    return optimizee[1].init(make_seed(1))


def make_seed(number):
    return seeds.make_seed(number, "test")


def values(nest):
    return [t.numpy() for t in tf.nest.flatten(nest)]


def equal(nest, other):
    return all(np.array_equal(a, b) for a, b in zip(values(nest), values(other), strict=True))


def test_init_is_a_function_of_the_seed(optimizee, params):
    name, optimizee = optimizee
    assert equal(params, optimizee.init(make_seed(1)))
    compiled = tf.function(optimizee.init, jit_compile=True)
    for p, again in zip(params, compiled(make_seed(1)), strict=True):
        # Rounding of a probability near 0 or 1 moves a normal quantile by 1e-5 of it.
        np.testing.assert_allclose(again, p, rtol=0, atol=1e-6)
    assert equal(params, optimizee.init(make_seed(2))) == (name in FIXED_START)
    drawn = [p for p in values(params) if p.size > 1 and p.std() > 0]
    assert len({tuple(p.flat[:2]) for p in drawn}) == len(drawn)


def test_batches_are_functions_of_seed_and_step(optimizee):
    name, optimizee = optimizee
    batch = optimizee.batch(make_seed(1), tf.constant(5))
    compiled = tf.function(optimizee.batch, jit_compile=True)
    assert equal(batch, compiled(make_seed(1), tf.constant(5)))
    fixed_along_a_trajectory = equal(batch, optimizee.batch(make_seed(1), tf.constant(6)))
    assert fixed_along_a_trajectory == (name in WITHOUT_DATA)
    another = equal(batch, optimizee.batch(make_seed(2), tf.constant(5)))
    assert another == (name in FIXED_START)


def test_loss_and_gradients_are_finite(optimizee, params):
    _, optimizee = optimizee
    batch = optimizee.batch(make_seed(1), tf.constant(0))
    loss, grads = tf.function(unrolls.loss_and_gradients)(optimizee, params, batch)
    assert loss.shape == [] and np.isfinite(loss)
    assert [g.shape for g in grads] == [p.shape for p in params]
    assert all(np.all(np.isfinite(g)) for g in grads)
    assert any(np.any(g) for g in grads)
