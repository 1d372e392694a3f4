"""Flags as fields of frozen dataclasses: their declaration, and the texts that are typed for them.

A field becomes an absl flag in `cli`; checks that need several fields are in the dataclass's
`__post_init__`, which raises InputError.
"""

import dataclasses
import shlex
import typing
from typing import Any

from l2o_tf.core import errors


def flag(default: Any, help: str, group: str, identity: bool = True) -> Any:
    """A dataclass field that is a flag.

    Args:
        default: the default value; None for "decided from the other flags".
        help: one or two sentences, without the default.
        group: the heading under which --help lists it.
        identity: whether a run with another value is another run (else it may change on resume).
    """
    metadata = {"help": help, "group": group, "identity": identity}
    return dataclasses.field(default=default, metadata=metadata)


@dataclasses.dataclass(frozen=True)
class CommandFlags:
    """What every command has."""

    plugins: tuple[str, ...] = flag(
        (),
        "Modules of your own, separated by commas, that register rules, optimizees or problem "
        "sets: my_file for my_file.py in the current directory or on PYTHONPATH. The environment "
        "variable L2O_TF_PLUGINS names more.",
        "Plug-ins",
        identity=False,
    )


def require(condition: bool, name: str, value: Any, expected: str) -> None:
    """Raises InputError with the name of the flag unless a condition holds."""
    if not condition:
        raise errors.InputError(f"--{name}={value} must be {expected}")


def kind(field: dataclasses.Field) -> Any:
    """The type of a field without `| None`."""
    options = [t for t in typing.get_args(field.type) if t is not type(None)]
    is_union = type(None) in typing.get_args(field.type)
    return options[0] if is_union else field.type


def to_text(value: Any) -> str:
    """A value as it is typed after `--name=`; empty for None."""
    if value is None:
        return ""
    if isinstance(value, list | tuple):
        return ",".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def to_flags(config: Any, defaults: bool = False) -> str:
    """The flags of a config, as they would be typed: what differs from the defaults, or all."""
    parts = []
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if value is None or (value == field.default and not defaults):
            continue
        if kind(field) is bool:
            parts.append(f"--{'' if value else 'no'}{field.name}")
        else:
            text = to_text(value)
            parts.append(f"--{field.name}={shlex.quote(text) if text else text}")
    return " ".join(parts)
