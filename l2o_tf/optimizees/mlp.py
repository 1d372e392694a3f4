"""The multi-layer perceptrons of the paper: MLP-orig, MLP-ReLU, MLP-deeper."""

import math
from collections.abc import Callable

import tensorflow as tf

from l2o_tf.data import datasets
from l2o_tf.optimizees import base, classifier, layers

INITIAL_STDDEV = 0.01


def shapes(layer_sizes: tuple[int, ...]) -> list[list[int]]:
    """The shapes of w_0, b_0, w_1, b_1, ..."""
    pairs = zip(layer_sizes, layer_sizes[1:])
    return [shape for inputs, outputs in pairs for shape in ([inputs, outputs], [outputs])]


class MLP(classifier.ImageClassifier):
    """Fully connected layers; parameters w_0, b_0, w_1, b_1, ... all start at N(0, 0.01^2).

    Source: paper section 5, "Optimizee Settings"; legacy `problems.py`, mnist.

    Attributes:
        starts: how the parameter tensors start, in order.
    """

    def __init__(
        self,
        dataset: datasets.Dataset,
        hidden: tuple[int, ...] = (20,),
        activation: Callable[[tf.Tensor], tf.Tensor] = tf.sigmoid,
        batch_size: int = classifier.BATCH_SIZE,
    ):
        super().__init__(dataset, batch_size)
        self.activation = activation
        self.layer_sizes = (math.prod(dataset.image_shape), *hidden, dataset.num_classes)
        self.starts = [
            layers.Start(tuple(shape), INITIAL_STDDEV) for shape in shapes(self.layer_sizes)
        ]

    def init(self, seed):
        return layers.draw(self.starts, seed)

    def logits(self, params, images):
        outputs = tf.reshape(images, [self.batch_size, self.layer_sizes[0]])
        outputs = tf.cast(outputs, params[0].dtype)
        for w, b in zip(params[:-2:2], params[1:-2:2]):
            outputs = self.activation(outputs @ w + b)
        return outputs @ params[-2] + params[-1]


@base.register("mlp")
def mlp(dataset: datasets.Dataset, **kwargs) -> MLP:
    """MLP-orig: one hidden layer of 20 sigmoid units."""
    return MLP(dataset, (20,), tf.sigmoid, **kwargs)


@base.register("mlp_relu")
def mlp_relu(dataset: datasets.Dataset, **kwargs) -> MLP:
    """MLP-ReLU: one hidden layer of 20 rectified linear units."""
    return MLP(dataset, (20,), tf.nn.relu, **kwargs)


@base.register("mlp_deeper")
def mlp_deeper(dataset: datasets.Dataset, **kwargs) -> MLP:
    """MLP-deeper: two hidden layers of 20 sigmoid units."""
    return MLP(dataset, (20, 20), tf.sigmoid, **kwargs)
