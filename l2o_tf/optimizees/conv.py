"""Convolutional classifiers: Conv-MNIST, Conv-CIFAR, cifar-multi, and what all of them share."""

import copy
import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from l2o_tf.core import errors
from l2o_tf.data import datasets
from l2o_tf.optimizees import base, classifier, layers

MNIST_SHAPE = (28, 28, 1)
CIFAR_SHAPE = (32, 32, 3)

# What the legacy code's variants of these networks differ in.
OPTIONS = {"relu_logits": bool, "optimize_batch_norm": bool}

_RESIZE_CHUNK = 2048


def fit_images(dataset: datasets.Dataset, shape: tuple[int, int, int]) -> datasets.Dataset:
    """Returns the data set with images [num_examples, *shape], itself if they are already so.

    Bilinear (a smoothing filter where the images shrink); one channel becomes several equal ones,
    several become their mean. The new pixels are rounded to 1/255 and stored as uint8.

    Raises:
        InputError: if the numbers of channels cannot be matched.
    """
    if dataset.image_shape == shape:
        return dataset
    channels = dataset.image_shape[-1]
    if channels != shape[-1] and 1 not in (channels, shape[-1]):
        raise errors.InputError(
            f"images of {dataset.name} have {channels} channels, this optimizee needs"
            f" {shape[-1]}; use images with 1 or {shape[-1]}"
        )
    # Not in the graph that may be under construction: the images are data, not a computation.
    with tf.init_scope():
        chunks = [
            _resize(dataset.images[i : i + _RESIZE_CHUNK], dataset.scale, shape)
            for i in range(0, len(dataset.images), _RESIZE_CHUNK)
        ]
    return dataclasses.replace(dataset, images=np.concatenate(chunks), scale=1 / 255)


def _resize(images, scale, shape):
    images = tf.image.resize(tf.cast(images, tf.float32) * scale, shape[:2], antialias=True)
    if images.shape[-1] > shape[-1]:
        images = tf.reduce_mean(images, axis=-1, keepdims=True)
    images = tf.broadcast_to(images, [*images.shape[:3], shape[-1]])
    return tf.cast(tf.round(tf.clip_by_value(images, 0, 1) * 255), tf.uint8).numpy()


class LayeredClassifier(classifier.ImageClassifier):
    """A classifier made of `layers.Layer`s; subclasses say how they are connected.

    Attributes:
        starts: how the parameter tensors start, in order.
    """

    def __init__(
        self,
        dataset: datasets.Dataset,
        image_shape: tuple[int, int, int],
        network: Sequence[layers.Layer],
        relu_logits: bool = False,
        batch_size: int = classifier.BATCH_SIZE,
    ):
        """Keeps the data.

        Args:
            dataset: the images, which are resized once if they have another shape.
            image_shape: [height, width, channels] of the network's input.
            network: the layers; the last one gives the logits.
            relu_logits: whether a rectified linear unit follows the last layer.
            batch_size: the number of images in a minibatch.

        Raises:
            InputError: if the images cannot be resized to `image_shape`.
        """
        super().__init__(fit_images(dataset, image_shape), batch_size)
        self.network = list(network)
        self.starts = layers.starts_of(self.network)
        self.relu_logits = relu_logits

    def vectorizable(self) -> "LayeredClassifier":
        """The same classifier, but `tf.vectorized_map` maps its loss over parameters.

        Its convolutions are matrix products of patches, of which a map makes batched ones.
        """
        other = copy.copy(self)
        other.network = [copy.copy(layer) for layer in self.network]
        for layer in other.network:
            layer.as_product = True
        return other

    def init(self, seed):
        return layers.draw(self.starts, seed)

    def logits(self, params, images):
        parts = layers.split(self.network, params)
        logits = self.connect(parts, tf.cast(images, params[0].dtype))
        return tf.nn.relu(logits) if self.relu_logits else logits

    def connect(self, params: Sequence[base.Params], images: tf.Tensor) -> tf.Tensor:
        """Maps images [batch_size, height, width, channels] to [batch_size, num_classes].

        Args:
            params: the parameters of each layer.
            images: in the dtype of the parameters.
        """
        raise NotImplementedError


class ConvNet(LayeredClassifier):
    """Convolutions, each with batch norm, activation and 2x2 max pool, then an MLP.

    Hidden layers of the MLP have batch norm and the same activation. Batch norm always uses the
    statistics of the batch.
    """

    def __init__(
        self,
        dataset: datasets.Dataset,
        image_shape: tuple[int, int, int],
        kernels: Sequence[int],
        channels: Sequence[int],
        hidden: Sequence[int] = (),
        stride: int = 1,
        padding: str = "VALID",
        activation: Callable[[tf.Tensor], tf.Tensor] = tf.nn.relu,
        bias_stddev: float = 0.0,
        optimize_batch_norm: bool = False,
        relu_logits: bool = False,
        batch_size: int = classifier.BATCH_SIZE,
    ):
        """Creates the layers.

        Args:
            dataset: as in `LayeredClassifier`, as are `image_shape`, `relu_logits`, `batch_size`.
            image_shape: the input's shape.
            kernels: sizes of the square kernels.
            channels: output channels of the convolutions.
            hidden: units of the hidden fully connected layers.
            stride: of all convolutions.
            padding: of all convolutions, "VALID" or "SAME" (with stride 1).
            activation: of all layers but the last.
            bias_stddev: standard deviation of the initial biases, 0 for zeros.
            optimize_batch_norm: whether gamma and beta are coordinates.
            relu_logits: whether a rectified linear unit follows the last layer.
            batch_size: the number of images in a minibatch.
        """
        common: dict[str, Any] = {
            "bias_stddev": bias_stddev,
            "optimize_batch_norm": optimize_batch_norm,
        }
        network = []
        height, width, inputs = image_shape
        for kernel, outputs in zip(kernels, channels, strict=True):
            shape = (kernel, kernel, inputs, outputs)
            network.append(layers.Layer(shape, stride, padding, normalize=True, **common))
            lost = kernel - 1 if padding == "VALID" else 0
            height, width = (((n - lost - 1) // stride + 1) // 2 for n in (height, width))
            inputs = outputs
        sizes = [height * width * inputs, *hidden, dataset.num_classes]
        for i, units in enumerate(zip(sizes, sizes[1:])):
            network.append(layers.Layer(units, normalize=i < len(hidden), **common))
        super().__init__(dataset, image_shape, network, relu_logits, batch_size)
        self.activation = activation
        self.num_convolutions = len(kernels)

    def connect(self, params, images):
        steps = list(zip(self.network, params))
        x = images
        for layer, p in steps[: self.num_convolutions]:
            x = layers.max_pool(self.activation(layer(p, x)))
        x = tf.reshape(x, [x.shape[0], -1])
        for layer, p in steps[self.num_convolutions : -1]:
            x = self.activation(layer(p, x))
        last, p = steps[-1]
        return last(p, x)


@base.register("conv_mnist", options=OPTIONS)
def conv_mnist(dataset: datasets.Dataset, relu_logits: bool = True, **kwargs) -> ConvNet:
    """Conv-MNIST: convolutions 3x3x16 and 5x5x32 on 28x28 grey images; 18,122 coordinates.

    The published curves have the rectified logits. Source: paper section 5, "Optimizee
    Settings"; legacy `problems.py`, mnist_conv.
    """
    return ConvNet(dataset, MNIST_SHAPE, (3, 5), (16, 32), relu_logits=relu_logits, **kwargs)


@base.register("conv_cifar", dataset="cifar10", options=OPTIONS)
def conv_cifar(dataset: datasets.Dataset, relu_logits: bool = True, **kwargs) -> ConvNet:
    """Conv-CIFAR: as Conv-MNIST with stride 2 on 32x32 colour images; 13,610 coordinates.

    Source: paper section 5, "Optimizee Settings"; legacy `problems.py`, cifar10.
    """
    return ConvNet(
        dataset, CIFAR_SHAPE, (3, 5), (16, 32), stride=2, relu_logits=relu_logits, **kwargs
    )


@base.register("cifar_multi", dataset="cifar10", options=OPTIONS)
class CifarMulti(ConvNet):
    """Three convolutions 5x5x16 and a hidden layer of 32, for two rules.

    Kernels belong to the rule "conv", all the rest to "fc" (see `rules.assigned`). Biases start
    at N(0, 0.01^2). Source: legacy `util.py`, cifar-multi, whose network is that of
    learning-to-learn's cifar10 (the legacy `problems.py` cannot build it any more).

    Attributes:
        assignment: the name of the rule of each parameter tensor.
    """

    def __init__(self, dataset: datasets.Dataset, **kwargs):
        super().__init__(
            dataset,
            CIFAR_SHAPE,
            (5, 5, 5),
            (16, 16, 16),
            hidden=(32,),
            padding="SAME",
            bias_stddev=layers.WEIGHT_STDDEV,
            **kwargs,
        )
        self.assignment = tuple("conv" if len(s.shape) == 4 else "fc" for s in self.starts)
