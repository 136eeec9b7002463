"""What a meta-model or a recipe can be given: read off its constructor, and off its docstring what each setting means."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import MISSING, dataclass, fields
from typing import Any

from metanet.constraints import expected, kinds_of

ELSEWHERE = ("features", "seed", "threads", "trainer")  # keys of their own on the command line


@dataclass(frozen=True)
class Setting:
    """One setting of a class.

    Attributes:
        default: of the class; None where there is none.
        kind: its annotation, see :mod:`metanet.constraints`.
        meaning: from the docstring.
        needed: whether there is no default.
    """

    default: Any
    kind: Any
    meaning: str
    needed: bool = False


def settings_of(group: str, name: str) -> dict[str, Setting]:
    """The settings of ``model=NAME`` or ``recipe=NAME``; those that a config has beside the group are left out.

    Raises:
        MetanetError: there is no such class.
    """
    return _of_model(name) if group == "model" else _of_recipe(name)


def _of_model(name: str) -> dict[str, Setting]:
    from metanet.models.base import constructor_arguments, setting_kinds
    from metanet.models.registry import model_class

    cls = model_class(name)
    kinds, words = setting_kinds(cls), meanings(cls)
    unused = () if getattr(cls, "standardise", False) else ("clip",)  # bounds standardised inputs
    return {
        key: Setting(None if p.default is p.empty else p.default, kinds.get(key, Any), words.get(key, ""), p.default is p.empty)
        for key, p in constructor_arguments(cls).items()
        if key not in ELSEWHERE and key not in unused
    }


def _of_recipe(name: str) -> dict[str, Setting]:
    from metanet.generation.recipes import RECIPES

    cls = RECIPES.find(name)
    kinds, words = kinds_of(cls), meanings(cls)  # type: ignore[arg-type]  # of the class, not of a recipe
    found = {}
    for f in fields(cls):
        default = f.default_factory() if f.default_factory is not MISSING else getattr(cls, f.name, MISSING)
        needed = default is MISSING or f.name == "hyperparameters"
        plain = list(default) if isinstance(default, tuple) else default
        found[f.name] = Setting(None if needed else plain, kinds.get(f.name, Any), words.get(f.name, ""), needed)
    return found


def meanings(cls: type) -> dict[str, str]:
    """What the docstrings of a class and its bases say of each setting; a class speaks before its bases."""
    found: dict[str, str] = {}
    for base in cls.__mro__:
        found = dict(_entries(vars(base).get("__doc__") or "")) | found
    return found


def _entries(docstring: str) -> Iterator[tuple[str, str]]:
    """Names and texts of the sections ``Args`` and ``Attributes``."""
    for section in re.findall(r"^    (?:Args|Attributes):\n((?:        .*\n|\n)*)", docstring + "\n", re.MULTILINE):
        for names, text in re.findall(r"^        (\w[\w, ]*): (.*(?:\n {12}.*)*)", section, re.MULTILINE):
            words = re.sub(r":\w+:`~?([^`]*)`|``", r"\1", " ".join(text.split()))
            sentence = re.split(r"\. (?=[A-Z])", words)[0].rstrip(".")
            yield from ((name.strip(), sentence) for name in names.split(","))


def described(key: str, setting: Setting, value: Any) -> str:
    """One line of help: the value that stands, what it may be, and what it means."""
    if isinstance(value, dict) and value and setting.needed:  # what is drawn, a line each
        lines = [f"    {key}.{part}={plain(own)}" for part, own in value.items()]
        return "\n".join([f"  {key:<28}{setting.meaning}", *lines])
    shown = "(needed)" if setting.needed and value is None else "null" if value is None else plain(value)
    allowed = expected(setting.kind)
    return f"  {key + '=' + shown:<27} {setting.meaning}" + (f" ({allowed})" if allowed != "anything" else "")


def plain(value: Any) -> str:
    """As it is written on the command line."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{','.join(map(plain, value))}]"
    return "{" + ", ".join(f"{k}: {plain(v)}" for k, v in value.items()) + "}" if isinstance(value, dict) else str(value)
