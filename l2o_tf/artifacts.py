"""Trained rules and checkpoints on disk: a .npz of arrays and a JSON card."""

import os
import pathlib

import numpy as np

from l2o_tf import errors, files, rules
from l2o_tf.rules.base import UpdateRule, Weights

FORMAT = 1
RULE_ARRAYS, RULE_CARD = "rule.npz", "rule.json"


def save_rule(directory: str | os.PathLike, rule: UpdateRule, weights: Weights, card: dict) -> None:
    """Exports a rule as `rule.npz` and `rule.json`.

    Args:
        directory: where to; created if needed.
        rule: the rule, registered by name.
        weights: its meta-parameters by name.
        card: JSON values that say how the rule was trained and what it reached.
    """
    directory = pathlib.Path(directory)
    files.write_arrays(directory / RULE_ARRAYS, {name: np.asarray(w) for name, w in weights.items()})
    description = {"format": FORMAT, "rule": rule.registered_name, "options": rule.options()}
    files.write_json(directory / RULE_CARD, {**description, **card})


def load_rule(directory: str | os.PathLike) -> UpdateRule:
    """Loads an exported rule from its directory.

    Raises:
        InputError: if there is none, or if its files do not fit together.
    """
    directory = pathlib.Path(directory)
    if not (directory / RULE_CARD).exists():
        raise errors.InputError(
            f"no exported rule in {directory}: expected {RULE_ARRAYS} and {RULE_CARD}"
        )
    card = files.read_json(directory / RULE_CARD)
    arrays = files.read_arrays(directory / RULE_ARRAYS)
    if not isinstance(card, dict) or card.get("format") != FORMAT:
        raise errors.InputError(
            f"{directory / RULE_CARD} is not a rule card of format {FORMAT}, the one of this version"
        )
    try:
        rule = rules.create(card["rule"], **card["options"])
        rule.assign(arrays)
    except (KeyError, TypeError, ValueError) as error:
        raise errors.InputError(f"the rule in {directory} is damaged: {error}") from None
    if not all(np.isfinite(array).all() for array in arrays.values()):
        raise errors.InputError(f"the rule in {directory} has weights that are not finite")
    return rule
