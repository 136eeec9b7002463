"""What declares a key of a verb."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Annotated, Any

from metanet.constraints import Interval

NEEDED = "???"  # as OmegaConf writes what has no default
VERBATIM = "verbatim"
Text = Annotated[str, VERBATIM]  # neither split at commas nor read as YAML
AtLeastTwo = Annotated[int, Interval(2)]


@dataclass(frozen=True)
class Key:
    """One key of a verb.

    Attributes:
        default: where nothing is given; of a group, the name of an option.
        kind: what it may be, see :mod:`metanet.constraints`.
        meaning: in a line.
        over: settings of a group that this verb changes; None where the key is no group.
    """

    default: Any
    kind: Any
    meaning: str
    over: Mapping[str, Any] | None = None


def key(default: Any, meaning: str, name: str | None = None) -> Any:
    """A field that is a key; ``name`` is what the command line calls it."""
    return field(default_factory=lambda: deepcopy(default), metadata={"meaning": meaning, "name": name})


def group(default: str, meaning: str, over: Mapping[str, Any] | None = None) -> Any:
    """A field that is a config group."""
    return field(default=default, metadata={"meaning": meaning, "over": over or {}})


def part(kind: type) -> Any:
    """A field that has keys of its own."""
    return field(default_factory=kind)
