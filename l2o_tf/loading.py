"""Any rule by name or path."""

import os
import pathlib
from typing import Any

from l2o_tf import artifacts, rules
from l2o_tf.core import errors, files
from l2o_tf.legacy import l2l, tf1_checkpoint
from l2o_tf.rules.base import UpdateRule

PRETRAINED = pathlib.Path(__file__).parent / "pretrained"


def list_pretrained() -> list[str]:
    """The names of the trained rules that come with the package."""
    return sorted(path.parent.name for path in PRETRAINED.glob(f"*/{artifacts.RULE_CARD}"))


def pretrained_card(name: str) -> dict[str, Any]:
    """The card of a pretrained rule: how it was trained, what it reached, what it is fit for."""
    return files.read_json(PRETRAINED / name / artifacts.RULE_CARD)


def is_path(source: str | os.PathLike) -> bool:
    """Whether `load` takes it for a path even if a rule has that name: a folder alone is none."""
    path = pathlib.Path(source)
    has_rule = files.exists(path / artifacts.RULE_CARD) or tf1_checkpoint.is_checkpoint(path)
    return has_rule or files.is_file(path)


def load(source: str | os.PathLike) -> UpdateRule:
    """Loads or creates a rule.

    Args:
        source: the directory of a run or of an exported rule, a legacy `.l2l` file, a TensorFlow 1
            checkpoint of L2O-Scale's code such as "train/model.ckpt-0" (or the folder it is in),
            the name of a pretrained rule, or an analytical rule such as "adam:0.01".

    Raises:
        InputError: if it is none of these, or cannot be read.
    """
    path, name = pathlib.Path(source), os.fspath(source)
    if files.exists(path / artifacts.RULE_CARD):  # Whatever else is beside it.
        return artifacts.load_rule(path)
    if tf1_checkpoint.is_checkpoint(path):
        return tf1_checkpoint.load_rule(path)
    pretrained, analytical = list_pretrained(), rules.analytical_names()
    if files.is_dir(path) and name not in (*pretrained, *analytical):
        return artifacts.load_rule(path)
    if files.is_file(path):
        if path.suffix == ".npz":
            raise errors.InputError(
                f"{path} holds the weights of a rule alone: give the directory of the exported rule"
                " or of the run; `python -m l2o_tf.select` exports the best of a run's snapshots"
            )
        return l2l.load_rule(path)
    if name in pretrained:
        return artifacts.load_rule(PRETRAINED / name)
    if name.partition(":")[0] in analytical:
        return rules.from_spec(name)
    raise errors.InputError(
        f"no rule {name!r}: expected a run directory, an exported rule, a .l2l file, a "
        "TensorFlow 1 checkpoint of L2O-Scale, a pretrained rule "
        f"({', '.join(pretrained) or 'none yet'}) or name:learning_rate with one of "
        f"{', '.join(analytical)}"
    )
