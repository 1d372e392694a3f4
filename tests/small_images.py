"""Small sets of random images for tests of image classifiers."""

import numpy as np

from l2o_tf.data import datasets


def dataset(shape=(28, 28, 1), num_classes=10) -> datasets.Dataset:
    rng = np.random.default_rng(0)
    return datasets.Dataset(
        name="noise",
        split="train",
        images=rng.integers(0, 256, [12, *shape], dtype=np.uint8),
        labels=rng.integers(0, num_classes, 12).astype(np.int32),
        num_classes=num_classes,
        scale=1 / 255,
    )
