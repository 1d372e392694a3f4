"""A rule in the configuration of a Keras optimizer."""

import base64
import hashlib
import math
from typing import Any

import numpy as np
import tensorflow as tf

from l2o_tf import artifacts, rules
from l2o_tf.core import errors
from l2o_tf.rules.base import RULES, UpdateRule, Weights

RuleConfig = dict[str, Any]

_MAX_AWAITED = 2**24  # Weights of a rule whose configuration does not hold them.


class Base64(str):
    """Text for machines, which Keras shall not print in its messages."""

    def __repr__(self):
        return f"<{len(self)} characters>"


def rule_config(rule: UpdateRule, weights: Weights, label: str) -> RuleConfig:
    """Describes a rule completely, in JSON values.

    While Keras writes a file that holds the optimizer's variables too, a hash stands for the
    weights of a learned rule, which are among those.

    Args:
        rule: the rule.
        weights: its weights by name.
        label: what people call it, such as the name of a pretrained rule.

    Raises:
        InputError: if the rule is not registered by name.
    """
    config: RuleConfig = {
        "name": artifacts.saved_name(rule),
        "label": label,
        "options": rule.options(),
        "sha256": digest(weights),
        **artifacts.plugin(rule),
    }
    if not (rule.learned and _variables_are_saved_too()):
        config["weights"] = {
            key: Base64(base64.b64encode(_to_bytes(value)).decode())
            for key, value in weights.items()
        }
    return config


def rule_from_config(config: RuleConfig) -> tuple[UpdateRule, str | None]:
    """Undoes `rule_config`.

    Returns:
        The rule, and the hash of the weights that it has to get from the optimizer's variables;
        None if it has its weights.

    Raises:
        InputError: if the configuration is damaged, or the rule's plug-in is not loaded.
    """
    RULES.require(config.get("name"), config.get("plugin"))
    try:
        return _rule_from_config(config)
    except Exception as error:  # Damage surfaces as errors of Python, NumPy and TensorFlow.
        reason = errors.reason(error, typed=True)
        raise errors.InputError(f"the rule in an optimizer's config is damaged: {reason}") from None


def digest(weights: Weights) -> str:
    """SHA-256 of weights, names included."""
    found = hashlib.sha256()
    for key in sorted(weights):
        found.update(f"{key} {list(weights[key].shape)}\n".encode())
        found.update(_to_bytes(weights[key]))
    return found.hexdigest()


def _rule_from_config(config):
    # Without memory first: a damaged configuration may ask for all there is.
    symbolic = rules.symbolic_weights(config["name"], **config["options"])
    shapes = {key: list(value.shape) for key, value in symbolic.items()}
    if "weights" not in config:
        if sum(math.prod(shape) for shape in shapes.values()) > _MAX_AWAITED:
            raise ValueError(f"more than {_MAX_AWAITED} weights")
        return rules.create(config["name"], **config["options"]), str(config["sha256"])
    arrays = {k: np.frombuffer(base64.b64decode(t), "<f4") for k, t in config["weights"].items()}
    if {k: v.size for k, v in arrays.items()} != {k: math.prod(s) for k, s in shapes.items()}:
        raise ValueError("its weights are not those of its options")
    rule = rules.create(config["name"], **config["options"])
    weights = {key: tf.reshape(array, shapes[key]) for key, array in arrays.items()}
    if digest(weights) != digest(rule.weights()):  # A formula's learning rate is an option too.
        rule.assign(weights)
    return rule, None


def _to_bytes(value) -> bytes:
    return np.asarray(value).astype("<f4").tobytes()


def _variables_are_saved_too() -> bool:
    # What Keras' saving_lib enters before it asks a model and its parts for configurations.
    try:
        from keras.src.backend.common import global_state

        return global_state.get_global_attribute("shared_objects/id_to_config_map") is not None
    except (ImportError, AttributeError):
        return False
