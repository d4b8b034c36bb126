"""Names that resolve to code when it is asked for, so that ``import xopt`` loads no runtime."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from typing import Generic, TypeVar, cast

from xopt.errors import InputError, did_you_mean

__all__ = ["Registry"]

T = TypeVar("T")


class Registry(Generic[T]):
    """A frozen table ``name -> "module:attribute"``.

    Args:
        what: what the names stand for, as an error message says it (``"engine"``).
        entries: each name with the place of its implementation.
    """

    def __init__(self, what: str, entries: Mapping[str, str]) -> None:
        self.what = what
        self._entries = dict(entries)

    def __iter__(self) -> Iterator[str]:
        """The names, in the order they were registered."""
        return iter(self._entries)

    def __contains__(self, name: object) -> bool:
        """Whether ``name`` is registered."""
        return name in self._entries

    def resolve(self, name: str) -> T:
        """Import and return what ``name`` stands for.

        Raises:
            InputError: no such name.
        """
        if name not in self._entries:
            raise InputError(
                f"Unknown {self.what} {name!r}.", hint=did_you_mean(name, self._entries)
            )
        module, _, attribute = self._entries[name].partition(":")
        return cast(T, getattr(importlib.import_module(module), attribute))
