"""Trained rules and checkpoints on disk: a .npz of arrays and a JSON card."""

import os
import pathlib
from typing import Any

import numpy as np

from l2o_tf import rules
from l2o_tf.core import errors, files, safetensor_files
from l2o_tf.rules.base import RULES, UpdateRule, Weights

FORMAT = 1
RULE_ARRAYS, RULE_CARD = "rule.npz", "rule.json"
RULE_SAFETENSORS = "rule.safetensors"  # Read where there is no RULE_ARRAYS.


def saved_name(rule: UpdateRule) -> str:
    """The name by which the registry creates a rule again.

    Raises:
        InputError: if its class has none.
    """
    if rule.registered_name is None:
        raise errors.InputError(
            f"a rule {type(rule).__name__} cannot be saved: give the class a name with"
            " l2o_tf.rules.register"
        )
    return rule.registered_name


def save_rule(
    directory: str | os.PathLike,
    rule: UpdateRule,
    weights: Weights | None = None,
    card: dict | None = None,
) -> None:
    """Exports a rule as `rule.npz` and `rule.json`.

    Args:
        directory: where to; created if needed.
        rule: the rule, registered by name.
        weights: its meta-parameters by name; the rule's own by default.
        card: JSON values that say how the rule was trained and what it reached; what is exported
            stands above what it says of the rule and its options.

    Raises:
        InputError: if the rule's class has no name in the registry, or cannot be written.
    """
    about = description(rule)
    weights = rule.weights() if weights is None else weights
    arrays = {key: np.asarray(value) for key, value in weights.items()}
    # A card of another rule must not say what this one is.
    write(directory, arrays, {**about, **(card or {}), **about})


def write(directory: str | os.PathLike, arrays: dict[str, np.ndarray], card: dict) -> None:
    """Writes the two files of a rule.

    Args:
        directory: where to; created if needed.
        arrays: the weights by name.
        card: JSON values, with what `description` says.

    Raises:
        InputError: if they cannot be written.
    """
    # The card last: it names what is there.
    files.write_arrays(pathlib.Path(directory) / RULE_ARRAYS, arrays)
    files.write_json(pathlib.Path(directory) / RULE_CARD, card)


def description(rule: UpdateRule) -> dict[str, Any]:
    """What a card says of a rule, so that it can be created again; raises as `saved_name` does."""
    return {
        "format": FORMAT,
        "rule": saved_name(rule),
        "options": rule.options(),
        **plugin(rule),
    }


def plugin(rule: UpdateRule) -> dict[str, str]:
    """The module of the user's own that registers a rule, as "plugin"; {} for this package's."""
    name = RULES.plugin(saved_name(rule))
    return {"plugin": name} if name else {}


def load_rule(directory: str | os.PathLike, weights: str | os.PathLike | None = None) -> UpdateRule:
    """Loads an exported rule from its directory.

    Args:
        directory: the folder of the rule.
        weights: a file of other weights of the same rule, such as a snapshot of its training; the
            exported ones by default.

    Raises:
        InputError: if there is none, or if its files do not fit together.
    """
    directory = pathlib.Path(directory)
    weights = exported_weights(directory) if weights is None else pathlib.Path(weights)
    if not files.exists(directory / RULE_CARD):
        raise errors.InputError(
            f"no exported rule in {directory}: expected {RULE_ARRAYS} and {RULE_CARD}, which a "
            "training writes with its first validation"
        )
    card = files.read_json(directory / RULE_CARD)
    arrays = safetensor_files.read(weights) if weights.suffix == safetensor_files.SUFFIX else None
    headers = files.read_array_headers(weights) if arrays is None else _headers(arrays)
    if not isinstance(card, dict) or card.get("format") != FORMAT:
        raise errors.InputError(
            f"{directory / RULE_CARD} is not a rule card of format {FORMAT}, that of this version"
        )
    damaged = f"the rule in {weights.parent} is damaged: "
    for key in ("rule", "options"):
        if key not in card:
            raise errors.InputError(f"{damaged}{RULE_CARD} has no {key!r}")
    try:
        RULES.require(card["rule"], card.get("plugin"))
    except errors.InputError as error:
        raise errors.InputError(f"the rule in {directory} cannot be used: {error}") from None
    try:
        expected = rules.symbolic_weights(card["rule"], **card["options"])
        misfit = _misfit(expected, headers, weights.name)
        rule = None if misfit else rules.create(card["rule"], **card["options"])
    except Exception as error:  # Wrong options surface as errors of Python or of TensorFlow.
        raise errors.InputError(damaged + errors.reason(error)) from None
    if misfit or rule is None:
        raise errors.InputError(f"{damaged}{misfit}")
    rule.assign(files.read_arrays(weights) if arrays is None else arrays)
    if not all(np.isfinite(value).all() for value in rule.weights().values()):
        raise errors.InputError(f"the rule in {weights.parent} has weights that are not finite")
    return rule


def exported_weights(directory: pathlib.Path) -> pathlib.Path:
    """The file of an exported rule's weights: rule.npz, or rule.safetensors where that is all."""
    arrays, other = directory / RULE_ARRAYS, directory / RULE_SAFETENSORS
    return other if files.exists(other) and not files.exists(arrays) else arrays


def read_weights(path: pathlib.Path) -> dict[str, np.ndarray]:
    """The arrays of a file of weights by name, an archive of NumPy's or safetensors.

    Raises:
        InputError: if they cannot be read.
    """
    if path.suffix == safetensor_files.SUFFIX:
        return safetensor_files.read(path)
    return files.read_arrays(path)


def _headers(arrays: dict[str, np.ndarray]) -> dict[str, files.ArrayHeader]:
    return {key: files.ArrayHeader(value.shape, value.dtype) for key, value in arrays.items()}


def _misfit(weights: Weights, arrays: dict[str, files.ArrayHeader], file: str) -> str | None:
    """The first difference between what a rule needs and what a file holds."""
    for name in [*weights, *(name for name in arrays if name not in weights)]:
        if name not in arrays:
            return f"{file} lacks {name}"
        if name not in weights:
            return f"{file} holds {name}, which is no weight of the rule in {RULE_CARD}"
        expected, found = tuple(weights[name].shape), arrays[name]
        if found.shape != expected or found.dtype.kind != "f":
            return (
                f"{name} in {file} is {found.dtype} {list(found.shape)}, but {RULE_CARD} "
                f"asks for float32 {list(expected)}"
            )
    return None
