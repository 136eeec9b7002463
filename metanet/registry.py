"""Things of one kind by name: those of the package, of installed packages (entry points), and of files by path."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Generic, TypeVar

from metanet.errors import MetanetError, did_you_mean
from metanet.plugins import is_path, load_object

T = TypeVar("T")


class Registry(Generic[T]):
    """Classes or objects of one kind, imported when they are asked for.

    A name stands for what the package has at its home; for an entry point of the group ``metanet.<kind>s`` of an installed
    package; or, as ``FILE.py:NAME``, for what a file holds.

    Args:
        kind: the config key, such as ``recipe``; it stands in messages.
        homes: of each name of the package, ``MODULE:ATTRIBUTE``, or a module that holds what bears the name in its attribute
            ``name``.
        suits: whether something from outside is of this kind.
        wanted: what it should be, for the message where it is not.
    """

    def __init__(self, kind: str, homes: Callable[[], Mapping[str, str]], suits: Callable[[Any], bool], wanted: str) -> None:
        self.kind, self.homes, self.suits, self.wanted = kind, homes, suits, wanted

    def __repr__(self) -> str:
        return f"Registry({self.kind}: {', '.join(self.names())})"

    def names(self) -> list[str]:
        """What a name may be, sorted, beside ``FILE.py:NAME``."""
        return sorted({*self.homes(), *entries(self.kind)})

    def __contains__(self, name: str) -> bool:
        """Whether a name is known; a path is no name."""
        return name in self.homes() or name in entries(self.kind)

    def find(self, name: str) -> T:
        """What a name stands for.

        Raises:
            MetanetError: there is none of that name, or it is of another kind.
        """
        if is_path(name):
            return self._suited(name, load_object(name))
        if (home := self.homes().get(name)) is not None:
            module, _, attribute = home.partition(":")
            held = vars(importlib.import_module(module))
            return held[attribute] if attribute else next(v for v in held.values() if _named(v) == name and self.suits(v))
        if (entry := entries(self.kind).get(name)) is not None:
            return self._suited(name, entry.load())
        raise MetanetError(f"no {self.kind} '{name}'{did_you_mean(name, self.names())}")

    def _suited(self, name: str, found: Any) -> T:
        if not self.suits(found):
            raise MetanetError(f"{self.kind}={name} is no {self.wanted}")
        return found


def entries(kind: str) -> dict[str, EntryPoint]:
    """What installed packages offer of a kind, by name."""
    return {entry.name: entry for entry in entry_points(group=f"metanet.{kind.removesuffix('s')}s")}


def _named(value: Any) -> Any:
    """The name that something bears itself, not one that its class or base has."""
    return vars(value).get("name") if hasattr(value, "__dict__") else None
