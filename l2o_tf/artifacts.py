"""Trained rules and checkpoints on disk: one .npz of arrays beside or around one JSON card.

Every file is written under another name and renamed, so that a reader or an interruption never
meets half a file.
"""

import io
import json
import os
import pathlib
import zipfile
from typing import Any

import numpy as np

from l2o_tf import errors, rules
from l2o_tf.rules.base import UpdateRule, Weights

FORMAT = 1
RULE_ARRAYS, RULE_CARD = "rule.npz", "rule.json"


def write_atomically(path: pathlib.Path, content: bytes) -> None:
    """Writes a file so that it is there whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_bytes(content)
    temporary.replace(path)


def write_json(path: pathlib.Path, values: Any) -> None:
    """Writes JSON for people to read."""
    write_atomically(path, (json.dumps(values, indent=2, allow_nan=False) + "\n").encode())


def read_json(path: pathlib.Path) -> Any:
    """Reads a JSON file.

    Raises:
        InputError: if it is missing or is not JSON.
    """
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise errors.InputError(f"cannot read {path}: {error}") from None


def write_arrays(path: pathlib.Path, arrays: dict[str, np.ndarray]) -> None:
    """Writes named arrays as .npz."""
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    write_atomically(path, buffer.getvalue())


def read_arrays(path: pathlib.Path) -> dict[str, np.ndarray]:
    """Reads named arrays.

    Raises:
        InputError: if the file is missing, damaged or holds anything but plain arrays.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, AttributeError, zipfile.BadZipFile) as error:
        raise errors.InputError(f"cannot read {path}: {error}") from None


def save_rule(directory: str | os.PathLike, rule: UpdateRule, weights: Weights, card: dict) -> None:
    """Exports a rule as `rule.npz` and `rule.json`.

    Args:
        directory: where to; created if needed.
        rule: the rule, registered by name.
        weights: its meta-parameters by name.
        card: JSON values that say how the rule was trained and what it reached.
    """
    directory = pathlib.Path(directory)
    write_arrays(directory / RULE_ARRAYS, {name: np.asarray(w) for name, w in weights.items()})
    description = {"format": FORMAT, "rule": rule.registered_name, "options": rule.options()}
    write_json(directory / RULE_CARD, {**description, **card})


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
    card = read_json(directory / RULE_CARD)
    arrays = read_arrays(directory / RULE_ARRAYS)
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
