"""The optimizees that run in lanes: classifiers of images whose loss vectorises."""

from typing import TypeAlias

import tensorflow as tf

from l2o_tf.core import errors
from l2o_tf.export import draws
from l2o_tf.optimizees import base, conv, mlp

Classifier: TypeAlias = mlp.MLP | conv.LayeredClassifier


def vectorizable(optimizee: base.Optimizee) -> Classifier:
    """The optimizee in the form that lanes need.

    Raises:
        InputError: for one that cannot run in lanes.
    """
    if isinstance(optimizee, conv.LayeredClassifier):
        return optimizee.vectorizable()
    if isinstance(optimizee, mlp.MLP):
        return optimizee
    raise errors.InputError(
        f"{type(optimizee).__name__} cannot run in lanes: only the classifiers of images that "
        "come with the package can, such as mlp and conv_mnist"
    )


def init(optimizee: Classifier, seed: tf.Tensor) -> list[tf.Tensor]:
    """`optimizee.init` for seeds [K, 2]: tensors [K, *shape_i]."""
    return [
        draws.normal(draws.fold(seed, i), list(start.shape), start.stddev) + start.mean
        if start.stddev
        else tf.fill([seed.shape[0], *start.shape], start.mean)
        for i, start in enumerate(optimizee.starts)
    ]
