"""Files of the user's own with rules, optimizees and problem sets: imported by name, when told to.

A plug-in is a module whose import fills the registries. Only what a person typed is imported; a
name that stands in a file, such as a rule's card, is never: it may be from a stranger.
"""

import contextlib
import importlib
import os
import pathlib
import sys
import types
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from l2o_tf.core import errors

ENVIRONMENT = "L2O_TF_PLUGINS"
_OWN_PACKAGE = __name__.partition(".")[0]


def requested(names: Iterable[str]) -> tuple[str, ...]:
    """The plug-ins that the environment variable L2O_TF_PLUGINS names, then those of a flag."""
    everywhere = os.environ.get(ENVIRONMENT, "").split(",")
    return tuple(dict.fromkeys(n for n in (*map(str.strip, everywhere), *names) if n))


def load(names: Iterable[str]) -> None:
    """Imports plug-ins.

    Args:
        names: of modules in the current directory or wherever Python finds modules.

    Raises:
        InputError: if one cannot be imported.
    """
    for name in names:
        if not _is_module_name(name):
            raise errors.InputError(
                f"plug-in {name!r} is no name of a module, such as my_file for my_file.py"
            )
        _import(name, f"plug-in {name!r}")


def require(names: Any, what: str) -> None:
    """Checks that the plug-ins that a file names are imported; imports none.

    Args:
        names: a list of modules, as the file has it.
        what: what they are needed for, such as "the run in DIR".

    Raises:
        InputError: if one is not; the message says how to name it.
    """
    for name in names if isinstance(names, list) else []:
        if _is_module_name(name) and name not in sys.modules and name != _script():
            raise errors.InputError(f"{what} needs the plug-in {name}: add --plugins={name}")


def attribute(spec: str, kind: str, noun: str, remedy: str) -> Callable[..., Any]:
    """What "module:name" names, imported.

    Args:
        spec: the text.
        kind: what it is to be, such as "optimizee".
        noun: what Python calls that, such as "function".
        remedy: what to do where the module has no such thing; "{}" stands for its name.

    Raises:
        InputError: if the text has another form or the module lacks it or cannot be imported.
    """
    module_name, _, name = spec.partition(":")
    if not (_is_module_name(module_name) and name.isidentifier()):
        raise errors.InputError(
            f"{kind} {spec!r} is not of the form module:{noun}, such as my_module:make"
        )
    found = getattr(_import(module_name, f"{kind} {spec!r}"), name, None)
    if not callable(found):
        raise errors.InputError(
            f"{kind} {spec!r}: {module_name} has no {noun} {name!r}; {remedy.format(name)}"
        )
    return found


@contextlib.contextmanager
def making(what: str) -> Iterator[None]:
    """Turns whatever a function of the user's own raises into an InputError that names `what`."""
    try:
        yield
    except errors.InputError:
        raise
    except Exception as error:
        reason = errors.reason(error, typed=True)
        raise errors.InputError(f"{what} cannot be made: {reason}") from error


def home(factory: Callable) -> str | None:
    """The plug-in that defines a class or a function; None for this package and for notebooks."""
    module = factory.__module__
    if module == "__main__":
        return _script()
    return None if module.partition(".")[0] == _OWN_PACKAGE else module


def hint(plugin: Any) -> str:
    """What to do about a name that `plugin` registers; empty if that is no module's name."""
    if not _is_module_name(plugin):
        return ""
    return f"the plug-in {plugin} registers it: add --plugins={plugin}, or import it in Python"


def _script() -> str | None:
    """The name under which the running script could be imported."""
    path = getattr(sys.modules["__main__"], "__file__", None)
    return pathlib.Path(path).stem if path else None


def _look_here() -> None:
    """Lets Python find modules in the current directory, where an installed command does not look.

    Last, so that a file of the user's own shadows no module that others import.
    """
    with contextlib.suppress(OSError):  # The directory may be gone.
        here = os.getcwd()
        if not {"", here} & set(sys.path):
            sys.path.append(here)


def _is_module_name(name: Any) -> bool:
    return isinstance(name, str) and all(part.isidentifier() for part in name.split("."))


def _import(name: str, what: str) -> types.ModuleType:
    _look_here()
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as error:  # The user's module may raise anything.
        reason = errors.reason(error, typed=True)
        raise errors.InputError(
            f"{what}: cannot import {name} ({reason}); it must be in the current directory or on "
            "PYTHONPATH and import without errors"
        ) from error
