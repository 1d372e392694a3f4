"""Names for the interchangeable parts: update rules, optimizees, problem sets."""

from collections.abc import Callable
from typing import Any, Generic, NamedTuple, TypeVar

from l2o_tf.core import errors, plugins

T = TypeVar("T")
Factory = TypeVar("Factory", bound=Callable)


class _Entry(NamedTuple):
    factory: Callable
    facts: dict[str, Any]


def _is_newer(factory: Callable, known: Callable) -> bool:
    """Whether it is the same definition, which ran again, as a notebook's cell does."""
    name = getattr(factory, "__qualname__", "<unknown>")
    if "<" in name:  # What is defined in a function, or a lambda, may be many things.
        return False
    return (factory.__module__, name) == (known.__module__, getattr(known, "__qualname__", None))


class Registry(Generic[T]):
    """An explicit table from names to factories and to facts about what these make.

    Attributes:
        kind: what the entries are, used in error messages, such as "update rule".
    """

    def __init__(self, kind: str, **facts: Any):
        """Creates an empty table; `facts` are what an entry can state, with the defaults."""
        self.kind = kind
        self._defaults = facts
        self._entries: dict[str, _Entry] = {}

    def register(self, name: str, **facts: Any) -> Callable[[Factory], Factory]:
        """Returns a decorator that files a factory, a class or a function, under `name`.

        Args:
            name: the name.
            **facts: what is to be known of it, where that is not the default.

        A definition that ran again, such as a cell of a notebook, takes the place of the former.
        """
        unknown = facts.keys() - self._defaults.keys()
        if unknown:
            raise TypeError(f"{self.kind} {name!r} is registered with unknown {sorted(unknown)}")

        def add(factory: Factory) -> Factory:
            known = self._entries.get(name)
            if known is not None and not _is_newer(factory, known.factory):
                raise ValueError(f"{self.kind} {name!r} is registered twice")
            self._entries[name] = _Entry(factory, {**self._defaults, **facts})
            return factory

        return add

    def names(self) -> list[str]:
        """The registered names, in order of registration."""
        return list(self._entries)

    def get(self, name: str) -> Callable[..., T]:
        """The factory filed under `name`.

        Raises:
            InputError: if there is none; the message lists the known names.
        """
        return self._entry(name).factory

    def create(self, name: str, *args, **kwargs) -> T:
        """Calls the factory filed under `name`; raises as `get` does."""
        return self.get(name)(*args, **kwargs)

    def fact(self, name: str, key: str) -> Any:
        """What was stated as `key` when `name` was registered; raises as `get` does."""
        return self._entry(name).facts[key]

    def name_of(self, factory: Callable) -> str | None:
        """The first name under which a factory is filed; None if it is not."""
        names = (name for name, entry in self._entries.items() if entry.factory is factory)
        return next(names, None)

    def plugin(self, name: str) -> str | None:
        """The module of the user's own that files `name`; None for this package's own names."""
        return plugins.home(self._entries[name].factory) if name in self._entries else None

    def require(self, name: Any, plugin: Any) -> None:
        """Checks that a name is registered if a file, perhaps a stranger's, says who does that.

        Args:
            name: the name, as the file has it.
            plugin: the module that registers it, as the file says; it is not imported.

        Raises:
            InputError: if it is not; the message names the plug-in.
        """
        hint = plugins.hint(plugin)
        if hint and isinstance(name, str) and name not in self._entries:
            raise errors.InputError(f"unknown {self.kind} {name!r}: {hint}")

    def _entry(self, name: str) -> _Entry:
        if name not in self._entries:
            raise errors.InputError(
                f"unknown {self.kind} {name!r}; known: {', '.join(self.names())}; for your own "
                "name its module with --plugins, or import it in Python"
            )
        return self._entries[name]
