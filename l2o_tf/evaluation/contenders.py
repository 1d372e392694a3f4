"""The rules of an evaluation by label: read from --rules, told apart by fingerprints."""

import hashlib
import json
import pathlib
from collections.abc import Iterable

import numpy as np

from l2o_tf import loading, rules
from l2o_tf.core import errors, files
from l2o_tf.evaluation import results, tuning

_TUNED = "tuned:"

Contender = rules.UpdateRule | tuning.Tuned


def load(
    entries: Iterable[str], init_lr_range: tuple[float, ...] | None = None
) -> dict[str, Contender]:
    """Loads rules by label.

    Args:
        entries: each a source that `loading.load` takes, or "tuned:NAME"; label=SOURCE gives it
            another label than its own name.
        init_lr_range: the range of first learning rates for the rules that draw them.

    Raises:
        InputError: if two have one label, a label cannot be stored, a rule cannot be loaded or
            tuned, or no rule draws first learning rates.
    """
    loaded = {label: _load(source) for label, source in _sources(entries).items()}
    return loaded if init_lr_range is None else _with_lr_range(loaded, init_lr_range)


def fingerprint(rule: Contender) -> str:
    """Equal for equal rules only."""
    if isinstance(rule, tuning.Tuned):
        return _TUNED + rule.name
    digest = hashlib.sha256(json.dumps(rule.options(), sort_keys=True).encode())
    for name, value in sorted(rule.weights().items()):
        digest.update(name.encode() + np.asarray(value).tobytes())
    return f"{rule.registered_name}-{digest.hexdigest()[:16]}"


def check_unchanged(label: str, identity: str | None, expected: str, what: str) -> None:
    """Raises an InputError if the rule that a process has read is not that which work began with.

    Args:
        label: the rule's.
        identity: of what has been read, such as its fingerprint; None if there is no such rule.
        expected: the identity that the work began with.
        what: the work, for the message.
    """
    if identity != expected:
        raise errors.InputError(
            f"{label} has become another rule (or has other weights) since this {what} began; what "
            "was measured is kept: write newname=RULE or use another --workdir"
        )


def _sources(entries: Iterable[str]) -> dict[str, str]:
    """Where each rule comes from, by label."""
    sources: dict[str, str] = {}
    for entry in entries:
        label, source = _label_and_source(entry)
        results.check_label("rule", label)
        if label in sources:
            raise errors.InputError(
                f"--rules has two entries of the name {label}: write label=RULE for one of them"
            )
        sources[label] = source
    return sources


def _label_and_source(entry: str) -> tuple[str, str]:
    if files.exists(entry):
        return pathlib.Path(entry).resolve().name, entry
    label, equals, source = entry.partition("=")
    return (label, source) if equals else (entry, entry)


def _load(source: str) -> Contender:
    if not source.startswith(_TUNED):
        return loading.load(source)
    name = source.removeprefix(_TUNED)
    tuning.check_tunable(name)
    return tuning.Tuned(name)


def _with_lr_range(
    loaded: dict[str, Contender], lr_range: tuple[float, ...]
) -> dict[str, Contender]:
    changed = {
        label: rules.with_options(rule, init_lr_range=lr_range)
        for label, rule in loaded.items()
        if not isinstance(rule, tuning.Tuned) and "init_lr_range" in rule.options()
    }
    if not changed:
        raise errors.InputError(
            "--init_lr_range is for the rules scale and coordinatewise_rnn: none is in --rules"
        )
    return {**loaded, **changed}
