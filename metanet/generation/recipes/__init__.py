"""Recipes: which networks a zoo holds and how each is trained.

A recipe draws hyperparameters and names the base network; everything it uses comes from its config
(``configs/recipe``), so a variant of a recipe is a config, not code. A recipe is one file here, and one YAML. One of your own,
for any ``nn.Module``, is a subclass of :class:`ModuleRecipe` given by path: ``recipe=./mine.py:MyRecipe``.
"""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

from metanet.config_files import options
from metanet.errors import MetanetError, did_you_mean
from metanet.generation.recipes.base import SHARED, Recipe
from metanet.generation.recipes.module import ModuleNetwork, ModuleRecipe
from metanet.plugins import absolute, is_path
from metanet.registry import Registry, entries

__all__ = ["RECIPES", "SHARED", "ModuleNetwork", "ModuleRecipe", "Recipe", "create_recipe", "list_recipes"]


def _homes() -> dict[str, str]:
    files = (path.stem for path in Path(__file__).parent.glob("*.py"))
    return {name: f"{__name__}.{name}" for name in files if name not in ("__init__", "base", "module")}


def _is_recipe(found: Any) -> bool:
    return isinstance(found, type) and issubclass(found, Recipe)


RECIPES: Registry[type[Recipe]] = Registry("recipe", _homes, _is_recipe, "subclass of metanet.generation.recipes.ModuleRecipe")


def list_recipes() -> list[str]:
    """Names that ``recipe=`` takes: those of ``configs/recipe``, and those of installed packages.

    Examples:
        >>> import metanet
        >>> [name for name in metanet.list_recipes() if name.startswith("nws")]
        ['nws_fixed', 'nws_fixed_mini', 'nws_main', 'nws_main_mini']
    """
    return sorted({*options("recipe"), *entries("recipe")})


def create_recipe(name: str, **settings: Any) -> Recipe:
    """A recipe from the values of its config; ``name`` is the name of a class in :data:`RECIPES` or ``FILE.py:CLASS``.

    Raises:
        MetanetError: there is no such recipe, or it has not such a setting.
    """
    kind = RECIPES.find(name)
    if is_path(name):
        kind, settings = _of_file(name, kind, settings)
    known = [f.name for f in fields(kind)]
    for key in settings:
        if key not in known:
            raise MetanetError(f"recipe {name} has no setting '{key}'{did_you_mean(key, known)}")
    try:
        return kind(**settings)
    except TypeError as error:
        raise MetanetError(f"recipe {name}: {error}") from None


def _of_file(name: str, kind: type[Recipe], settings: dict[str, Any]) -> tuple[type[Recipe], dict[str, Any]]:
    """A class by path that knows where it lies, and the settings that its body gives beside those of the config."""
    if not issubclass(kind, ModuleRecipe):
        raise MetanetError(f"recipe={name} is no {RECIPES.wanted}")
    kind.source = absolute(name)
    kind.name = f"{Path(kind.source).name}"
    inherited = (c for c in reversed(kind.__mro__) if issubclass(c, ModuleRecipe) and c is not ModuleRecipe)
    own = {key: value for c in inherited for key, value in vars(c).items()}
    return kind, {f.name: own[f.name] for f in fields(kind) if f.name in own} | settings
