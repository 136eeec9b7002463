"""A plain module as a meta-model, from Python, from the command line, and from a YAML of one's own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import metanet
from metanet.cli.main import main
from metanet.errors import MetanetError
from metanet.runs.folder import read_metrics
from metanet.testing import check_model
from metanet.zoo import Zoo

MINE = """
import torch
from torch import nn

class Net(nn.Module):
    "Two layers, of any width."

    def __init__(self, inputs, outputs, width=8, dropout=0.0):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(inputs, width), nn.Tanh(), nn.Dropout(dropout), nn.Linear(width, outputs))

    def forward(self, x):
        return self.layers(x)

class Needs(Net):
    def __init__(self, in_features, num_classes, depth):
        super().__init__(in_features, num_classes)

class NoWidths(nn.Module):
    def __init__(self, width=3):
        super().__init__()

class Clash(Net):
    def __init__(self, inputs, outputs, seed=0):
        super().__init__(inputs, outputs)

class Narrow(Net):
    def forward(self, x):
        return self.layers(x)[:, :1].repeat(1, 2)

class Fails(Net):
    def forward(self, x):
        return x @ torch.zeros(1)
"""


@pytest.fixture
def mine(tmp_path: Path) -> str:
    (tmp_path / "mine.py").write_text(MINE)
    return f"{tmp_path}/mine.py"


def test_a_plain_module_keeps_the_contract_of_a_meta_model(mine: str) -> None:
    check_model(f"{mine}:Net", width=4)


def test_its_arguments_are_its_settings(mine: str, known: Zoo) -> None:
    train, test = known.view().split(test=0.4, seed=0)
    model = metanet.create_model(f"{mine}:Net", width=5, dropout=0.25, max_epochs=30, learning_rate=0.02).fit(
        train, "hp.optimizer"
    )
    assert [tuple(p.shape) for p in model.network.parameters()] == [(5, 67), (5,), (3, 5), (3,)]
    assert model.network.layers[2].p == 0.25
    assert model.score(test)["accuracy"] > 0.8
    assert {k: model.settings()[k] for k in ("width", "dropout", "features")} == {"width": 5, "dropout": 0.25, "features": "flat"}
    assert "units" not in model.settings()
    assert repr(model) == "Net(width=5, dropout=0.25, learning_rate=0.02, max_epochs=30)"
    with pytest.raises(MetanetError, match="has no setting 'widht'; did you mean 'width'"):
        metanet.create_model(f"{mine}:Net", widht=5)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Needs", r"needs model\.depth=, an argument of its constructor without a default"),
        ("NoWidths", r"NoWidths takes no argument 'inputs' \(or in_features"),
        ("Clash", r"takes an argument 'seed', which is a setting of its training"),
        ("Narrow", r"Narrow maps \(2, 67\) to \(2, 2\); wanted is \(2, 1\)"),
        ("Fails", r"Fails failed for vectors of 67 values: RuntimeError"),
    ],
)
def test_what_a_module_lacks_is_said_in_one_line(mine: str, known: Zoo, name: str, words: str) -> None:
    with pytest.raises(MetanetError, match=words) as error:
        metanet.create_model(f"{mine}:{name}").fit(known.view().take(range(30)))
    assert "\n" not in str(error.value)


def test_from_the_command_line_and_from_a_yaml(
    mine: str, grown_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.yaml").write_text("_target_: ./mine.py:Net\nwidth: 4\nmax_epochs: 3\n")
    common = [f"zoo={grown_folder}", "threads=1", "tracking=none"]
    assert main(["train", *common, "model=./mine.py:Net", "model.width=4", "model.max_epochs=3", "out=a"]) == 0
    assert main(["train", *common, "model=./mine.yaml", "out=b"]) == 0
    a, b = (read_metrics(folder) for folder in ("a", "b"))
    assert a["model"] == b["model"] == "Net"
    assert a["r2"] == b["r2"]
    view = metanet.open_zoo(grown_folder).view()
    assert np.array_equal(*(metanet.load_model(f"{folder}/model").predict(view) for folder in ("a", "b")))
    assert main(["train", *common, "model=./mine.py:Net", "model.widht=4", "out=c"]) == 2
    assert "did you mean 'width'" in capsys.readouterr().err
