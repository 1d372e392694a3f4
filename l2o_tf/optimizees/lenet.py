"""LeNet on 32x32 colour images."""

import tensorflow as tf

from l2o_tf.data import datasets
from l2o_tf.optimizees import base, conv, layers


@base.register("lenet", dataset="cifar10", options=conv.OPTIONS)
def lenet(dataset: datasets.Dataset, **kwargs) -> conv.ConvNet:
    """Convolutions 5x5x6 and 5x5x16, hidden layers of 120 and 84, sigmoid; 62,006 coordinates.

    Batch norm before each sigmoid; weights and biases start at N(0, 0.01^2). Source: paper
    section 5, "Optimizee Settings"; legacy `problems.py`, LeNet, which its own Sonnet refuses.
    """
    return conv.ConvNet(
        dataset,
        conv.CIFAR_SHAPE,
        (5, 5),
        (6, 16),
        hidden=(120, 84),
        activation=tf.sigmoid,
        bias_stddev=layers.WEIGHT_STDDEV,
        **kwargs,
    )
