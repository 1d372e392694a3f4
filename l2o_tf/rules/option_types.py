"""Whether the options of a rule, which may come from a flag or a file, are of their types."""

import collections.abc
import inspect
import operator
import typing
from collections.abc import Mapping
from typing import Any

from l2o_tf.core import errors

# Values of JSON that stand for no number; arrays and tensors, which a program passes, may.
_NO_NUMBERS = (str, list, tuple, dict, type(None))
_LISTS = {int: "a list of integers", float: "a list of numbers", bool: "a list of true and false"}
_MAX_SHOWN = 80


def check(
    rule: str, options: Mapping[str, Any], parameters: Mapping[str, inspect.Parameter]
) -> None:
    """Compares options with the annotations of a rule's constructor.

    Args:
        rule: the name of the rule.
        options: values by name; those that are the default are right, and those without a type
            that is known here.
        parameters: of the constructor, by name.

    Raises:
        InputError: for the first that is of another type.
    """
    for name, value in options.items():
        parameter = parameters.get(name)
        if parameter is None or value is parameter.default:
            continue
        if expected := _missed(value, parameter.annotation):
            shown = repr(value)
            shown = shown if len(shown) <= _MAX_SHOWN else f"{shown[:_MAX_SHOWN]}..."
            raise errors.InputError(
                f"the option {name} of the rule {rule} must be {expected}, got {shown}"
            )


def _missed(value: Any, annotation: Any) -> str | None:
    """What a value should be and is not; None if it is."""
    if annotation is bool:
        return "true or false" if isinstance(value, (float, *_NO_NUMBERS)) else None
    if annotation is str:
        return None if isinstance(value, str) else "a text"
    if annotation is int:
        return None if _is_integer(value) else "an integer"
    if annotation is float:
        return "a number" if isinstance(value, _NO_NUMBERS) else None
    inner = _inner(annotation)
    if inner not in _LISTS:
        return None
    if isinstance(value, list | tuple):
        return _LISTS[inner] if any(_missed(item, inner) for item in value) else None
    return _LISTS[inner] if isinstance(value, (bool, int, float, *_NO_NUMBERS)) else None


def _is_integer(value: Any) -> bool:
    try:
        operator.index(value)
    except TypeError:
        return False
    return True


def _inner(annotation: Any) -> Any:
    """The type of all entries of a list; None where they differ or nobody says."""
    if typing.get_origin(annotation) not in (tuple, collections.abc.Sequence):
        return None
    kinds = {kind for kind in typing.get_args(annotation) if kind is not ...}
    return kinds.pop() if len(kinds) == 1 else None
