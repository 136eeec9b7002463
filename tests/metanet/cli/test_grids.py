from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from metanet.cli.compose import compose, parse_overrides
from metanet.cli.grids import Grid
from metanet.cli.main import main
from metanet.errors import MetanetError


def grid(*words: str) -> Grid:
    return Grid.of(parse_overrides(words))


def names(*words: str) -> list[str]:
    made = grid(*words)
    return [made.name(compose("train", cell), i) for i, cell in enumerate(made.cells)]


def test_a_grid_is_all_combinations() -> None:
    made = grid("model=gbm,dnn", "seed=0,1", "zoo=z")
    assert made.cells == [{"model": m, "seed": s, "zoo": "z"} for m in ("gbm", "dnn") for s in ("0", "1")]
    assert made.varied == ["model", "seed"]
    assert grid('where=hp.x in ["a","b"], 3').cells == [{"where": 'hp.x in ["a","b"], 3'}]
    assert grid().cells == [{}]


def test_a_setting_may_be_given_to_one_family() -> None:
    made = grid("model=deepsets,gbm", "model.deepsets.max_epochs=5")
    assert made.cells == [{"model": "deepsets", "model.max_epochs": "5"}, {"model": "gbm"}]
    assert [compose("train", cell)["model"].get("max_epochs") for cell in made.cells] == [5, None]
    assert made.varied == ["model"]
    several = grid("model=deepsets,gbm", "model.deepsets.max_epochs=5,9", "model.gbm.max_depth=3")
    assert several.cells == [  # no run of gbm comes twice
        {"model": "deepsets", "model.max_epochs": "5"},
        {"model": "deepsets", "model.max_epochs": "9"},
        {"model": "gbm", "model.max_depth": "3"},
    ]
    assert several.varied == ["model", "model.max_epochs"]
    assert grid("model=gbm", "model.gbm.max_depth=3").cells == [{"model": "gbm", "model.max_depth": "3"}]
    assert grid("model=./mine.py:Net,gbm", "model.Net.units=3").cells[0] == {"model": "./mine.py:Net", "model.units": "3"}
    assert grid("search=random", "search.space.max_depth=[3]").varied == []  # no option is called space


def test_a_setting_of_one_family_goes_before_that_of_all() -> None:
    cells = grid("model=deepsets,dnn", "model.dnn.max_epochs=9", "model.max_epochs=5").cells
    assert [cell["model.max_epochs"] for cell in cells] == ["5", "9"]


def test_a_setting_of_a_family_that_no_run_has_is_refused() -> None:
    with pytest.raises(
        MetanetError, match=r"model.dnn.units=8 is of model=dnn, which no run has; give model=dnn too, or model.units="
    ):
        grid("model=gbm,deepsets", "model.dnn.units=8")


def test_runs_are_named_by_what_varies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert names("model=gbm,dnn", "seed=0") == ["gbm-stats-test_accuracy", "dnn-stats-test_accuracy"]
    assert names("model=gbm", "model.max_depth=3,4", "features=flat:conv1") == [
        f"gbm-flat_conv1-test_accuracy-model.max_depth={depth}" for depth in (3, 4)
    ]
    assert names("model=deepsets,gbm", "model.deepsets.max_epochs=5,9") == [
        "deepsets-stats-test_accuracy-model.max_epochs=5",
        "deepsets-stats-test_accuracy-model.max_epochs=9",
        "gbm-stats-test_accuracy",
    ]
    for path in ("shallow.yaml", "deep.yaml", "other/deep.yaml", "gbm.yaml"):
        Path(path).parent.mkdir(exist_ok=True)
        Path(path).write_text("name: gbm\nmax_depth: 3\n")
    assert names("model=shallow.yaml,./deep.yaml") == ["shallow-stats-test_accuracy", "deep-stats-test_accuracy"]
    assert len(set(names("model=./deep.yaml,other/deep.yaml,./gbm.yaml,gbm"))) == 4
    assert names("trainer=default,smoke") == [f"auto-stats-test_accuracy-trainer={name}" for name in ("default", "smoke")]


def test_two_files_of_one_family_are_two_runs_and_the_table_says_which(
    grown_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for depth in (2, 4):
        Path(f"deep{depth}.yaml").write_text(f"name: gbm\nmax_depth: {depth}\nmax_trees: 5\n")
    words = ["train", f"zoo={grown_folder}", "model=deep2.yaml,deep4.yaml,constant", "threads=1", "out=g"]
    assert main(words) == 0
    for depth in (2, 4):
        model = json.loads(Path(f"g/deep{depth}-stats-test_accuracy/model/model.json").read_text())
        assert model["settings"]["max_depth"] == depth
    table = pd.read_csv("g/leaderboard.csv").set_index("run")
    assert table.loc["g/deep2-stats-test_accuracy", "settings"] == "max_depth=2"
    assert table.loc["g/deep4-stats-test_accuracy", "settings"] == "max_depth=4"
    assert table["settings"].isna().sum() == 1  # there is one constant
    shown = capsys.readouterr().out
    assert shown.count("validation rows of predictions.parquet are from before the refit") == 1
    assert "max_depth=2" in shown
    assert "max_depth=4" in shown
    assert main(["compare", "g", "out=c"]) == 0
    assert set(pd.read_csv("c/leaderboard.csv")["settings"].dropna()) == {"max_depth=2", "max_depth=4"}
