"""Trained rules to share: a directory with a card, or a repository of the Hugging Face Hub."""

import os
import pathlib
from typing import Any

from l2o_tf import artifacts, loading
from l2o_tf.core import errors, files, safetensor_files
from l2o_tf.rules.base import UpdateRule

HUB = "hf://"
_README = """\
---
library_name: l2o_tf
license: {licence}
tags:
- learned-optimizer
- learning-to-optimize
---

# {name}

A learned optimizer ({rule}) of the Python package l2o_tf.
{fit_for}
```python
from l2o_tf import LearnedOptimizer

model.compile(LearnedOptimizer.from_preset("hf://USER/{name}"), loss=...)
```

`rule.json` says how it was trained.
"""


def load_preset(source: str | os.PathLike) -> UpdateRule:
    """Loads a shared rule.

    Args:
        source: the name of a pretrained rule, a directory, or "hf://user/repository", with
            "@revision" behind it for another one than the latest.

    Raises:
        InputError: if there is none, or it cannot be fetched or read.
    """
    text = os.fspath(source)
    return loading.load(_fetch(text) if text.startswith(HUB) else source)


def save_preset(
    directory: str | os.PathLike,
    rule: Any,
    fit_for: str = "",
    licence: str = "MIT",
    card: dict | None = None,
    safetensors: bool = False,
) -> None:
    """Writes a rule as a directory to share: `rule.npz`, `rule.json` and `README.md`.

    `hf upload USER/NAME DIRECTORY` makes a repository of the Hub of it.

    Args:
        directory: where to; created if needed.
        rule: an update rule, a `LearnedOptimizer`, also one that Keras has wrapped for mixed
            precision, or what `l2o_tf.load` takes.
        fit_for: for whom: which models, how many steps.
        licence: of the weights.
        card: further JSON values for the card.
        safetensors: whether to write the weights as `rule.safetensors` as well, for programs
            without NumPy; needs the extra `l2o-tf[safetensors]`.

    Raises:
        InputError: if the rule's class has no name in the registry, or cannot be written, or if
            the extra is missing.
    """
    weights = None
    if not isinstance(rule, UpdateRule):
        rule = getattr(rule, "inner_optimizer", rule)  # Of mixed precision.
        if hasattr(rule, "rule_weights"):
            rule, weights = rule.rule, rule.rule_weights()
        else:
            rule = load_preset(rule)
    directory = pathlib.Path(directory)
    card = {"licence": licence, "fit_for": fit_for, **(card or {})}
    registered_name = artifacts.saved_name(rule)
    file = directory / artifacts.RULE_SAFETENSORS
    if safetensors:
        safetensor_files.write(file, rule.weights() if weights is None else weights)
    artifacts.save_rule(directory, rule, weights, card)
    if not safetensors:
        files.remove(file)  # Of a rule that was saved here before, now that this one is.
    text = _README.format(
        name=directory.resolve().name,
        rule=registered_name,
        licence=licence.lower(),
        fit_for=f"\n{fit_for}\n" if fit_for else "",
    )
    files.write_atomically(directory / "README.md", text.encode())


def _fetch(address: str) -> pathlib.Path:
    """The directory of a repository's files in the Hub's cache on this machine."""
    name, _, revision = address.removeprefix(HUB).partition("@")
    if name.count("/") != 1 or not all(name.split("/")):
        raise errors.InputError(f"{address!r} is no preset: expected hf://user/repository")
    try:
        import huggingface_hub
    except ImportError:
        raise errors.InputError(
            f"{address} needs the Hugging Face client: pip install 'l2o-tf[hub]'"
        ) from None
    try:
        return pathlib.Path(
            huggingface_hub.snapshot_download(
                name,
                revision=revision or None,
                allow_patterns=[
                    artifacts.RULE_ARRAYS,
                    artifacts.RULE_SAFETENSORS,
                    artifacts.RULE_CARD,
                ],
            )
        )
    except Exception as error:  # The network, the Hub and its client fail in many ways.
        reason = errors.reason(error, typed=True)
        raise errors.InputError(f"cannot fetch {address}: {reason}") from error
