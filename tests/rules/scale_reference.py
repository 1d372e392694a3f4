"""Reads the reference arrays of L2O-Scale into our weights and states, and back."""

import numpy as np
import tensorflow as tf

from l2o_tf.core import coordinates
from l2o_tf.legacy import tf1_checkpoint
from l2o_tf.rules import hierarchical_rnn


def variables(arrays, prefix=""):
    """The TF1 variables under `prefix`, by their TF1 names, without slots."""
    return {
        key[len(prefix) :].replace("|", "/"): value
        for key, value in arrays.items()
        if key.startswith(prefix + "LOL|") and "RMSProp" not in key
    }


def weights(rule, arrays, prefix=""):
    """Our weights by our names."""
    return tf1_checkpoint.convert(rule, variables(arrays, prefix))


def tensors(arrays, prefix):
    """The tensors `prefix`0, `prefix`1, ... of a problem."""
    found = []
    while f"{prefix}{len(found)}" in arrays:
        found.append(tf.constant(arrays[f"{prefix}{len(found)}"]))
    return found


def log_lr(arrays, prefix, suffix=""):
    """Log learning rates [num_coordinates] from one array per tensor."""
    index, parts = 0, []
    while f"{prefix}{index}{suffix}" in arrays:
        parts.append(arrays[f"{prefix}{index}{suffix}"].ravel())
        index += 1
    return tf.constant(np.concatenate(parts))


def initial_state(rule, params, arrays, prefix):
    """The legacy code's initial state: only what it drew at random is taken from the arrays."""
    state = rule.init(params, tf.constant([0, 0]))
    if rule.settings.dynamic_output_scale:
        state = state._replace(log_lr=log_lr(arrays, prefix, "|log_learning_rate"))
    if not rule.settings.learnable_rnn_init:
        num_tensors = len(params)
        drawn = (
            np.concatenate([arrays[f"{prefix}{i}|parameter"] for i in range(num_tensors)]),
            np.concatenate([arrays[f"{prefix}{i}|layer"] for i in range(num_tensors)]),
            arrays[prefix.replace("init_state|", "init_global_state")],
        )
        hidden, tensor_hidden, global_hidden = (tf.constant(d.T) for d in drawn)
        state = state._replace(
            hidden=hidden, tensor_hidden=tensor_hidden, global_hidden=global_hidden
        )
    return state


def legacy_state(rule, state: hierarchical_rnn.HierarchicalState, params):
    """Our state as the legacy code's slots, by `tensor|slot`, and `global`."""
    by_coordinate = {
        "parameter": state.hidden,
        "scl_decay": state.scale_decay[None],
        "inp_decay": state.input_decay[None],
    }
    if rule.settings.dynamic_output_scale:
        by_coordinate["log_learning_rate"] = state.log_lr[None]
    for scale in range(rule.settings.num_gradient_scales):
        by_coordinate[f"grad_accum{scale + 1}"] = state.accumulated[scale : scale + 1]
        by_coordinate[f"ms{scale + 1}"] = state.mean_square[scale : scale + 1]
    slots = {}
    for slot, values in by_coordinate.items():
        sizes = [coordinates.count([p]) for p in params]
        for index, part in enumerate(tf.split(values, sizes, axis=1)):
            slots[f"{index}|{slot}"] = part.numpy().T
    for index, value in enumerate(rule.true_params(params, state)):
        slots[f"{index}|true_param"] = value.numpy()
        if rule.settings.num_levels > 1:
            slots[f"{index}|layer"] = state.tensor_hidden.numpy().T[index : index + 1]
    if rule.settings.num_levels > 2:
        slots["global"] = state.global_hidden.numpy().T
    return slots


def relative_error(value, expected):
    """The largest difference, relative to the largest expected magnitude."""
    value, expected = np.asarray(value), np.asarray(expected)
    assert value.shape == expected.shape
    return np.abs(value - expected).max() / np.abs(expected).max()
