"""Convolutional optimizees against Keras, in float64, and under XLA."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from l2o_tf import optimizees, rules
from l2o_tf.core import coordinates, errors, seeds
from l2o_tf.optimizees import conv
from l2o_tf.training import meta_loss, unrolls
from l2o_tf.training.segment import Segment
from tests import legacy_mnist, small_images

BATCH_SIZE = 4
SEED = seeds.make_seed(3, "test")


def create(name, **kwargs):
    return optimizees.create(name, small_images.dataset(), batch_size=BATCH_SIZE, **kwargs)


@pytest.mark.parametrize(
    "name, plain, with_batch_norm",
    [
        ("conv_mnist", 18122, 18122 + 2 * (16 + 32)),
        ("conv_cifar", 13610, 13610 + 2 * (16 + 32)),
        ("nas_cifar", 7578, 7578 + 2 * 4 * 16),
        ("lenet", 62006, 62006 + 2 * (6 + 16 + 120 + 84)),
        ("cifar_multi", 22602, 22602 + 2 * (3 * 16 + 32)),
    ],
)
def test_numbers_of_coordinates(name, plain, with_batch_norm):
    assert coordinates.count(create(name).init(SEED)) == plain
    params = create(name, optimize_batch_norm=True).init(SEED)
    assert coordinates.count(params) == with_batch_norm


@pytest.fixture(scope="module")
def vgg16():
    """VGG16 and parameters of it."""
    optimizee = create("vgg16")
    return optimizee, optimizee.init(SEED)


def test_vgg16_has_thirteen_convolutions_and_one_matrix(vgg16):
    _, params = vgg16
    assert coordinates.count(params) == 14_719_818
    assert [p.shape.rank for p in params[::2]] == [4] * 13 + [2]


@pytest.mark.parametrize("name", ["conv_mnist", "lenet"])
def test_initial_parameters(name):
    params = create(name, optimize_batch_norm=True).init(SEED)
    kernel, bias, gamma, beta = params[:4]
    np.testing.assert_allclose(np.std(params[4]), 0.01, rtol=0.1)
    assert np.any(bias) == (name == "lenet")
    assert np.all(gamma == 1) and not np.any(beta)
    assert np.abs(kernel).max() < 0.06


class KerasNet:
    """A network of Keras layers, and its variables in the order in which they were made."""

    def __init__(self, image_shape):
        self.inputs = keras.Input(image_shape, dtype="float64")
        self.variables = []

    def apply(self, layer_class, x, *args, training=None, **kwargs):
        layer = layer_class(*args, dtype="float64", **kwargs)
        y = layer(x) if training is None else layer(x, training=training)
        self.variables += layer.trainable_variables
        return y

    def unit(self, x, *args, normalize=True, activation="relu", kind=keras.layers.Conv2D):
        x = self.apply(kind, x, *args)
        if normalize:
            x = self.apply(keras.layers.BatchNormalization, x, epsilon=1e-3, training=True)
        return self.apply(keras.layers.Activation, x, activation)

    def dense(self, x, *args, **kwargs):
        return self.unit(x, *args, kind=keras.layers.Dense, **kwargs)

    def finish(self, x):
        self.model = keras.Model(self.inputs, self.apply(keras.layers.Dense, x, 10))
        return self


def convolutions_and_mlp(shape, convolutions, hidden=(), activation="relu"):
    net = KerasNet(shape)
    x = net.inputs
    for options in convolutions:
        x = net.unit(x, *options, activation=activation)
        x = net.apply(keras.layers.MaxPooling2D, x)
    x = net.apply(keras.layers.Flatten, x)
    for width in hidden:
        x = net.dense(x, width, activation=activation)
    return net.finish(x)


def cell():
    net = KerasNet((32, 32, 3))
    options = (16, 3, 1, "same")
    node0 = net.unit(net.inputs, *options)
    node0_to_2 = net.unit(node0, *options)
    node1 = net.unit(node0, *options)
    node1_to_3 = net.unit(node1, *options)
    average = net.apply(keras.layers.AveragePooling2D, node1, 3, 1, "same")
    node3 = net.apply(keras.layers.Add, [average, node0_to_2, node1_to_3, node0])
    return net.finish(net.apply(keras.layers.GlobalAveragePooling2D, node3))


KERAS_NETS = {
    "conv_mnist": lambda: convolutions_and_mlp((28, 28, 1), [(16, 3), (32, 5)]),
    "conv_cifar": lambda: convolutions_and_mlp((32, 32, 3), [(16, 3, 2), (32, 5, 2)]),
    "lenet": lambda: convolutions_and_mlp((32, 32, 3), [(6, 5), (16, 5)], (120, 84), "sigmoid"),
    "cifar_multi": lambda: convolutions_and_mlp((32, 32, 3), [(16, 5, 1, "same")] * 3, (32,)),
    "nas_cifar": cell,
}


def with_keras(net, params, batch, relu_logits):
    """The loss and the gradients with Keras's layers."""
    for variable, value in zip(net.variables, params, strict=True):
        variable.assign(value)
    with tf.GradientTape() as tape:
        logits = net.model(tf.cast(batch.images, tf.float64))
        logits = tf.nn.relu(logits) if relu_logits else logits
        loss = tf.reduce_mean(
            keras.losses.sparse_categorical_crossentropy(batch.labels, logits, from_logits=True)
        )
    return loss, tape.gradient(loss, [v.value for v in net.variables])


@pytest.mark.parametrize("relu_logits", [True, False])
@pytest.mark.parametrize("name", KERAS_NETS)
def test_loss_and_gradients_are_those_of_keras(name, relu_logits):
    optimizee = create(name, optimize_batch_norm=True, relu_logits=relu_logits)
    rng = np.random.default_rng(1)
    params = [
        tf.cast(p, tf.float64) + rng.normal(scale=0.1, size=p.shape) for p in optimizee.init(SEED)
    ]
    batch = optimizee.batch(SEED, tf.constant(0))
    loss, grads = unrolls.loss_and_gradients(optimizee, params, batch)
    expected_loss, expected = with_keras(KERAS_NETS[name](), params, batch, relu_logits)
    np.testing.assert_allclose(loss, expected_loss, rtol=1e-10)
    for actual, e in zip(grads, expected, strict=True):
        np.testing.assert_allclose(actual, e, rtol=1e-7, atol=1e-9)


def test_constant_gamma_and_beta_are_one_and_zero():
    free, fixed = create("lenet", optimize_batch_norm=True), create("lenet")
    params = free.init(SEED)
    kept = [p for layer in np.split(np.arange(16), 4) for p in layer[:2]] + [16, 17]
    batch = free.batch(SEED, tf.constant(0))
    expected = free.loss(params, batch)
    np.testing.assert_allclose(fixed.loss([params[i] for i in kept], batch), expected, rtol=1e-6)


@pytest.mark.parametrize(
    "name, rectified",
    [("conv_mnist", True), ("conv_cifar", True), ("nas_cifar", True), ("lenet", False)],
)
def test_rectified_logits_are_the_default_of_the_legacy_code(name, rectified):
    optimizee, linear = create(name), create(name, relu_logits=False)
    params = optimizee.init(SEED)
    images = optimizee.batch(SEED, tf.constant(0)).images
    expected = linear.logits(params, images).numpy()
    assert expected.min() < 0
    expected = np.maximum(expected, 0) if rectified else expected
    np.testing.assert_allclose(optimizee.logits(params, images), expected, rtol=1e-6)


def test_vgg16_takes_the_cross_entropy_of_probabilities(vgg16):
    optimizee, params = vgg16
    x = images = optimizee.batch(SEED, tf.constant(0)).images
    for i in range(13):
        w, b = params[2 * i : 2 * i + 2]
        x = tf.nn.relu(tf.nn.conv2d(x, w, 1, "SAME") + b)
        if i in (1, 3, 6, 9, 12):
            x = tf.nn.max_pool2d(x, 2, 2, "SAME")
    expected = tf.nn.softmax(tf.reshape(x, [BATCH_SIZE, 512]) @ params[-2] + params[-1])
    np.testing.assert_allclose(optimizee.logits(params, images), expected, rtol=1e-5)


def test_gradients_on_real_digits_whose_backgrounds_are_equal():
    optimizee = optimizees.create("conv_mnist", legacy_mnist.train(), optimize_batch_norm=True)
    params = [tf.cast(p, tf.float64) for p in optimizee.init(SEED)]
    batch = optimizee.batch(SEED, tf.constant(0))
    loss, grads = unrolls.loss_and_gradients(optimizee, params, batch)
    expected_loss, expected = with_keras(KERAS_NETS["conv_mnist"](), params, batch, True)
    np.testing.assert_allclose(loss, expected_loss, rtol=1e-10)
    for actual, e in zip(grads, expected, strict=True):
        # Biases before batch norm have no gradient but rounding errors of 1e-13.
        np.testing.assert_allclose(actual, e, rtol=1e-7, atol=1e-12)


def in_float64(tensors):
    return tf.nest.map_structure(lambda t: tf.cast(t, tf.float64), tensors)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["conv_mnist", "conv_cifar", "nas_cifar", "lenet"])
def test_xla_computes_the_same_unroll(name):
    optimizee, rule = create(name), rules.create("momentum", learning_rate=0.1)
    params = in_float64(optimizee.init(SEED))
    batch = optimizee.batch(SEED, tf.constant(0))

    def run(params, batch):
        start = unrolls.Trajectory(params, rule.init(params))
        result = unrolls.unroll(rule, optimizee, start, lambda t: batch, 3)
        return result.losses, coordinates.flatten(result.end.params)

    losses, end = tf.function(run)(params, batch)
    xla_losses, xla_end = tf.function(run, jit_compile=True)(params, batch)
    assert losses[2] < losses[0]
    np.testing.assert_allclose(xla_losses, losses, rtol=1e-10)
    np.testing.assert_allclose(xla_end, end, rtol=0, atol=1e-10)


def tiny_net(kernels, **kwargs):
    """All kinds of layers, few coordinates."""
    shape = (11, 12, 2)
    data = small_images.dataset(shape, num_classes=3)
    channels = range(3, 3 + len(kernels))
    return conv.ConvNet(data, shape, kernels, channels, batch_size=5, **kwargs)


@pytest.mark.parametrize("options", [{"stride": 1, "padding": "SAME"}, {"stride": 2}])
@pytest.mark.parametrize("activation", [tf.sigmoid, tf.nn.relu])
def test_derivatives_are_finite_differences(activation, options):
    optimizee = tiny_net(
        (3, 2), hidden=(5,), activation=activation, optimize_batch_norm=True, **options
    )
    rng = np.random.default_rng(0)
    shapes = [p.shape for p in optimizee.init(SEED)]
    params = [tf.constant(rng.normal(size=s)) for s in shapes]
    direction = [tf.constant(rng.normal(size=s)) for s in shapes]
    batch = optimizee.batch(SEED, tf.constant(0))

    def moved(h):
        return [p + h * d for p, d in zip(params, direction)]

    def slope(params):
        grads = unrolls.loss_and_gradients(optimizee, params, batch)[1]
        return tf.add_n([tf.reduce_sum(g * d) for g, d in zip(grads, direction)])

    h = 1e-6
    difference = optimizee.loss(moved(h), batch) - optimizee.loss(moved(-h), batch)
    np.testing.assert_allclose(slope(params), difference / (2 * h), rtol=1e-5)
    with tf.GradientTape() as tape:
        tape.watch(params)
        value = slope(params)
    product = tape.gradient(value, params)
    above = unrolls.loss_and_gradients(optimizee, moved(h), batch)[1]
    below = unrolls.loss_and_gradients(optimizee, moved(-h), batch)[1]
    for actual, a, b in zip(product, above, below, strict=True):
        np.testing.assert_allclose(actual, (a - b) / (2 * h), rtol=1e-4, atol=1e-7)


@pytest.mark.slow
def test_meta_gradients_with_second_derivatives_under_xla():
    optimizee = tiny_net((3,))
    rule = rules.create("rnnprop", units=(3,), num_projected=2)
    params = in_float64(optimizee.init(SEED))
    batch = optimizee.batch(SEED, tf.constant(0))

    def run(params, batch, weights):
        start = unrolls.Trajectory(params, rule.init(params))
        segment = Segment(rule, optimizee, lambda t: batch, 2)
        return meta_loss.meta_gradient(segment, start, weights, second_derivatives=True)

    weights = in_float64(rule.weights())
    expected = tf.function(run)(params, batch, weights)
    actual = tf.function(run, jit_compile=True)(params, batch, weights)
    np.testing.assert_allclose(actual.losses, expected.losses, rtol=1e-12)
    for name, e in expected.gradient.items():
        assert np.any(e), name
        np.testing.assert_allclose(actual.gradient[name], e, rtol=1e-8, err_msg=name)


def test_images_of_the_right_shape_are_left_alone():
    data = small_images.dataset((28, 28, 1))
    assert conv.fit_images(data, (28, 28, 1)) is data


def test_digits_are_enlarged_bilinearly():
    data = small_images.dataset((8, 8, 1))
    data = dataclasses.replace(data, images=data.images % 17, scale=1 / 16)
    resized = conv.fit_images(data, (28, 28, 1))
    assert (resized.images.dtype, resized.scale) == (np.uint8, 1 / 255)

    def interpolation(size, new_size):
        position = np.clip((np.arange(new_size) + 0.5) * size / new_size - 0.5, 0, size - 1)
        return np.maximum(0, 1 - np.abs(position[:, None] - np.arange(size)))

    w = interpolation(8, 28)
    expected = 255 / 16 * np.einsum("yi,xj,nij->nyx", w, w, data.images[..., 0])
    np.testing.assert_allclose(resized.images[..., 0], expected, rtol=0, atol=0.501)


def test_grey_becomes_colour_and_colour_grey():
    grey = small_images.dataset((32, 32, 1))
    colour = conv.fit_images(grey, (32, 32, 3))
    assert np.array_equal(colour.images, np.repeat(grey.images, 3, axis=-1))
    assert np.array_equal(conv.fit_images(colour, (32, 32, 1)).images, grey.images)


def test_channels_that_do_not_match_are_an_error():
    with pytest.raises(errors.InputError, match="2 channels.*needs 3"):
        optimizees.create("lenet", small_images.dataset((32, 32, 2)))


@pytest.mark.parametrize("name", ["conv_mnist", "nas_cifar"])
def test_the_vectorizable_form_maps_over_parameters(name):
    optimizee = create(name)
    seeds_of_lanes = [seeds.make_seed(s, "test") for s in range(2)]
    params = [optimizee.init(seed) for seed in seeds_of_lanes]
    batch = optimizee.batch(SEED, tf.constant(0))
    mapped = tf.vectorized_map(
        lambda p: unrolls.loss_and_gradients(optimizee.vectorizable(), p, batch),
        [tf.stack(tensors) for tensors in zip(*params)],
        fallback_to_while_loop=False,
    )
    for k, one in enumerate(params):
        loss, grads = unrolls.loss_and_gradients(optimizee, one, batch)
        np.testing.assert_allclose(mapped[0][k], loss, rtol=1e-5)
        for found, expected in zip(mapped[1], grads, strict=True):
            np.testing.assert_allclose(found[k], expected, rtol=1e-3, atol=1e-5)
