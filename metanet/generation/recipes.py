"""Recipes: which networks a zoo holds and how each is trained.

A recipe draws hyperparameters and names the base network; everything it uses comes from its config
(``configs/recipe``), so a variant of a recipe is a config, not code.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from metanet.errors import MetanetError, did_you_mean
from metanet.generation.initializers import INITIALIZERS
from metanet.generation.networks import ACTIVATIONS, SmallCNN
from metanet.generation.optimizers import RULES

Distribution = Any  # a value, a list of choices, {"uniform": [a, b]} or {"log_uniform": [a, b]}

_KNOWN_CHOICES: dict[str, dict[str, Any]] = {"optimizer": RULES, "activation": ACTIVATIONS, "w_init": INITIALIZERS}


def draw_column(name: str, distribution: Distribution, n: int, seed: int, dataset: str = "") -> np.ndarray:
    """n draws of one hyperparameter, shape (n,).

    Each column of each data set has a stream of its own, so the first m draws do not depend on n, no
    column depends on another, and zoos of two data sets share no network.
    """
    uniform = np.random.default_rng([seed, zlib.crc32(f"{dataset}/{name}".encode())]).random(n)
    if isinstance(distribution, dict):
        if len(distribution) == 1:
            ((kind, ends),) = distribution.items()
            try:
                low, high = (float(end) for end in ends)
            except (TypeError, ValueError):
                low, high = math.nan, math.nan
            if kind == "uniform" and low <= high:
                return low + (high - low) * uniform
            if kind == "log_uniform" and 0 < low <= high:
                return np.exp(math.log(low) + (math.log(high) - math.log(low)) * uniform)
    else:
        choices = distribution if isinstance(distribution, list) else [distribution]
        if choices and not any(isinstance(c, dict | list) or c is None for c in choices):
            for choice in choices if name in _KNOWN_CHOICES else ():
                if choice not in _KNOWN_CHOICES[name]:
                    raise MetanetError(
                        f"recipe.hyperparameters.{name}={choice} is not known{did_you_mean(choice, _KNOWN_CHOICES[name])}"
                    )
            return np.array(choices)[(uniform * len(choices)).astype(int)]
    raise MetanetError(
        f"recipe.hyperparameters.{name}={distribution} is no distribution; give a value, a list of choices, "
        "{uniform: [low, high]} or {log_uniform: [low, high]}"
    )


@dataclass(frozen=True)
class SmallCNNRecipe:
    """The Small CNN Zoo (Unterthiner et al. 2020, section 4.1 and Supplement A.2).

    Losses are plain cross-entropy in what is stored; training adds ``l2reg * sum(kernel ** 2)`` over
    the kernels, as Keras does.
    """

    epochs: int
    batch_size: int
    snapshots: Sequence[int]  # those beyond the last epoch are dropped; the last epoch is always kept
    hyperparameters: dict[str, Distribution]
    num_units: int = 16
    num_layers: int = 3
    init_scale: str = "std"
    evaluate_every: int | None = None
    name: str = field(default="small_cnn", init=False)

    def __post_init__(self) -> None:
        required = {"optimizer", "learning_rate", "l2reg", "dropout", "init_std", "w_init", "activation", "train_fraction"}
        for key in self.hyperparameters:
            if key not in required:
                raise MetanetError(f"recipe {self.name} has no hyperparameter '{key}'{did_you_mean(key, required)}")
        if missing := required - set(self.hyperparameters):
            raise MetanetError(f"recipe {self.name} needs recipe.hyperparameters.{min(missing)}")
        for key, low in (("epochs", 1), ("batch_size", 1), ("num_units", 1), ("num_layers", 1)):
            if getattr(self, key) < low:
                raise MetanetError(f"recipe.{key}={getattr(self, key)}: give a whole number from {low} up")
        if self.init_scale not in ("std", "variance"):
            raise MetanetError(f"recipe.init_scale={self.init_scale}: give std or variance")
        epochs = self.snapshots if isinstance(self.snapshots, list | tuple) else (None,)
        if bad := [e for e in epochs if not isinstance(e, int) or isinstance(e, bool) or e < 0]:
            raise MetanetError(f"recipe.snapshots={self.snapshots}: give a list of epochs from 0 up, not {bad[0]}")
        kept = {e for e in epochs if e is not None and e < self.epochs}
        object.__setattr__(self, "snapshots", (*sorted(kept), self.epochs))

    def to_json(self) -> dict[str, Any]:
        """Plain values: what a zoo records of its recipe."""
        return asdict(self) | {"snapshots": list(self.snapshots)}

    def draw(self, n: int, seed: int, dataset: str) -> pd.DataFrame:
        """n rows of ``hp.*`` columns, the constant ones included."""
        columns: dict[str, Any] = {"hp.dataset": np.full(n, dataset)}
        for name, distribution in self.hyperparameters.items():
            columns[f"hp.{name}"] = draw_column(name, distribution, n, seed, dataset)
        if self.init_scale == "variance":
            columns["hp.init_std"] = np.sqrt(columns["hp.init_std"].astype(float))
        columns["hp.batch_size"] = np.full(n, self.batch_size)
        columns["hp.num_units"] = np.full(n, self.num_units)
        columns["hp.conv_depth"] = np.full(n, self.num_layers)
        frame = pd.DataFrame(columns)
        ranges = {"dropout": (0.0, 1.0), "train_fraction": (0.0, 1.0 + 1e-12)}
        ranges |= dict.fromkeys(("learning_rate", "l2reg", "init_std"), (0.0, np.inf))
        for name, (low, high) in ranges.items():
            values = frame[f"hp.{name}"]
            if not (pd.api.types.is_numeric_dtype(values) and values.between(low, high, inclusive="left").all()):
                raise MetanetError(f"recipe.hyperparameters.{name} draws values outside [{low:g}, {high:g})")
        return frame

    def network(self, shape: tuple[int, int, int], classes: int) -> SmallCNN:
        """The base network for images of a shape (H, W, C)."""
        return SmallCNN(shape, num_layers=self.num_layers, num_units=self.num_units, classes=classes)


RECIPES = {"small_cnn": SmallCNNRecipe}


def list_recipes() -> list[str]:
    """Names that ``recipe=`` takes."""
    return sorted(RECIPES)


def create_recipe(name: str, **settings: Any) -> SmallCNNRecipe:
    """A recipe from the values of its config."""
    if name not in RECIPES:
        raise MetanetError(f"no recipe '{name}'{did_you_mean(name, RECIPES)}")
    try:
        return RECIPES[name](**settings)
    except TypeError as error:
        raise MetanetError(f"recipe {name}: {error}") from None
