"""Zoos that many tests share: a small grown one, and one in memory whose target is known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from metanet.cli.compose import compose
from metanet.data_modules.images import load_images
from metanet.generation.recipes import Recipe, create_recipe
from metanet.generation.runner import generate
from metanet.testing import example_zoo
from metanet.testing.zoos import SPACE
from metanet.zoo import Zoo, open_zoo

# The recipe of one's own that the README shows.
MINE = """
from math import prod
from torch import nn
from metanet.generation.recipes import ModuleRecipe

class MyRecipe(ModuleRecipe):
    space = {"optimizer": ["sgd", "adam"], "learning_rate": {"log_uniform": [1e-3, 1e-1]}, "num_units": [4, 8]}
    epochs = 3

    def module(self, hp, shape, classes):
        units = hp["num_units"]
        hidden = [nn.Linear(prod(shape), units), nn.BatchNorm1d(units), nn.ReLU()]
        return nn.Sequential(nn.Flatten(), *hidden, nn.Linear(units, classes))
"""


def small_recipe(epochs: int = 2, **changes: Any) -> Recipe:
    """The Small CNN recipe cut to seconds; keyword arguments fix hyperparameters or settings."""
    settings: dict[str, Any] = {"epochs": epochs, "batch_size": 32, "snapshots": [0, 1, epochs]}
    hyperparameters = dict(SPACE)
    for key, value in changes.items():
        (hyperparameters if key in SPACE else settings)[key] = value
    return create_recipe("small_cnn", hyperparameters=hyperparameters, **settings)


def assert_same_zoo(a: Zoo, b: Zoo) -> None:
    """Bit-equal weights and metrics, whatever the number of shards."""
    keys = ["network_id", "epoch"]
    metrics = [*keys, "test_accuracy", "train_loss", "crc32"]
    pd.testing.assert_frame_equal(a.snapshots[metrics], b.snapshots[metrics])
    networks = a.networks.drop(columns="seconds")
    pd.testing.assert_frame_equal(networks, b.networks.drop(columns="seconds"))
    vectors = (zoo.view(epoch="all", status=None).vectors() for zoo in (a, b))
    assert all(np.array_equal(x, y) for x, y in zip(*vectors, strict=True))


@pytest.fixture(scope="session")
def grown_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished zoo of 30 digits networks; tests must not write into it."""
    folder = tmp_path_factory.mktemp("grown") / "zoo"
    generate(small_recipe(), n=30, out=folder, seed=3, group_size=8, converged=0.5, engine="torch")
    return folder


@pytest.fixture(scope="session")
def grown(grown_folder: Path) -> Zoo:
    return open_zoo(grown_folder)


@pytest.fixture(scope="session")
def known() -> Zoo:
    """200 weight vectors whose accuracy is a function of their spread and whose optimizer shifts a bias."""
    return example_zoo()


@pytest.fixture(scope="session")
def nws_zoos(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One zoo of mixed architectures and two image sets, one of a single architecture."""
    folder = tmp_path_factory.mktemp("nws")
    digits = load_images("digits")
    others = {"digits": digits, "mnist": replace(digits, name="mnist", train_labels=digits.train_labels.flip(0))}
    found = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("metanet.generation.training.load_images", lambda name, *_: others[name])
        for name, data, n in (("mixed", ["digits", "mnist"], 24), ("fixed", "digits", 40)):
            config = compose("generate", {"recipe": f"nws_{'main' if name == 'mixed' else 'fixed'}_mini", "out": "z"})["recipe"]
            sizes = {
                "filter_size": 3,
                "conv_depth": [3, 4] if name == "mixed" else 3,
                "fc_depth": 2,
                "conv_width": 4,
                "fc_width": 16,
            }
            space = (
                config["hyperparameters"]
                | sizes
                | {"batch_size": [16, 32], "w_init": ["constant", "glorot_normal"], "optimizer": ["adam", "momentum"]}
            )
            recipe = create_recipe(**config | {"hyperparameters": space, "epochs": 4, "train_images": 200, "test_images": 60})
            bound = 0.05 if isinstance(data, str) else {"digits": 0.15, "mnist": 0.0}
            zoo = generate(recipe, data, n=n, out=folder / name, converged=bound, trainer={"accelerator": "cpu"}, engine="blocks")
            assert zoo is not None
            found[name] = folder / name
    return found
