"""The MLP zoo (Unterthiner et al. 2020, Supplement E)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from metanet.constraints import Count
from metanet.distributions import Distribution
from metanet.generation.mlp import MLP
from metanet.generation.recipes.base import UNTERTHINER, Recipe


@dataclass(frozen=True)
class MLPRecipe(Recipe):
    """The MLP zoo (Unterthiner et al. 2020, Supplement E): one width per network, the same for all hidden layers.

    Attributes:
        num_units: width of the hidden layers; a list: drawn for each network.
        num_layers: hidden layers; a list: drawn for each network.
    """

    num_units: Count | list[Count] = 16
    num_layers: Count | list[Count] = 3
    name: ClassVar[str] = "mlp"
    required: ClassVar[frozenset[str]] = UNTERTHINER

    def distributions(self) -> dict[str, Distribution]:
        return self.hyperparameters | {"num_units": self.num_units, "fc_depth": self.num_layers}

    def network(self, hp: Mapping[str, Any], shape: tuple[int, int, int], classes: int) -> MLP:
        """The multilayer perceptron of Supplement E."""
        return MLP(shape, num_layers=int(hp["hp.fc_depth"]), num_units=int(hp["hp.num_units"]), classes=classes)
