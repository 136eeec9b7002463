"""Small residual networks that can overfit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from metanet.constraints import Count
from metanet.distributions import Distribution
from metanet.generation.recipes.module import ModuleRecipe
from metanet.generation.resnet import ResNetMini


@dataclass(frozen=True)
class ResNetMiniRecipe(ModuleRecipe):
    """Residual networks that can overfit, of three widths (in the place of Unterthiner et al. 2020, section 5.2).

    Attributes:
        num_blocks: residual blocks of each of the three stages: 1 makes 8 layers with weights, 2 makes 14.
    """

    num_blocks: Count = 1
    name: ClassVar[str] = "resnet_mini"
    space: ClassVar[dict[str, Distribution]] = {"num_units": 8, "dropout": 0.0}

    def module(self, hp: dict[str, Any], shape: tuple[int, int, int], classes: int) -> ResNetMini:
        return ResNetMini(shape[2], int(hp["num_units"]), self.num_blocks, classes, float(hp["dropout"]))
