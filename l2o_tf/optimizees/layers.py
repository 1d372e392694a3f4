"""Layers as pure functions of their parameters, differentiable twice and inside compiled loops."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import tensorflow as tf

from l2o_tf.core import seeds

BATCH_NORM_EPSILON = 1e-3
WEIGHT_STDDEV = 0.01


def conv2d(
    images: tf.Tensor,
    kernel: tf.Tensor,
    stride: int = 1,
    padding: str = "VALID",
    as_product: bool = False,
) -> tf.Tensor:
    """Convolves images.

    Args:
        images: [batch_size, height, width, inputs], static shape.
        kernel: [kernel_height, kernel_width, inputs, outputs].
        stride: of both axes.
        padding: "VALID", or "SAME" with stride 1.
        as_product: whether it has to be a matrix product, which vectorises over kernels.

    Returns:
        [batch_size, new_height, new_width, outputs].
    """
    if padding == "SAME":
        before = [(size - 1) // 2 for size in kernel.shape[:2]]
        after = [size // 2 for size in kernel.shape[:2]]
        images = tf.pad(images, [[0, 0], *zip(before, after), [0, 0]])
    *patch, outputs = kernel.shape
    # XLA's convolutions on CPUs waste most of their time on strides and on few channels; a matrix
    # product has to copy each patch, which only pays for patches that are few or small.
    if as_product or stride > 1 or math.prod(patch) <= 2 * outputs:
        return _conv2d_by_patches(images, kernel, stride)
    return _conv2d_valid(images, kernel)


def _conv2d_by_patches(images: tf.Tensor, kernel: tf.Tensor, stride: int) -> tf.Tensor:
    *patch, outputs = kernel.shape
    rows, columns = (
        [slice(first, size - k + 1 + first, stride) for first in range(k)]
        for k, size in zip(patch, images.shape[1:3])
    )
    patches = tf.concat([images[:, r, c] for r in rows for c in columns], axis=-1)
    flat = tf.reshape(patches, [-1, patches.shape[-1]]) @ tf.reshape(kernel, [-1, outputs])
    return tf.reshape(flat, [*patches.shape[:3], outputs])


def _conv2d_valid(images: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """Convolves with stride 1.

    The gradients are written as convolutions of the same form, because XLA on CPUs runs those of
    `tf.nn.conv2d` inside a loop about twenty times slower.
    """

    @tf.custom_gradient
    def convolve(images, kernel):
        def gradient(upstream):
            return _conv2d_gradients(images, kernel, upstream)

        return tf.nn.conv2d(images, kernel, 1, "VALID"), gradient

    return convolve(images, kernel)


def _conv2d_gradients(images, kernel, upstream):
    margins = [[k - 1, k - 1] for k in kernel.shape[:2]]
    transposed_kernel = tf.transpose(kernel[::-1, ::-1], [0, 1, 3, 2])
    images_gradient = _conv2d_valid(tf.pad(upstream, [[0, 0], *margins, [0, 0]]), transposed_kernel)
    # The batch takes the place of the input channels, which take the place of the batch.
    kernel_gradient = _conv2d_valid(
        tf.transpose(images, [3, 1, 2, 0]), tf.transpose(upstream, [1, 2, 0, 3])
    )
    return images_gradient, tf.transpose(kernel_gradient, [1, 2, 0, 3])


def max_pool(x: tf.Tensor) -> tf.Tensor:
    """Halves height and width: the largest of 2x2 pixels, an odd last row or column left out.

    The first of equal largest pixels has the gradient, as with `tf.nn.max_pool2d`, which XLA on
    CPUs differentiates about ten times slower. Not a reduction: its gradient goes to the pixels
    that equal the maximum, which may be none, as XLA can compute them twice and round differently.
    """
    n, height, width, channels = x.shape
    height, width = height // 2, width // 2
    x = tf.reshape(x[:, : 2 * height, : 2 * width], [n, height, 2, width, 2, channels])
    left, right = tf.unstack(x, axis=4)
    upper, lower = tf.unstack(tf.maximum(left, right), axis=2)
    return tf.maximum(upper, lower)


def batch_norm(x: tf.Tensor) -> tf.Tensor:
    """Normalises x [batch_size, ..., channels] with the statistics of the batch.

    Not by `tf.nn.moments`, which stops the gradient at the mean of the variance: right for first
    derivatives, wrong for second ones.
    """
    axes = list(range(x.shape.rank - 1))
    centered = x - tf.reduce_mean(x, axes)
    variance = tf.reduce_mean(tf.square(centered), axes)
    return centered * tf.math.rsqrt(variance + BATCH_NORM_EPSILON)


class Start(NamedTuple):
    """How a parameter tensor starts: N(mean, stddev^2)."""

    shape: tuple[int, ...]
    stddev: float = 0.0
    mean: float = 0.0

    def draw(self, seed: seeds.Seed) -> tf.Tensor:
        """Draws the tensor [*shape] from `seed`, int32 [2]."""
        if not self.stddev:
            return tf.fill(self.shape, self.mean)
        return self.mean + seeds.normal(seed, self.shape, self.stddev)


class Layer:
    """A convolution or a matrix product with bias, then batch normalisation if asked for.

    Its parameters are the weights, the bias and, if they are optimized, gamma and beta of the
    batch normalisation; otherwise those are 1 and 0.

    Attributes:
        starts: how the parameter tensors start, in order.
        as_product: whether a convolution has to be a matrix product.
    """

    def __init__(
        self,
        weight_shape: Sequence[int],
        stride: int = 1,
        padding: str = "VALID",
        bias_stddev: float = 0.0,
        bias_mean: float = 0.0,
        normalize: bool = False,
        optimize_batch_norm: bool = False,
    ):
        """Describes the layer.

        Args:
            weight_shape: [kernel_height, kernel_width, inputs, outputs] for a convolution,
                [inputs, outputs] for a matrix product; weights start at N(0, 0.01^2).
            stride: of a convolution.
            padding: of a convolution, "VALID" or "SAME".
            bias_stddev: standard deviation of the initial bias.
            bias_mean: mean of the initial bias.
            normalize: whether batch normalisation follows.
            optimize_batch_norm: whether gamma and beta are parameters.
        """
        self.stride, self.padding, self.normalize = stride, padding, normalize
        self.as_product = False
        outputs = (weight_shape[-1],)
        self.starts = [
            Start(tuple(weight_shape), WEIGHT_STDDEV),
            Start(outputs, bias_stddev, bias_mean),
        ]
        if normalize and optimize_batch_norm:
            self.starts += [Start(outputs, mean=1.0), Start(outputs)]

    def __call__(self, params: Sequence[tf.Tensor], x: tf.Tensor) -> tf.Tensor:
        """Maps x [batch_size, ..., inputs] to [batch_size, ..., outputs]."""
        w, b, *gamma_beta = params
        if w.shape.rank == 4:
            x = conv2d(x, w, self.stride, self.padding, self.as_product)
        else:
            x = x @ w
        x += b
        if self.normalize:
            x = batch_norm(x)
        if gamma_beta:
            gamma, beta = gamma_beta
            x = x * gamma + beta
        return x


def starts_of(layers: Sequence[Layer]) -> list[Start]:
    """How the parameters of all layers start, one list."""
    return [start for layer in layers for start in layer.starts]


def draw(starts: Sequence[Start], seed: seeds.Seed) -> list[tf.Tensor]:
    """Draws parameter tensors."""
    return [start.draw(seeds.fold(seed, i)) for i, start in enumerate(starts)]


def split(layers: Sequence[Layer], params: Sequence[tf.Tensor]) -> list[Sequence[tf.Tensor]]:
    """Splits the list of all parameters into one list for each layer."""
    parts, first = [], 0
    for layer in layers:
        last = first + len(layer.starts)
        parts.append(params[first:last])
        first = last
    return parts
