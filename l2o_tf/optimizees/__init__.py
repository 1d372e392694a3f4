"""Optimizees by name: `create("mlp", dataset=...)`; those without data ignore the data set.

A name with a colon is an optimizee of the user's own: `create("my_module:make", dataset, ...)`
imports `my_module`, from the current directory or wherever Python finds modules, and calls
`make(dataset, ...)`, which returns an `Optimizee`, for instance a `keras_model.KerasModel`.
Training passes `batch_size` as well.
"""

import functools
import importlib
import inspect
from collections.abc import Callable

from l2o_tf.core import errors
from l2o_tf.optimizees import conv, lenet, mlp, nas, toy, vgg  # noqa: F401  (fills the registry)
from l2o_tf.optimizees.base import OPTIMIZEES, Optimizee, register

__all__ = ["Optimizee", "create", "default_dataset", "get", "label", "names", "register"]

names = OPTIMIZEES.names

_ON_CIFAR = ("conv_cifar", "nas_cifar", "lenet", "vgg16", "cifar_multi")
_WITHOUT_DATA = ("simple", "simple_multi", "quadratic", "square_cos")


def get(name: str) -> Callable[..., Optimizee]:
    """The factory of an optimizee, called with a data set.

    Args:
        name: a registered name or "module:function".

    Raises:
        InputError: if there is none; a factory of the user's own raises it as well, if it does
            not take the arguments or does not return an `Optimizee`.
    """
    if ":" not in name:
        return OPTIMIZEES.get(name)
    make = _import(name)

    @functools.wraps(make)
    def factory(*args, **kwargs) -> Optimizee:
        try:
            inspect.signature(make).bind(*args, **kwargs)
        except TypeError as error:
            arguments = ", ".join(["dataset", *(f"{key}=..." for key in kwargs)])
            raise errors.InputError(
                f"optimizee {name!r} cannot be called with ({arguments}): {error}"
            ) from None
        made = make(*args, **kwargs)
        if not isinstance(made, Optimizee):
            raise errors.InputError(
                f"{name} returns a {type(made).__name__}: return an l2o_tf Optimizee, such as "
                "l2o_tf.optimizees.keras_model.KerasModel(model, loss, dataset)"
            )
        return made

    return factory


def create(name: str, *args, **kwargs) -> Optimizee:
    """Calls the factory of an optimizee; raises as `get` and its factory do."""
    return get(name)(*args, **kwargs)


def label(name: str) -> str:
    """What results and file names call an optimizee: "my_module.make" for "my_module:make"."""
    return name.replace(":", ".")


def default_dataset(name: str) -> str | None:
    """The data set on which the paper runs an optimizee; None for one whose loss needs no data."""
    if name in _WITHOUT_DATA:
        return None
    return "cifar10" if name in _ON_CIFAR else "mnist"


def _import(name: str) -> Callable[..., Optimizee]:
    module_name, _, attribute = name.partition(":")
    if not all(part.isidentifier() for part in [*module_name.split("."), attribute]):
        raise errors.InputError(
            f"optimizee {name!r} is not of the form module:function, such as my_module:make"
        )
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # The user's module may raise anything.
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise errors.InputError(
            f"optimizee {name!r}: cannot import {module_name} ({reason}); it must be in the "
            "current directory or on PYTHONPATH and import without errors"
        ) from error
    make = getattr(module, attribute, None)
    if not callable(make):
        raise errors.InputError(
            f"optimizee {name!r}: {module_name} has no function {attribute!r}; define "
            f"{attribute}(dataset) that returns an Optimizee"
        )
    return make
