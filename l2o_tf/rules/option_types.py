"""Whether the options of a rule, which may come from a flag or a file, are of their types."""

import collections.abc
import numbers
import typing
from collections.abc import Mapping
from typing import Any

import numpy as np

from l2o_tf.core import errors

_JSON_BUT_NUMBERS = (bool, str, list, tuple, dict, type(None))


def check(rule: str, options: Mapping[str, Any], types: Mapping[str, Any]) -> None:
    """Compares options with the annotations of a rule's constructor.

    Args:
        rule: the name of the rule.
        options: values by name; of those without a known type everything is right.
        types: annotations by name.

    Raises:
        InputError: for the first that is of another type.
    """
    for name, value in options.items():
        expected = _missed(value, types.get(name))
        if expected:
            raise errors.InputError(
                f"the option {name} of the rule {rule} must be {expected}, got {value!r}"
            )


def _missed(value: Any, annotation: Any) -> str | None:
    """What a value should be and is not; None if it is."""
    if annotation is bool:
        return None if isinstance(value, bool | np.bool_) else "true or false"
    if annotation is str:
        return None if isinstance(value, str) else "a text"
    if annotation is int:
        is_one = isinstance(value, numbers.Integral) and not isinstance(value, bool)
        return None if is_one else "an integer"
    if annotation is float:
        return None if _is_number(value) else "a number"
    if typing.get_origin(annotation) in (tuple, collections.abc.Sequence):
        inner = typing.get_args(annotation)[0]
        is_list = isinstance(value, collections.abc.Sequence) and not isinstance(value, str)
        if not is_list or any(_missed(item, inner) for item in value):
            return {int: "a list of integers", float: "a list of numbers"}.get(inner)
    return None


def _is_number(value: Any) -> bool:
    """Whether it is one, of Python, NumPy or TensorFlow."""
    return not isinstance(value, _JSON_BUT_NUMBERS)
