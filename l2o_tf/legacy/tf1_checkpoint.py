"""Reads the meta-parameters of L2O-Scale rules from TensorFlow 1 checkpoints, `model.ckpt-*`."""

import os
import pathlib
import re
from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from l2o_tf.core import errors, files
from l2o_tf.legacy import tensor_bundle
from l2o_tf.rules import base, hierarchical_rnn, scale_small

_SCOPE = "LOL/"
_FILE_ENDING = re.compile(r"\.(index|data-\d+-of-\d+)$")
# `init_lr_range` of the legacy training script.
_SCRIPT_LR_RANGE = (1e-6, 1e-2)
# The accumulators of the meta-optimizer, one or two for each meta-parameter.
_SLOT = re.compile(r"/RMSProp(_\d+)?$")


def _hierarchical_names() -> dict[str, str]:
    affine = {
        "level0/from_tensor": "PerTensor/Layer0_RNN/Param",
        "level0/from_global": "PerTensor/Layer0_RNN/Global",
        "level1/from_global": "PerTensor/Layer1_RNN",
    }
    for level, scope in enumerate(("PerTensor/Layer0_RNN", "PerTensor/Layer1_RNN", "Layer2_RNN")):
        for part in ("gates", "candidate"):
            affine[f"level{level}/{part}"] = f"{scope}/BiasGRUCell/{part}"
    return {
        **{f"{ours}/w": f"{scope}/Affine/Matrix" for ours, scope in affine.items()},
        **{f"{ours}/b": f"{scope}/Affine/Bias" for ours, scope in affine.items()},
        **{f"level{level}/init": f"Level{level}_RNN/init_vector" for level in range(3)},
        "update/w": "update_weights",
        "attention/w": "attention_weights",
        "update_shortcut/w": "PerTensor/GradsToDelta/Matrix",
        "attention_shortcut/w": "PerTensor/GradsToAttnDelta/Matrix",
        "scale_decay/w": "scl_decay_weights",
        "scale_decay/b": "scl_decay_bias",
        "input_decay/w": "inp_decay_weights",
        "input_decay/b": "inp_decay_bias",
        "log_lr/w": "learning_rate_weights",
        "log_lr/b": "learning_rate_bias",
        "log_lr/momentum_logit": "PerTensor/learning_rate_momentum_logit",
        "log_lr/step_offset": "PerTensor/param_stepsize_offset",
    }


def _coordinatewise_names(num_layers: int) -> dict[str, str]:
    names = {
        "init": "init_vector",
        "update/w": "update_weights",
        "decay/w": "decay_weights",
        "decay/b": "decay_bias",
        "lr/w": "learning_rate_weights",
        "lr/b": "learning_rate_bias",
    }
    for layer in range(num_layers):
        scope = f"multi_rnn_cell/cell_{layer}/basic_lstm_cell"
        names[f"lstm_{layer + 1}/w_gates"] = f"{scope}/kernel"
        names[f"lstm_{layer + 1}/b_gates"] = f"{scope}/bias"
    return names


def legacy_names(rule: base.UpdateRule) -> dict[str, str]:
    """The names of a rule's weights, ours to those of the TensorFlow 1 variables.

    Raises:
        InputError: for a rule that L2O-Scale's code did not have.
    """
    if isinstance(rule, hierarchical_rnn.HierarchicalRNN):
        table = _hierarchical_names()
    elif isinstance(rule, scale_small.CoordinatewiseRNN):
        table = _coordinatewise_names(len(rule.units))
    elif isinstance(rule, scale_small.GlobalLearningRate):
        table = {"learning_rate": "global_learning_rate"}
    elif isinstance(rule, scale_small.LearningRateSchedule | scale_small.TrainableAdam):
        table = {name: name for name in rule.weights()}
    else:
        raise errors.InputError(
            f"{rule.name} is no rule of L2O-Scale: no TensorFlow 1 checkpoint holds its weights"
        )
    return {name: _SCOPE + table[name] for name in rule.weights()}


def read(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Reads the meta-parameters of a checkpoint by their TensorFlow 1 names.

    The slots of the meta-optimizer, the step counter and the state of problems are left out.

    Args:
        path: the common beginning of the checkpoint's files, such as `train/model.ckpt-0`, one
            of these files, or the folder they are in.

    Raises:
        InputError: if there is no checkpoint, it is damaged, or it holds no meta-parameters.
    """
    path = _FILE_ENDING.sub("", os.fspath(path))
    try:
        prefix = tf.train.latest_checkpoint(path) if files.is_dir(path) else path
        if prefix is None:
            raise ValueError("the folder has no file named checkpoint")
        variables = tensor_bundle.read(
            prefix, lambda name: name.startswith(_SCOPE) and not _SLOT.search(name)
        )
    except (OSError, ValueError) as error:
        raise errors.InputError(
            f"cannot read a TensorFlow 1 checkpoint at {path}: there must be undamaged files "
            f"{os.path.basename(path)}.index and {os.path.basename(path)}.data-*"
        ) from error
    if not variables:
        raise errors.InputError(
            f"the checkpoint {path} has no variables under {_SCOPE}: it is not one of L2O-Scale"
        )
    return variables


def convert(rule: base.UpdateRule, variables: Mapping[str, np.ndarray]) -> base.Weights:
    """Renames TensorFlow 1 variables to the weights of `rule`, for `rule.assign`.

    Args:
        rule: a rule built with the options that the variables were trained with.
        variables: arrays by name, as `read` returns them.

    Raises:
        InputError: if variables are missing, left over, of another shape, or not finite.
    """
    names = legacy_names(rule)
    shapes = {theirs: tuple(rule.weights()[ours].shape) for ours, theirs in names.items()}
    advice = "build the rule with the options that the checkpoint was trained with"
    missing = sorted(shapes.keys() - variables.keys())
    if missing:
        raise errors.InputError(f"the checkpoint lacks {_listed(missing)}: {advice}")
    surplus = sorted(variables.keys() - shapes.keys())
    if surplus:
        raise errors.InputError(f"the rule has no use for {_listed(surplus)}: {advice}")
    for name, shape in shapes.items():
        value = variables[name]
        if value.shape != shape:
            raise errors.InputError(
                f"{name} has shape {list(value.shape)} where the rule has {list(shape)}: {advice}"
            )
        if not np.all(np.isfinite(value)):
            raise errors.InputError(f"{name} is not finite everywhere: use another checkpoint")
    return {ours: tf.constant(variables[theirs], tf.float32) for ours, theirs in names.items()}


def load(rule: base.UpdateRule, path: str | os.PathLike) -> None:
    """Sets the weights of `rule` from a checkpoint; raises as `read` and `convert` do."""
    rule.assign(convert(rule, read(path)))


def is_checkpoint(path: str | os.PathLike) -> bool:
    """Whether there are files of a TensorFlow 1 checkpoint; `path` as in `read`."""
    path = pathlib.Path(path)
    if files.is_dir(path):
        return bool(files.matching(path, "*.index"))
    return bool(_FILE_ENDING.search(path.name)) or files.exists(f"{path}.index")


def load_rule(path: str | os.PathLike) -> base.UpdateRule:
    """Creates the rule that a checkpoint holds, with the legacy training script's options.

    The number of levels, attention and learned decays show in the names of the variables. Which
    features a rule has does not, nor does its `init_lr_range`: for options that are not the
    script's defaults, create the rule with them and call `load`.

    Raises:
        InputError: as `read` and `convert` do.
    """
    variables = read(path)
    rule = _untrained(variables)
    rule.assign(convert(rule, variables))
    return rule


def _untrained(variables: Mapping[str, np.ndarray]) -> base.UpdateRule:
    """A rule of the kind and of the sizes that the variables show."""
    found = {name.removeprefix(_SCOPE): value for name, value in variables.items()}
    if "global_learning_rate" in found:
        return scale_small.GlobalLearningRate()
    if "learning_rates" in found:
        return scale_small.LearningRateSchedule(num_steps=len(found["learning_rates"]))
    if "beta1_logit" in found:
        return scale_small.TrainableAdam()
    cells = [name for name in found if name.endswith("basic_lstm_cell/bias")]
    if cells:
        return scale_small.CoordinatewiseRNN(
            units=tuple(found[name].size // 4 for name in sorted(cells)),
            init_lr_range=_SCRIPT_LR_RANGE,
            dynamic_output_scale="learning_rate_weights" in found,
            learnable_decay="decay_weights" in found,
        )
    names = _hierarchical_names()
    dynamic = "learning_rate_weights" in found
    candidates = [names[f"level{level}/candidate/b"] for level in range(3)]
    return hierarchical_rnn.HierarchicalRNN(
        level_sizes=tuple(found[name].size for name in candidates if name in found),
        learnable_decay="scl_decay_weights" in found,
        learnable_inp_decay="inp_decay_weights" in found,
        dynamic_output_scale=dynamic,
        use_relative_lr=dynamic,
        learnable_rnn_init=names["level0/init"] in found,
        use_attention="attention_weights" in found,
        use_gradient_shortcut="PerTensor/GradsToDelta/Matrix" in found,
    )


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more variables"
