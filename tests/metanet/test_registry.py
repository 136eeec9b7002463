from __future__ import annotations

from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path

import numpy as np
import pytest

import metanet
from metanet import registry
from metanet.cli.compose import compose
from metanet.cli.main import main
from metanet.errors import MetanetError
from metanet.features.unions import FEATURES, FeatureMap
from metanet.formats import FORMATS
from metanet.generation.engines import ENGINES, Engine
from metanet.generation.engines.torch_engine import TorchEngine
from metanet.generation.recipes import RECIPES, Recipe, create_recipe
from metanet.generation.recipes.nws import NWSRecipe
from metanet.models.base import MetaModel
from metanet.models.registry import MODELS, model_class
from metanet.reproduce.catalogue import EXHIBITS
from metanet.zoo import Zoo


def test_a_name_stands_for_what_bears_it_in_the_file_of_that_name() -> None:
    assert RECIPES.find("nws") is NWSRecipe
    assert ENGINES.find("torch") is TorchEngine
    assert ENGINES.names() == ["blocks", "fused", "fused_cuda", "module", "torch"]
    for name in ENGINES.names():
        assert ENGINES.find(name).name == name
    for name in RECIPES.names():
        assert issubclass(RECIPES.find(name), Recipe)


@pytest.mark.parametrize("kind", [MODELS, FEATURES, RECIPES, ENGINES, FORMATS, EXHIBITS], ids=lambda r: r.kind)
def test_every_name_of_every_kind_is_found_and_suits(kind: registry.Registry[object]) -> None:
    assert kind.names() == sorted(kind.names())
    assert kind.names()
    for name in kind.names():
        assert name in kind
        assert kind.suits(kind.find(name))
    nearly = kind.names()[0] + "x"
    assert nearly not in kind
    with pytest.raises(MetanetError, match=f"no {kind.kind} '{nearly}'; did you mean '{kind.names()[0]}'"):
        kind.find(nearly)
    with pytest.raises(MetanetError, match="no file"):
        kind.find("./nowhere.py:X")


def test_recipes_that_are_listed_can_be_given() -> None:
    assert "nws" not in metanet.list_recipes()  # the name of a class, which has no settings of its own
    for name in metanet.list_recipes():
        assert isinstance(create_recipe(**compose("generate", {"recipe": name})["recipe"]), Recipe)


THEIRS = """
from metanet.generation.recipes.resnet_mini import ResNetMiniRecipe
from metanet.models.constant import Constant
from metanet.reproduce.study import Exhibit

class TheirModel(Constant):
    name = "theirs"

class TheirRecipe(ResNetMiniRecipe):
    name = "theirs"

def widest(weights, layout):
    return abs(weights).max(1, keepdims=True), ["widest"]

def counted(study, name):
    return Exhibit(name, f"{len(study.paths)} zoo", notes=["a note of mine"])
"""


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package that offers one of each."""
    (tmp_path / "their_package.py").write_text(THEIRS)
    monkeypatch.syspath_prepend(tmp_path)
    offered = {"model": "TheirModel", "recipe": "TheirRecipe", "feature": "widest", "exhibit": "counted"}
    found = EntryPoints([EntryPoint("theirs", f"their_package:{what}", f"metanet.{kind}s") for kind, what in offered.items()])
    monkeypatch.setattr(registry, "entry_points", lambda group: found.select(group=group))


@pytest.mark.usefixtures("installed")
def test_what_an_installed_package_offers_is_used_by_name(grown: Zoo, grown_folder: Path, tmp_path: Path) -> None:
    for listed in (metanet.list_models(), metanet.list_recipes(), metanet.list_features()):
        assert "theirs" in listed
    assert compose("train", {"model": "theirs", "model.depth": "3"})["model"] == {"name": "theirs", "depth": 3}
    recipe = create_recipe(**compose("generate", {"recipe": "theirs", "recipe.epochs": "3"})["recipe"])
    assert (recipe.name, recipe.epochs) == ("theirs", 3)
    assert issubclass(model_class("theirs"), MetaModel)
    view = grown.view()
    features = FeatureMap("theirs+stats_global").fit(view)
    assert features.names[0] == "widest"
    assert np.array_equal(features.transform(view)[:, 0], np.abs(view.weights()).max(1))
    assert main(["reproduce", "theirs", f"zoo={grown_folder}", f"out={tmp_path}/out", "threads=1"]) == 0


def test_an_exhibit_of_ones_own_by_path(
    grown_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.py").write_text(THEIRS)
    monkeypatch.chdir(tmp_path)
    assert main(["reproduce", "./mine.py:counted", f"zoo={grown_folder}", "out=out", "threads=1"]) == 0
    assert "counted: 1 zoo\n  a note of mine" in capsys.readouterr().out
    assert "a note of mine" in (tmp_path / "out" / "counted" / "report.html").read_text()
    assert main(["reproduce", "./mine.py:count", f"zoo={grown_folder}", "out=out", "threads=1"]) == 2


def test_entry_points_of_installed_packages_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = EntryPoint("theirs", "metanet.generation.engines.torch_engine:TorchEngine", "metanet.engines")
    other = EntryPoint("wrong", "metanet.errors:MetanetError", "metanet.engines")
    found = EntryPoints([entry, other])
    monkeypatch.setattr(registry, "entry_points", lambda group: found.select(group=group))
    assert "theirs" in ENGINES.names()
    assert ENGINES.find("theirs") is TorchEngine
    assert "theirs" not in RECIPES.names()
    with pytest.raises(MetanetError, match=r"engine=wrong is no subclass of metanet\.generation\.engines\.Engine"):
        ENGINES.find("wrong")


def test_files_by_path_are_found_and_checked(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("from metanet.generation.engines import Engine\nclass Mine(Engine):\n    name = 'mine'\nOther = 3\n")
    assert issubclass(ENGINES.find(f"{file}:Mine"), Engine)
    with pytest.raises(MetanetError, match="is no subclass of"):
        ENGINES.find(f"{file}:Other")


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(MetanetError, match="no engine 'tork'; did you mean 'torch'"):
        ENGINES.find("tork")
