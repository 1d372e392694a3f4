"""Flags as fields of frozen dataclasses: their declaration, and the texts that are typed for them.

A field becomes an absl flag in `cli`; checks that need several fields are in the dataclass's
`__post_init__`, which raises InputError.
"""

import contextlib
import dataclasses
import math
import re
import shlex
import typing
from collections.abc import Collection, Iterator
from typing import Any

from l2o_tf.core import errors, files

_MAX_INT = 2**31 - 1
# Of float32, positive and without loss of precision.
MIN_FLOAT, MAX_FLOAT = 2.0**-126, (2 - 2**-23) * 2.0**127


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


def require_given(config: Any, name: str, form: str, what: str) -> None:
    """Raises InputError for a flag without a value, which is `what` and is typed as `form`."""
    if not getattr(config, name):
        raise errors.InputError(f"--{name}={form} is needed: {what}")


def check_numbers(config: Any) -> None:
    """Raises InputError for numbers that TensorFlow could not take: too large, or no numbers."""
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        for number in value if isinstance(value, tuple) else (value,):
            if isinstance(number, int):
                expected = f"between -{_MAX_INT} and {_MAX_INT}"
                require(abs(number) <= _MAX_INT, field.name, number, expected)
            elif isinstance(number, float):
                require(math.isfinite(number), field.name, number, "a finite number")
                expected = f"between -{MAX_FLOAT:.1e} and {MAX_FLOAT:.1e}"
                require(abs(number) <= MAX_FLOAT, field.name, number, expected)


def json_object(name: str, text: str) -> dict[str, Any]:
    """The value of a flag that is a JSON object; empty text is an empty object.

    Raises:
        InputError: unless it is one.
    """
    try:
        value = files.parse_json(text or "{}")
    except ValueError as error:
        raise errors.InputError(f"--{name}={text}: {error}") from None
    if not isinstance(value, dict):
        raise errors.InputError(f'--{name}={text} must be a JSON object, {{"name": value}}')
    return value


def kind(field: dataclasses.Field) -> Any:
    """The type of a field without `| None`."""
    options = [t for t in typing.get_args(field.type) if t is not type(None)]
    is_union = type(None) in typing.get_args(field.type)
    return options[0] if is_union else field.type


def split_list(text: str) -> list[str]:
    """The items of a list as it is typed: separated by commas, "\\," for a comma in an item."""
    items = re.split(r"(?<!\\),", text)
    return [item.strip().replace("\\,", ",") for item in items if item.strip()]


def to_text(value: Any) -> str:
    """A value as it is typed after `--name=`; empty for None."""
    if value is None:
        return ""
    if isinstance(value, list | tuple):
        return ",".join(str(item).replace(",", "\\,") for item in value)
    return str(value).lower() if isinstance(value, bool) else str(value)


@contextlib.contextmanager
def resumable(command: str, config: Any) -> Iterator[None]:
    """Turns Ctrl-C in a command that keeps what is done into the line that goes on with it.

    Raises:
        Interrupted: after a KeyboardInterrupt.
    """
    try:
        yield
    except KeyboardInterrupt:
        raise errors.Interrupted(
            f"what is done is kept. To go on: python -m l2o_tf.{command} {to_flags(config)}"
        ) from None


def to_flags(config: Any, defaults: bool = False, only: Collection[str] | None = None) -> str:
    """The flags of a config, as they would be typed: what differs from the defaults, or all.

    Args:
        config: the config.
        defaults: whether to give values that are the default as well.
        only: the names of the flags to give; all by default.
    """
    parts = []
    for field in dataclasses.fields(config):
        if only is not None and field.name not in only:
            continue
        value = getattr(config, field.name)
        if value is None or (value == field.default and not defaults):
            continue
        if kind(field) is bool:
            parts.append(f"--{'' if value else 'no'}{field.name}")
        else:
            text = to_text(value)
            parts.append(f"--{field.name}={shlex.quote(text) if text else text}")
    return " ".join(parts)
