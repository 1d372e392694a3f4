"""Optimizees by name: `create("mlp", dataset=...)`; those without data ignore the data set."""

from l2o_tf.optimizees import conv, lenet, mlp, nas, toy, vgg  # noqa: F401  (fills the registry)
from l2o_tf.optimizees.base import OPTIMIZEES, Optimizee, register

create = OPTIMIZEES.create
names = OPTIMIZEES.names
get = OPTIMIZEES.get

_ON_CIFAR = ("conv_cifar", "nas_cifar", "lenet", "vgg16", "cifar_multi")


def default_dataset(name: str) -> str:
    """The data set on which the paper runs an optimizee."""
    return "cifar10" if name in _ON_CIFAR else "mnist"
