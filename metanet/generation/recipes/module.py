"""Recipes of any ``nn.Module``: of the package, and of your own by path (``recipe=./mine.py:MyRecipe``)."""

from __future__ import annotations

import functools
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar

from torch import nn

from metanet.distributions import Distribution
from metanet.errors import MetanetError
from metanet.generation.recipes.base import Recipe


@dataclass(frozen=True)
class ModuleNetwork:
    """Any ``nn.Module`` as a base network: what one row of hyperparameters makes.

    Attributes:
        recipe: whose ``module`` builds it.
        hp: the row, names without ``hp.``.
    """

    recipe: ModuleRecipe
    hp: dict[str, Any]
    input_shape: tuple[int, int, int]
    classes: int

    def module(self) -> nn.Module:
        """A new module; its initial weights follow torch's global generator.

        Raises:
            MetanetError: the recipe makes no module that can be trained.
        """
        name = type(self.recipe).__name__
        try:
            module = self.recipe.module(self.hp, self.input_shape, self.classes)
        except Exception as error:  # of the user's code, whatever it is
            raise MetanetError(f"{name}.module failed for {self.hp}: {type(error).__name__}: {error}") from error
        if not isinstance(module, nn.Module):
            raise MetanetError(f"{name}.module returned {type(module).__name__}; return an nn.Module")
        if any(isinstance(p, nn.parameter.UninitializedParameter) for p in module.parameters()):
            raise MetanetError(
                f"{name}.module returned a module with lazy layers, whose sizes are unknown; give their input sizes"
            )
        return module


@dataclass(frozen=True)
class ModuleRecipe(Recipe):
    """Base class of recipes of your own: give :meth:`module`, and the hyperparameters as you like.

    ``optimizer`` and ``learning_rate`` are needed; ``l2reg`` (on kernels) and ``train_fraction`` are honoured where
    they are drawn; everything else is handed to :meth:`module`. Trained by the torch engine, network by network.
    """

    epochs: int = 10
    batch_size: int = 64
    snapshots: Sequence[int] = (0,)
    hyperparameters: dict[str, Distribution] = None  # type: ignore[assignment]  # the class's `space`

    space: ClassVar[dict[str, Distribution]] = {}
    source: ClassVar[str] = ""  # FILE.py:CLASS with its absolute path

    def __post_init__(self) -> None:
        least = {"optimizer": "adam", "learning_rate": 1e-3}
        object.__setattr__(self, "hyperparameters", least | self.space | (self.hyperparameters or {}))
        super().__post_init__()

    def __reduce__(self) -> Any:
        """Pickled as path and settings, for worker processes cannot import the class by name."""
        settings = {f.name: getattr(self, f.name) for f in fields(self)}
        return (_rebuild, (self.source, settings)) if self.source else (functools.partial(type(self), **settings), ())

    def to_json(self) -> dict[str, Any]:
        """Plain values, with a checksum of the file, so that an edited recipe is another plan."""
        facts = super().to_json()
        if self.source:
            facts["crc32"] = zlib.crc32(Path(self.source.rpartition(":")[0]).read_bytes())
        return facts

    def network(self, hp: Mapping[str, Any], shape: tuple[int, int, int], classes: int) -> ModuleNetwork:
        """This row's module."""
        plain = {k.removeprefix("hp."): v for k, v in hp.items() if k.startswith("hp.")}
        return ModuleNetwork(self, plain, shape, classes)

    def module(self, hp: dict[str, Any], shape: tuple[int, int, int], classes: int) -> nn.Module:
        """A network for images (B, C, H, W) in [-1, 1] that returns logits (B, classes).

        Args:
            hp: this network's hyperparameters.
            shape: (H, W, C) of the images.
            classes: number of classes.
        """
        raise NotImplementedError


def _rebuild(source: str, settings: dict[str, Any]) -> Recipe:
    from metanet.generation.recipes import create_recipe

    return create_recipe(source, **settings)
