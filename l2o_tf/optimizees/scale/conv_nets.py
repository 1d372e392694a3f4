"""Convolutional classifiers of L2O-Scale; parameters start at N(0, 0.01^2)."""

import math
from collections.abc import Sequence

import tensorflow as tf

from l2o_tf.core import seeds
from l2o_tf.optimizees.scale import classifiers, datasets, problem

_BATCH_NORM_EPSILON = 1e-3


class ConvNetOrig(classifiers.SoftmaxClassifier):
    """Convolutions of stride 1 with SAME padding and no bias, then a linear layer.

    The parameters are one filter [height, width, inputs, outputs] a layer, then w and b of the
    linear layer. Source: Wichrowska et al. 2017, legacy `ConvNet` before the paper's changes.
    """

    def __init__(
        self,
        examples: datasets.Examples,
        batch_size: int,
        num_classes: int,
        filters: Sequence[tuple[int, int, int]],
        activation: classifiers.Activation = tf.nn.relu,
    ):
        """Builds the problem.

        Args:
            examples: images [num_examples, height, width, channels] and labels [num_examples].
            batch_size: the number of examples in a batch.
            num_classes: the number of classes.
            filters: (height, width, outputs) of each convolution.
            activation: of the convolutions.
        """
        height, width, channels = examples.data.shape[1:]
        shapes: list[problem.Shape] = []
        for filter_height, filter_width, outputs in filters:
            shapes.append((filter_height, filter_width, channels, outputs))
            channels = outputs
        shapes += [(height * width * channels, num_classes), (num_classes,)]
        super().__init__(shapes, examples, batch_size, num_classes)
        self.activation = activation

    def initial(self, seed, shape):
        return seeds.normal(seed, shape, 0.01)

    def logits(self, params, data):
        outputs = data
        for kernel in params[:-2]:
            outputs = self.activation(tf.nn.conv2d(outputs, kernel, 1, "SAME"))
        return _linear(outputs, params[-2], params[-1])


class ConvNet(classifiers.SoftmaxClassifier):
    """The convolutional network of the paper as the L2O-Scale code has it.

    Two blocks of convolution (3x3x16, then 5x5x32, VALID), batch norm, rectifier and 2x2 max
    pooling, then a linear layer. Unlike in the L2O-DM code the batch norm uses its untouched
    moving statistics, mean 0 and variance 1, so that it only divides by sqrt(1.001). Parameters
    are kernel and bias of each layer.
    """

    def __init__(
        self,
        examples: datasets.Examples,
        batch_size: int,
        num_classes: int,
        stride: int,
        relu_logits: bool = True,
    ):
        """Builds the problem.

        Args:
            examples: images [num_examples, height, width, channels] and labels [num_examples].
            batch_size: the number of examples in a batch.
            num_classes: the number of classes.
            stride: of the convolutions; 1 for MNIST and 2 for CIFAR-10 in the paper.
            relu_logits: whether the logits pass a rectifier, as in the legacy code.
        """
        *size, channels = examples.data.shape[1:]
        for kernel_size in (3, 5):
            size = [((length - kernel_size) // stride + 1) // 2 for length in size]
        shapes = [(3, 3, channels, 16), (16,), (5, 5, 16, 32), (32,)]
        shapes += [(math.prod(size) * 32, num_classes), (num_classes,)]
        super().__init__(shapes, examples, batch_size, num_classes)
        self.stride, self.relu_logits = stride, relu_logits

    def initial(self, seed, shape):
        return seeds.normal(seed, shape, 0.01)

    def logits(self, params, data):
        outputs = data
        for kernel, bias in (params[:2], params[2:4]):
            outputs = tf.nn.conv2d(outputs, kernel, self.stride, "VALID") + bias
            outputs = tf.nn.relu(outputs / (1 + _BATCH_NORM_EPSILON) ** 0.5)
            outputs = tf.nn.max_pool2d(outputs, 2, 2, "VALID")
        logits = _linear(outputs, params[4], params[5])
        return tf.nn.relu(logits) if self.relu_logits else logits


def _linear(images: tf.Tensor, w: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """Flattens images [batch_size, ...] and maps them to [batch_size, num_outputs]."""
    return tf.reshape(images, [-1, w.shape[0]]) @ w + b
