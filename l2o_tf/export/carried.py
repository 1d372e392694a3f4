"""What the programs of lanes are given and carry; K lanes, C blocks of coordinates in each."""

from typing import Any, NamedTuple

import tensorflow as tf

from l2o_tf.rules import base
from l2o_tf.training import epochs


class Images(NamedTuple):
    """The data: uint8 images [num_examples, height, width, channels], int32 labels."""

    images: tf.Tensor
    labels: tf.Tensor


class Lanes(NamedTuple):
    """What meta-training of K lanes carries.

    Attributes:
        meta: weights and meta-optimizers, tensors [K, ...].
        average: the weights that are validated, [K, ...].
        boundary: `meta` and `average` before the epoch that a lane is in.
        params: the optimizees' parameters, tensors [K, *shape_i].
        rule_state: the states of the learned rule, [K * C, ...].
        teacher_states: the states of all teachers, [K, ...].
        log: float32 [rows, 3, K]: loss, gradient norm, skipped meta-steps of past calls.
    """

    meta: epochs.MetaState
    average: base.Weights
    boundary: Any
    params: list[tf.Tensor]
    rule_state: base.State
    teacher_states: tuple[base.State, ...]
    log: tf.Tensor


class Control(NamedTuple):
    """What a lane does in a call, and where the call is logged.

    Attributes:
        seed: int32 [K, 2], the seed of the epoch.
        unroll: int32 [K], the number of the unroll; 0 starts a trajectory.
        active: bool [K], whether a lane does anything.
        imitates: bool [K], whether the epoch is imitation.
        ends: bool [K], whether the unroll is the epoch's last.
        average: float32 [K, 2], the factors of the average and of the weights in the next average.
        row: int32 scalar, the row of the log.
    """

    seed: tf.Tensor
    unroll: tf.Tensor
    active: tf.Tensor
    imitates: tf.Tensor
    ends: tf.Tensor
    average: tf.Tensor
    row: tf.Tensor


class Slots(NamedTuple):
    """Trajectories of validation: `params` and `rule_state` as in `Lanes`."""

    params: list[tf.Tensor]
    rule_state: base.State
