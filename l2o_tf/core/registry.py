"""Names for the interchangeable parts: update rules, optimizees, data sets."""

from collections.abc import Callable
from typing import Generic, TypeVar

from l2o_tf.core import errors

T = TypeVar("T")


class Registry(Generic[T]):
    """An explicit table from names to factories.

    Attributes:
        kind: what the entries are, used in error messages, such as "update rule".
    """

    def __init__(self, kind: str):
        self.kind = kind
        self._factories: dict[str, Callable[..., T]] = {}

    def register(self, name: str) -> Callable[[Callable[..., T]], Callable[..., T]]:
        """Returns a decorator that files a factory (a class or a function) under `name`."""

        def add(factory: Callable[..., T]) -> Callable[..., T]:
            if name in self._factories:
                raise ValueError(f"{self.kind} {name!r} is registered twice")
            self._factories[name] = factory
            return factory

        return add

    def names(self) -> list[str]:
        """The registered names, in order of registration."""
        return list(self._factories)

    def get(self, name: str) -> Callable[..., T]:
        """The factory filed under `name`.

        Raises:
            InputError: if there is none; the message lists the known names.
        """
        if name not in self._factories:
            raise errors.InputError(
                f"unknown {self.kind} {name!r}; known: {', '.join(self.names())}"
            )
        return self._factories[name]

    def create(self, name: str, *args, **kwargs) -> T:
        """Calls the factory filed under `name`; raises as `get` does."""
        return self.get(name)(*args, **kwargs)
