"""metanet: meta-models on the raw weights of trained networks.

    zoo = metanet.open_zoo("zoos/digits")
    last = zoo.view(epoch="last")
    train, test = last.split(test=0.5, seed=0)
    model = metanet.create_model("gbm", features="stats").fit(train, target="test_accuracy")
    model.score(test)

Everything is imported on first use, so that importing metanet costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOMES = {
    "batches": "metanet.data_modules.loaders",
    "import_zoo": "metanet.formats",
    "Layout": "metanet.zoo",
    "View": "metanet.zoo",
    "Zoo": "metanet.zoo",
    "ZooBuilder": "metanet.zoo",
    "open_zoo": "metanet.zoo",
    "zoo_from_arrays": "metanet.zoo",
    "create_model": "metanet.models",
    "list_models": "metanet.models",
    "load_model": "metanet.models",
    "describe": "metanet.formats.describe",
    "list_features": "metanet.features.unions",
    "list_recipes": "metanet.generation.recipes",
    "MetanetError": "metanet.errors",
}

__all__ = ["__version__", *_HOMES]

if TYPE_CHECKING:
    from metanet.data_modules.loaders import batches
    from metanet.errors import MetanetError
    from metanet.features.unions import list_features
    from metanet.formats import import_zoo
    from metanet.formats.describe import describe
    from metanet.generation.recipes import list_recipes
    from metanet.models import create_model, list_models, load_model
    from metanet.zoo import Layout, View, Zoo, ZooBuilder, open_zoo, zoo_from_arrays


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'metanet' has no attribute '{name}'")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
