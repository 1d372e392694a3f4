"""VGG16 on 32x32 colour images."""

import tensorflow as tf

from l2o_tf.data import datasets
from l2o_tf.optimizees import base, classifier, conv, layers

# Output channels of the 3x3 convolutions of each block; a 2x2 max pool ends a block.
BLOCKS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))


@base.register("vgg16", dataset="cifar10")
class VGG16(conv.LayeredClassifier):
    """VGG16 without batch norm and with one fully connected layer; 14,719,818 coordinates.

    Its outputs are probabilities, which then take the place of logits in the cross entropy, and
    the last bias starts at 1, both as in the legacy code. Source: legacy `vgg16.py`.
    """

    def __init__(self, dataset: datasets.Dataset, batch_size: int = classifier.BATCH_SIZE):
        """Creates the layers for images that are resized to 32x32x3."""
        network, inputs = [], conv.CIFAR_SHAPE[-1]
        for outputs in [n for block in BLOCKS for n in block]:
            network.append(layers.Layer((3, 3, inputs, outputs), padding="SAME"))
            inputs = outputs
        network.append(layers.Layer((inputs, dataset.num_classes), bias_mean=1.0))
        super().__init__(dataset, conv.CIFAR_SHAPE, network, batch_size=batch_size)

    def connect(self, params, images):
        steps = iter(zip(self.network, params))
        x = images
        for block in BLOCKS:
            for _ in block:
                layer, p = next(steps)
                x = tf.nn.relu(layer(p, x))
            x = layers.max_pool(x)
        last, p = next(steps)
        return tf.nn.softmax(last(p, tf.reshape(x, [x.shape[0], -1])))
