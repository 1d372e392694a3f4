"""What image classification optimizees share: random minibatches and the loss."""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from l2o_tf.core import seeds
from l2o_tf.data import datasets
from l2o_tf.optimizees import base

BATCH_SIZE = 128


class ImageBatch(NamedTuple):
    """Images [batch_size, height, width, channels] in [0, 1], labels [batch_size]."""

    images: tf.Tensor
    labels: tf.Tensor


class ImageClassifier(base.Optimizee):
    """Softmax cross entropy of some network on random minibatches of a data set.

    The data are held in memory as uint8 and gathered inside the compiled loop.
    """

    def __init__(self, dataset: datasets.Dataset, batch_size: int = BATCH_SIZE):
        self.dataset = dataset
        self.batch_size = batch_size
        with tf.init_scope():
            self._images = tf.constant(dataset.images)
            self._labels = tf.constant(dataset.labels)

    def batch(self, seed: seeds.Seed, step: tf.Tensor) -> ImageBatch:
        """Draws images uniformly, with replacement."""
        num_examples = len(self.dataset.labels)
        seed = seeds.fold(seed, seeds.Stream.MINIBATCHES, step)
        return self.gather(seeds.uniform(seed, [self.batch_size], 0, num_examples, tf.int32))

    def gather(self, indices: tf.Tensor) -> ImageBatch:
        """Returns the images of the given indices [batch_size]."""
        images = tf.cast(tf.gather(self._images, indices), tf.float32)
        # One float32 product per pixel, as the legacy input pipeline has it.
        images *= np.float32(self.dataset.scale)
        return ImageBatch(images, tf.gather(self._labels, indices))

    def loss(self, params: base.Params, batch: ImageBatch) -> tf.Tensor:
        """Mean cross entropy in nats."""
        logits = self.logits(params, batch.images)
        return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(batch.labels, logits))

    def logits(self, params: base.Params, images: tf.Tensor) -> tf.Tensor:
        """Maps images [batch_size, height, width, channels] to [batch_size, num_classes]."""
        raise NotImplementedError
