"""Layers against TensorFlow's own, and second derivatives against finite differences."""

import numpy as np
import pytest
import tensorflow as tf

from l2o_tf.optimizees import layers


def random(*shape, seed=0):
    return tf.constant(np.random.default_rng(seed).normal(size=shape))


def derivatives(function, inputs):
    """The value, the gradients of a scalar of it, and the gradients of a scalar of those."""
    with tf.GradientTape() as outer:
        outer.watch(inputs)
        with tf.GradientTape() as inner:
            inner.watch(inputs)
            value = function(*inputs)
            scalar = tf.reduce_sum(tf.sin(value) + tf.square(value))
        grads = inner.gradient(scalar, inputs)
        second_scalar = tf.add_n([tf.reduce_sum(tf.cos(g)) for g in grads])
    return [value, *grads, *outer.gradient(second_scalar, inputs)]


@pytest.mark.parametrize(
    "kernel, stride, padding",
    [
        ((3, 3), 1, "VALID"),
        ((5, 5), 1, "VALID"),
        ((3, 3), 2, "VALID"),
        ((2, 4), 3, "VALID"),
        ((5, 5), 1, "SAME"),
        ((2, 4), 1, "SAME"),
        ((2, 1), 1, "VALID"),
        ((1, 2), 1, "SAME"),
        ((10, 11), 1, "VALID"),
    ],
)
def test_conv2d_and_its_derivatives_are_those_of_tensorflow(kernel, stride, padding):
    inputs = [random(2, 10, 11, 3), random(*kernel, 3, 4, seed=1)]
    actual = derivatives(lambda x, w: layers.conv2d(x, w, stride, padding), inputs)
    expected = derivatives(lambda x, w: tf.nn.conv2d(x, w, stride, padding), inputs)
    for a, e in zip(actual, expected, strict=True):
        np.testing.assert_allclose(a, e, rtol=1e-9, atol=1e-9 * np.abs(e).max())


@pytest.mark.parametrize("size", [(6, 8), (7, 9)])
def test_max_pool_and_its_derivatives_are_those_of_tensorflow(size):
    x = [random(2, *size, 3)]
    actual = derivatives(layers.max_pool, x)
    expected = derivatives(lambda x: tf.nn.max_pool2d(x, 2, 2, "VALID"), x)
    for a, e in zip(actual, expected, strict=True):
        np.testing.assert_allclose(a, e, rtol=1e-12)


def test_the_first_of_equal_largest_pixels_has_the_gradient():
    x = tf.constant([[1.0, 3.0], [3.0, 2.0]])[None, :, :, None]
    for pool in (layers.max_pool, lambda x: tf.nn.max_pool2d(x, 2, 2, "VALID")):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = pool(x)
        np.testing.assert_array_equal(tape.gradient(y, x)[0, :, :, 0], [[0, 1], [0, 0]])


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("dtype", [tf.float32, pytest.param(tf.float64, marks=pytest.mark.slow)])
def test_xla_loses_no_gradient_between_batch_norm_and_the_next_convolution(dtype, stride):
    def gradients(*inputs):
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            x = tf.nn.relu(layers.batch_norm(inputs[0]))
            y = layers.conv2d(layers.max_pool(x), inputs[1], stride)
            scalar = tf.reduce_sum(tf.sin(y))
        return tape.gradient(scalar, inputs)

    inputs = [tf.cast(x, dtype) for x in (random(4, 15, 15, 16), random(5, 5, 16, 32, seed=1))]
    expected = gradients(*inputs)
    tolerance = 1e-12 if dtype == tf.float64 else 1e-4
    for actual, e in zip(tf.function(gradients, jit_compile=True)(*inputs), expected):
        np.testing.assert_allclose(actual, e, rtol=0, atol=tolerance * np.abs(e).max())


def test_batch_norm_has_the_moments_of_the_batch():
    x = random(6, 4, 5, 3) * 3 + 7
    y = layers.batch_norm(x).numpy().reshape(-1, 3)
    variance = x.numpy().reshape(-1, 3).var(axis=0)
    np.testing.assert_allclose(y.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(y.var(axis=0), variance / (variance + 1e-3), rtol=1e-12)


def test_batch_norm_has_right_second_derivatives():
    x, direction, cotangent = random(5, 3), random(5, 3, seed=1), random(5, 3, seed=2)

    def gradient(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = tf.reduce_sum(tf.sin(layers.batch_norm(x)) * cotangent)
        return tape.gradient(y, x)

    with tf.GradientTape() as tape:
        tape.watch(x)
        slope = tf.reduce_sum(gradient(x) * direction)
    h = 1e-5
    expected = (gradient(x + h * direction) - gradient(x - h * direction)) / (2 * h)
    np.testing.assert_allclose(tape.gradient(slope, x), expected, rtol=1e-6, atol=1e-8)


def test_a_layer_normalizes_then_scales_and_shifts():
    layer = layers.Layer((4, 3), normalize=True, optimize_batch_norm=True, bias_mean=2.0)
    assert [s.shape for s in layer.starts] == [(4, 3), (3,), (3,), (3,)]
    assert [s.mean for s in layer.starts] == [0, 2, 1, 0]
    x, params = random(6, 4), [random(4, 3), random(3), random(3, seed=1), random(3, seed=2)]
    w, b, gamma, beta = (p.numpy() for p in params)
    y = x.numpy() @ w + b
    expected = (y - y.mean(0)) / np.sqrt(y.var(0) + 1e-3) * gamma + beta
    np.testing.assert_allclose(layer(params, x), expected, rtol=1e-12)
