"""The Small CNN Zoo (Unterthiner et al. 2020)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from metanet.constraints import Count
from metanet.distributions import Distribution
from metanet.generation.networks import SmallCNN
from metanet.generation.recipes.base import UNTERTHINER, Recipe


@dataclass(frozen=True)
class SmallCNNRecipe(Recipe):
    """The Small CNN Zoo (Unterthiner et al. 2020, section 4.1 and Supplement A.2).

    Attributes:
        num_units: filters of each convolution; a list: drawn for each network.
        num_layers: convolutions; a list: drawn for each network.
    """

    num_units: Count | list[Count] = 16
    num_layers: Count | list[Count] = 3
    name: ClassVar[str] = "small_cnn"
    required: ClassVar[frozenset[str]] = UNTERTHINER

    def distributions(self) -> dict[str, Distribution]:
        return self.hyperparameters | {"num_units": self.num_units, "conv_depth": self.num_layers}

    def network(self, hp: Mapping[str, Any], shape: tuple[int, int, int], classes: int) -> SmallCNN:
        """The convolutional network of Supplement A.2."""
        return SmallCNN(shape, num_layers=int(hp["hp.conv_depth"]), num_units=int(hp["hp.num_units"]), classes=classes)
