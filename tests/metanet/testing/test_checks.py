"""The public checks: what the registries know passes them, and so does what is added by path; what is broken is said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from omegaconf import OmegaConf

import metanet
from metanet.config_files import config_root
from metanet.errors import MetanetError
from metanet.formats import FORMATS
from metanet.generation.engines import ENGINES
from metanet.models import MatrixModel
from metanet.testing import check_encoder, check_engine, check_features, check_format, check_model, check_recipe

# One option of each recipe's class; the others are other settings of it.
RECIPES = {OmegaConf.load(config_root() / "recipe" / f"{name}.yaml")["name"]: name for name in metanet.list_recipes()}
# Features that need a name behind them, or more hyperparameters than the example has.
NAMED = {"metrics": ("metrics:test_accuracy", "hp.learning_rate"), "hyper_paper": ("hyper", "hp.learning_rate")}


@pytest.mark.parametrize("name", sorted(RECIPES.values()))
def test_every_recipe_keeps_its_contract(name: str) -> None:
    check_recipe(name)


@pytest.mark.parametrize("name", ENGINES.names())
def test_every_engine_keeps_its_contract(name: str) -> None:
    reason = check_engine(name)
    assert reason is None or name in ("fused", "fused_cuda"), reason  # which need a compiler, or a GPU


@pytest.mark.parametrize("name", FORMATS.names())
def test_every_format_keeps_its_contract(name: str) -> None:
    check_format(name)


@pytest.mark.parametrize("name", metanet.list_features())
def test_every_feature_keeps_its_contract(name: str) -> None:
    check_features(*NAMED[name][:1] if name in NAMED else (name,), target=NAMED.get(name, ("", "test_accuracy"))[1])


MINE = """
import numpy as np
import torch
from math import prod
from torch import nn
from metanet import Layout
from metanet.formats import Format
from metanet.generation.engines.module_engine import ModuleEngine
from metanet.generation.recipes import ModuleRecipe
from metanet.models.encoder import Encoder, EncoderNetwork

class Tiny(ModuleRecipe):
    space = {"optimizer": ["sgd", "adam"], "learning_rate": {"log_uniform": [1e-3, 1e-1]}}

    def module(self, hp, shape, classes):
        return nn.Sequential(nn.Flatten(), nn.Linear(prod(shape), 2), nn.Tanh(), nn.Linear(2, classes))

class Slow(ModuleEngine):
    name = "slow"

class Sorted(EncoderNetwork):
    width = 16

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(1, 16)

    def forward(self, part):
        return torch.tanh(self.first(part.weights.sort(1).values[..., None])).mean(1)

class Sets(Encoder):
    "A set of weights: no order changes it."
    name = "sets"

    def create_encoder(self):
        return Sorted()

class Flat(Encoder):
    "Reads places, so that an order of neurons is seen."
    name = "flat_encoder"

    def create_encoder(self):
        network = Sorted()
        network.forward = lambda part: part.weights[:, :16]
        return network

layout = Layout.build([("w", "l", "kernel", (2, 3))])

class Numbers(Format):
    name = "numbers"
    accuracy = 0.5

    def read(self, source, zoo, on_progress=None, n_test=None):
        for path in sorted(source.iterdir()):
            zoo.add(path.stem, layout, [(0, np.load(path), {"test_accuracy": self.accuracy})], hp={"optimizer": "adam"})

    def example(self, out):
        out.mkdir()
        for i in range(3):
            np.save(out / f"{i}.npy", np.arange(6) + i)

class Percent(Numbers):
    accuracy = 50.0

def doubled(weights, layout):
    return np.stack([weights.mean(1)] * 2, 1), ["mean", "mean"]

def compared(weights, layout):
    return weights.mean(1, keepdims=True) - weights.mean(), ["mean"]

def means(weights, layout):
    return weights.mean(1, keepdims=True), ["mean"]
"""


@pytest.fixture
def mine(tmp_path: Path) -> str:
    (tmp_path / "mine.py").write_text(MINE)
    return f"{tmp_path}/mine.py"


def test_one_of_each_kind_by_path_is_covered(mine: str) -> None:
    check_recipe(f"{mine}:Tiny")
    check_encoder(f"{mine}:Sets")
    check_format(f"{mine}:Numbers")
    check_features(f"{mine}:means")
    assert check_engine(f"{mine}:Slow") is None


def test_what_is_broken_is_said(mine: str) -> None:
    with pytest.raises(AssertionError, match=r"mine.py:Percent: test_accuracy goes from 50 to 50; it is a share"):
        check_format(f"{mine}:Percent")
    with pytest.raises(AssertionError, match=r"mine.py:doubled: the name \['mean'\] stands for several columns"):
        check_features(f"{mine}:doubled")
    with pytest.raises(AssertionError, match=r"mine.py:compared: .* depends on which others are in the view"):
        check_features(f"{mine}:compared")
    with pytest.raises(AssertionError, match=r"flat_encoder sees the order of hidden neurons"):
        check_encoder(f"{mine}:Flat")
    with pytest.raises(AssertionError, match=r"gbm: is no subclass of metanet\.models\.encoder\.Encoder"):
        check_encoder("gbm")
    with pytest.raises(MetanetError, match="no model 'gmb'"):
        check_model("gmb")


class Fine(MatrixModel):
    """The mean of the targets."""

    name = "fine"

    def __init__(self, power=2, **base):
        super().__init__(**base)
        self.power = power

    def fit_matrix(self, x, y, validation, rounds):
        codes = y if not self.classes else np.eye(self.classes)[y]
        self.mean = codes.mean(0)

    def output_matrix(self, x):
        return np.repeat(self.mean[None], len(x), 0)

    def save_estimator(self, folder):
        np.save(folder / "mean.npy", self.mean)

    def load_estimator(self, folder):
        self.mean = np.load(folder / "mean.npy")


class Forgets(Fine):
    def __init__(self, power=2, **base):
        MatrixModel.__init__(self, **base)


class Pickles(Fine):
    def save_estimator(self, folder):
        super().save_estimator(folder)
        (folder / "model.pkl").write_bytes(b"")


class Batchwise(Fine):
    def output_matrix(self, x):
        return super().output_matrix(x) * (0.5 if len(x) < 5 and not self.classes else 1.0)

    tasks = ("regression",)


class Loses(Fine):
    def load_estimator(self, folder):
        self.mean = np.load(folder / "mean.npy") * 0


class Draws(Fine):
    def fit_matrix(self, x, y, validation, rounds):
        super().fit_matrix(x, y, validation, rounds)
        share = np.random.default_rng().uniform(0.1, 0.9)
        self.mean = self.mean * share + share * (1 - share if not self.classes else (1 - share) / share / self.classes)


class Raw(Fine):
    def output_matrix(self, x):
        return super().output_matrix(x) + 1


class Columns(Fine):
    def output_matrix(self, x):
        return super().output_matrix(x).reshape(len(x), -1)


class Unfinished(MatrixModel):
    name = "unfinished"


def test_a_model_that_keeps_its_contract_passes() -> None:
    check_model(Fine, power=3)


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        (Forgets, r"Forgets: keeps no attribute of the name of each constructor's argument \(.*'power'"),
        (Pickles, r"Pickles: save writes \['model.pkl'\]; write JSON"),
        (Batchwise, r"Batchwise: what is said of a network depends on which others are in the view"),
        (Loses, r"Loses: target=test_accuracy: answers otherwise after saving and loading"),
        (Draws, r"Draws: two fits with seed=1 on the same networks answer differently"),
        (Raw, r"Raw: target=hp.optimizer: probabilities of a network sum to 1 \+ 3"),
        (Columns, r"Columns: target=test_accuracy: output has shape \(24, 1\), wanted is \(24,\)"),
        (Unfinished, r"Unfinished: does not write fit_matrix, load_estimator, output_matrix, save_estimator"),
        (int, r"<class 'int'> is neither a name nor a subclass"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_broken_model_is_told_what_it_breaks(broken: type, words: str) -> None:
    with pytest.raises(AssertionError, match=words):
        check_model(broken)
