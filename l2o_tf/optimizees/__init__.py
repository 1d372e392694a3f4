"""Optimizees by name: `create("mlp", dataset=...)`; those without data ignore the data set.

A name with a colon is an optimizee of the user's own: `create("my_module:make", dataset, ...)`
imports `my_module`, from the current directory or wherever Python finds modules, and calls
`make(dataset, ...)`, which returns an `Optimizee`, for instance a `keras_model.KerasModel`.
Training passes `batch_size` as well.
"""

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from l2o_tf.core import errors, plugins

# Importing an optimizee fills the registry.
from l2o_tf.optimizees import checks, conv, lenet, mlp, nas, toy, vgg  # noqa: F401
from l2o_tf.optimizees.base import OPTIMIZEES, Optimizee, register

__all__ = [
    "Optimizee",
    "create",
    "default_dataset",
    "get",
    "label",
    "names",
    "options",
    "register",
]

names = OPTIMIZEES.names


def get(name: str) -> Callable[..., Optimizee]:
    """The factory of an optimizee, called with a data set.

    Args:
        name: a registered name or "module:function".

    Raises:
        InputError: if there is none; a factory of the user's own raises it as well, if it does
            not take the arguments, fails, or does not return an `Optimizee` that can be trained.
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
        with plugins.making(f"optimizee {name!r}"):
            made = make(*args, **kwargs)
        if not isinstance(made, Optimizee):
            raise errors.InputError(
                f"{name} returns a {type(made).__name__}: return an l2o_tf Optimizee, such as "
                "l2o_tf.optimizees.keras_model.KerasModel(model, loss, dataset)"
            )
        if not made.checks_itself:
            checks.check(made, f"optimizee {name!r}")
            checks.ask_xla(made, f"optimizee {name!r}")
        return made

    return factory


def create(name: str, *args, **kwargs) -> Optimizee:
    """Calls the factory of an optimizee; raises as `get` and its factory do."""
    return get(name)(*args, **kwargs)


def label(name: str) -> str:
    """What results and file names call an optimizee: "my_module.make" for "my_module:make"."""
    return name.replace(":", ".")


def default_dataset(name: str) -> str | None:
    """The data set on which the paper runs an optimizee; None for one whose loss needs no data.

    A function of the user's own says it when it is registered, `register("name", dataset=None)`,
    or by an attribute, `make.dataset = None`; else it is mnist.

    Raises:
        InputError: as `get` does.
    """
    if ":" in name:
        make = _import(name)
        registered = OPTIMIZEES.name_of(make)
        if registered is None:
            return getattr(make, "dataset", "mnist")
        name = registered
    return OPTIMIZEES.fact(name, "dataset")


def options(named: Sequence[str], values: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The further arguments of each of the optimizees that a command line names.

    Args:
        named: the names of the optimizees.
        values: options of all of them, and under the name of an optimizee those of it alone.

    Raises:
        InputError: for an option that an optimizee has not, or a value of the wrong type. The
            arguments of a user's own function are checked when it is called.
    """
    shared = {option: value for option, value in values.items() if option not in named}
    found = {}
    for name in named:
        own = values.get(name, {})
        if not isinstance(own, Mapping):
            raise errors.InputError(
                f"--optimizee_options: {name} needs an object of its options, got {own!r}"
            )
        found[name] = {**shared, **own}
        if ":" not in name:
            for option, value in found[name].items():
                _check_option(name, option, value)
    return found


def _check_option(name: str, option: str, value: Any) -> None:
    known = OPTIMIZEES.fact(name, "options")
    if option not in known:
        raise errors.InputError(
            f"--optimizee_options: {name} has no option {option!r}; it has "
            f"{', '.join(known) or 'none'}"
        )
    kind = known[option]
    fits = isinstance(value, (int, float) if kind is float else kind)
    fits = fits and isinstance(value, bool) == (kind is bool) and (kind is not int or value >= 1)
    if not fits:
        expected = {bool: "true or false", int: "a whole number from 1 on"}.get(kind, kind.__name__)
        raise errors.InputError(
            f"--optimizee_options: {option} of {name} must be {expected}, got {value!r}"
        )


def _import(name: str) -> Callable[..., Optimizee]:
    remedy = "define {}(dataset) that returns an Optimizee"
    return plugins.attribute(name, "optimizee", "function", remedy)
