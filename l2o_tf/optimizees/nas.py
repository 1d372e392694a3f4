"""NAS-CIFAR: one cell found by architecture search, on 32x32 colour images."""

import tensorflow as tf

from l2o_tf.data import datasets
from l2o_tf.optimizees import base, classifier, conv, layers

NUM_CHANNELS = 16


@base.register("nas_cifar", dataset="cifar10", options=conv.OPTIONS)
class NASCifar(conv.LayeredClassifier):
    """A cell of NAS-Bench-201, global average, fully connected; 7,578 coordinates.

    node0 = c(x), node1 = c(node0), node2 = average3x3(node1) + c(node0),
    node3 = node2 + c(node1) + node0; each c is a 3x3x16 convolution with batch norm and rectified
    linear unit. Parameters in the order node0, node0 to node2, node1, node1 to node3, output.
    Source: paper section 5, "Optimizee Settings"; legacy `problems.py`, NAS.
    """

    def __init__(
        self,
        dataset: datasets.Dataset,
        relu_logits: bool = True,
        optimize_batch_norm: bool = False,
        batch_size: int = classifier.BATCH_SIZE,
    ):
        """Creates the layers.

        Args:
            dataset: the images, resized to 32x32x3 if they have another shape.
            relu_logits: whether a rectified linear unit follows the last layer, as in the legacy
                code.
            optimize_batch_norm: whether gamma and beta are coordinates.
            batch_size: the number of images in a minibatch.
        """

        def convolution(inputs):
            shape = (3, 3, inputs, NUM_CHANNELS)
            return layers.Layer(
                shape, padding="SAME", normalize=True, optimize_batch_norm=optimize_batch_norm
            )

        network = [convolution(conv.CIFAR_SHAPE[-1])]
        network += [convolution(NUM_CHANNELS) for _ in range(3)]
        network.append(layers.Layer((NUM_CHANNELS, dataset.num_classes)))
        super().__init__(dataset, conv.CIFAR_SHAPE, network, relu_logits, batch_size)

    def connect(self, params, images):
        def apply(i, x):
            return tf.nn.relu(self.network[i](params[i], x))

        node0 = apply(0, images)
        node1 = apply(2, node0)
        node2 = tf.nn.avg_pool2d(node1, 3, 1, "SAME") + apply(1, node0)
        node3 = node2 + apply(3, node1) + node0
        return self.network[4](params[4], tf.reduce_mean(node3, axis=[1, 2]))
