"""MNIST in the order of the legacy code, and optimizees on the batches that it drew."""

import functools

import numpy as np
import tensorflow as tf

from l2o_tf import optimizees
from l2o_tf.data import datasets
from tests import reference

NUM_VALIDATION = 5000  # The legacy code leaves out the first training images.


@functools.cache
def train() -> datasets.Dataset:
    arrays = reference.arrays("data/mnist.npz")
    return datasets.Dataset(
        name="mnist",
        split="train",
        images=arrays["x_train"][NUM_VALIDATION:, ..., None],
        labels=arrays["y_train"][NUM_VALIDATION:].astype(np.int32),
        num_classes=10,
        scale=1 / 255,
    )


@functools.cache
def optimizee(name: str) -> optimizees.Optimizee:
    return optimizees.create(name, train())


def batches(optimizee, indices):
    """The recorded batches of images `indices` [num_steps, 128]."""
    indices = tf.constant(indices.astype(np.int32))
    return lambda t: optimizee.gather(indices[t])


def params(arrays, prefix):
    """The parameters `prefix`/linear_i/{w,b} in the order of the file."""
    return [tf.constant(arrays[f"{prefix}/{name}"]) for name in arrays["order"]]


def weights(arrays, prefix):
    """The rule's weights below `prefix` by name."""
    return {
        name.removeprefix(prefix): tf.constant(value)
        for name, value in arrays.items()
        if name.startswith(prefix)
    }
