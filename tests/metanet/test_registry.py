from __future__ import annotations

from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path

import pytest

from metanet import registry
from metanet.errors import MetanetError
from metanet.generation.engines import ENGINES, Engine
from metanet.generation.engines.torch_engine import TorchEngine
from metanet.generation.recipes import RECIPES, Recipe
from metanet.generation.recipes.nws import NWSRecipe


def test_a_name_stands_for_what_bears_it_in_the_file_of_that_name() -> None:
    assert RECIPES.find("nws") is NWSRecipe
    assert ENGINES.find("torch") is TorchEngine
    assert ENGINES.names() == ["blocks", "fused", "fused_cuda", "module", "torch"]
    for name in ENGINES.names():
        assert ENGINES.find(name).name == name
    for name in RECIPES.names():
        assert issubclass(RECIPES.find(name), Recipe)


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
