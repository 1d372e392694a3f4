"""Optimizees by name: `create("mlp", dataset=...)`; those without data ignore the data set."""

from l2o_tf.optimizees import conv, lenet, mlp, nas, toy, vgg  # noqa: F401  (fills the registry)
from l2o_tf.optimizees.base import OPTIMIZEES, Optimizee, register

create = OPTIMIZEES.create
names = OPTIMIZEES.names
