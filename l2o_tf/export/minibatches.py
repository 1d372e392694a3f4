"""The random minibatches of many trajectories at once."""

from collections.abc import Callable

import tensorflow as tf

from l2o_tf.core.seeds import Stream
from l2o_tf.export import draws
from l2o_tf.export.carried import Images
from l2o_tf.optimizees import classifier


def in_lanes(
    seed: tf.Tensor,
    first: tf.Tensor,
    count: int,
    batch_size: int,
    data: Images,
    scale: tf.Tensor,
) -> Callable[[tf.Tensor], classifier.ImageBatch]:
    """`unrolls.random_batches` of an image classifier for K trajectories.

    Args:
        seed: int32 [K, 2], the seeds of the trajectories.
        first: int32 [K], the number of the first batch.
        count: how many batches there are.
        batch_size: the number of images in a minibatch.
        data: the images.
        scale: float32 scalar, what pixels are multiplied with.

    Returns:
        Maps t = 0, ..., count - 1 to the batches number first + t, tensors [K, batch_size, ...].
    """
    seed = draws.fold(draws.fold(seed, Stream.OPTIMIZEE), Stream.MINIBATCHES)
    numbers = first[None] + tf.range(count)[:, None]
    indices = draws.integers(draws.fold(seed, numbers), batch_size, data.labels.shape[0])

    def batch(t):
        images = tf.cast(tf.gather(data.images, indices[t]), tf.float32) * scale
        return classifier.ImageBatch(images, tf.gather(data.labels, indices[t]))

    return batch
