"""Small sets of random images for tests of image classifiers."""

import numpy as np

from l2o_tf.data import datasets


def dataset(shape=(28, 28, 1), num_examples=12, num_classes=10, seed=0) -> datasets.Dataset:
    rng = np.random.default_rng(seed)
    return datasets.Dataset(
        name="noise",
        split="train",
        images=rng.integers(0, 256, [num_examples, *shape], dtype=np.uint8),
        labels=rng.integers(0, num_classes, num_examples).astype(np.int32),
        num_classes=num_classes,
        scale=1 / 255,
    )
