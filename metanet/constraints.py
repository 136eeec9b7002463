"""What a setting may be, read off its annotation: one check and one sentence for all settings.

    def __init__(self, channels: Count = 64, loss: Annotated[str, OneOf("mse", "cross_entropy")] = "mse")

``int``, ``float``, ``bool``, ``str`` and ``None`` say of which kind a value is; ``Annotated`` narrows it by :class:`Interval` or
:class:`OneOf`; unions, lists and mappings hold members. Every other annotation lets everything pass.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from metanet.errors import MetanetError, nearest

LARGEST_SEED = 2**31 - 1  # LightGBM's is a signed number of 32 bits


@dataclass(frozen=True)
class Interval:
    """Numbers from ``low`` to ``high``; None is no bound, and ``open`` names the ends that are left out."""

    low: float | None = None
    high: float | None = None
    open: Literal["", "low", "high", "both"] = ""

    def allows(self, value: Any) -> bool:
        """Whether a number lies within; one that is not a number does not."""
        above = self.low is None or (value > self.low if self.open in ("low", "both") else value >= self.low)
        below = self.high is None or (value < self.high if self.open in ("high", "both") else value <= self.high)
        return bool(above and below)

    def __str__(self) -> str:
        words = []
        if self.low is not None:
            words.append(f"{'above' if self.open in ('low', 'both') else 'from'} {self.low}")
        if self.high is None:
            words += ["up"] if words and words[0].startswith("from") else []
        else:
            high = "2^31 - 1" if self.high == LARGEST_SEED else str(self.high)
            words.append(f"up to, not including, {high}" if self.open in ("high", "both") else f"up to {high}")
        return " ".join(words)


@dataclass(frozen=True, init=False)
class OneOf:
    """One of some values."""

    options: tuple[Any, ...]

    def __init__(self, *options: Any) -> None:
        object.__setattr__(self, "options", options)

    def allows(self, value: Any) -> bool:
        """Whether a value is among them."""
        return value in self.options

    def __str__(self) -> str:
        *most, last = map(str, self.options)
        return f"{', '.join(most)} or {last}" if most else last


Count = Annotated[int, Interval(1)]
Seed = Annotated[int, Interval(0, LARGEST_SEED)]
Positive = Annotated[float, Interval(0, open="low")]
NotNegative = Annotated[float, Interval(0)]
Portion = Annotated[float, Interval(0, 1, open="low")]  # none of it makes no sense
Rate = Annotated[float, Interval(0, 1, open="high")]  # all of it makes no sense
Between = Annotated[float, Interval(0, 1, open="both")]

_KINDS: dict[Any, tuple[Callable[[Any], bool], str]] = {
    int: (lambda value: isinstance(value, Integral) and not isinstance(value, bool), "a whole number"),
    float: (lambda value: isinstance(value, Real) and not isinstance(value, bool), "a number"),
    bool: (lambda value: isinstance(value, bool), "true or false"),
    str: (lambda value: isinstance(value, str), "a name"),
    NoneType: (lambda value: value is None, "null"),
}


def check(name: str, value: Any, kind: Any) -> None:
    """Refuse a value that an annotation does not allow.

    Raises:
        MetanetError: names the setting, what was given and what is expected.
    """
    if not fits(value, kind):
        shown = "null" if value is None else str(value).lower() if isinstance(value, bool) else value
        near = nearest(value, _words(kind)) if isinstance(value, str) else ""
        raise MetanetError(f"{name}={shown}: give {expected(kind)}{near}")


def check_each(prefix: str, kinds: Mapping[str, Any], values: Mapping[str, Any]) -> None:
    """:func:`check` of all values that have a kind, under names such as ``model.channels``."""
    for key, value in values.items():
        if key in kinds:
            check(f"{prefix}.{key}", value, kinds[key])


def fits(value: Any, kind: Any) -> bool:
    """Whether a value is of a kind."""
    origin, members = get_origin(kind), get_args(kind)
    if origin is Annotated:
        narrowed = [limit for limit in members[1:] if isinstance(limit, Interval | OneOf)]
        return fits(value, members[0]) and all(limit.allows(value) for limit in narrowed)
    if origin in (Union, UnionType):
        return any(fits(value, member) for member in members)
    if origin in (list, Sequence):
        return isinstance(value, list | tuple) and all(fits(member, members[0]) for member in value)
    if origin is dict:
        return isinstance(value, Mapping) and all(fits(member, members[1]) for member in value.values())
    return _KINDS[kind][0](value) if kind in _KINDS else True


def expected(kind: Any) -> str:
    """What a kind allows, in words."""
    origin, members = get_origin(kind), get_args(kind)
    if origin is Annotated:
        limits = [limit for limit in members[1:] if isinstance(limit, Interval | OneOf)]
        if any(isinstance(limit, OneOf) for limit in limits):
            return " or ".join(map(str, limits))
        return " ".join([expected(members[0]), *map(str, limits)])
    if origin in (Union, UnionType):
        return ", or ".join(dict.fromkeys(map(expected, members)))
    if origin in (list, Sequence):
        return f"a list, each member {expected(members[0])}"
    if origin is dict:
        return "a mapping" if members[1] is Any else f"a mapping to {expected(members[1])}"
    return _KINDS[kind][1] if kind in _KINDS else "anything"


def _words(kind: Any) -> list[str]:
    """What a kind names of words."""
    own = [option for option in kind.options if isinstance(option, str)] if isinstance(kind, OneOf) else []
    return own + [word for member in get_args(kind) for word in _words(member)]


@cache
def kinds_of(owner: Any) -> dict[str, Any]:
    """Annotations of a function or a dataclass by name; of one that cannot be read, none."""
    try:
        return get_type_hints(owner, include_extras=True)
    except (NameError, TypeError):  # a name that is imported for type checkers alone
        return {}
