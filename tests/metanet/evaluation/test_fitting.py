from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import metanet.evaluation.preparing
from metanet.cli.compose import compose
from metanet.errors import MetanetError
from metanet.evaluation.fitting import Fitter
from metanet.zoo import View


@pytest.fixture(scope="module")
def zoo(grown_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy: runs store their splits in a zoo."""
    return Path(shutil.copytree(grown_folder, tmp_path_factory.mktemp("copy") / "zoo"))


def config_of(zoo: Path, **overrides: Any) -> dict[str, Any]:
    given = {"model": "gbm", "model.max_trees": "5"} | {k.replace("__", "."): v for k, v in overrides.items()}
    return compose("train", {"zoo": str(zoo), "threads": "1"} | given)


def test_a_fit_is_prepared_once(zoo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[int] = []
    made: list[str] = []
    draw, create = View.draw_split, metanet.evaluation.preparing.create_model

    def draw_split(self: View, *arguments: Any, **named: Any) -> Any:
        drawn.append(len(self))
        return draw(self, *arguments, **named)

    def create_model(name: str, **settings: Any) -> Any:
        made.append(name)
        return create(name, **settings)

    monkeypatch.setattr(View, "draw_split", draw_split)
    monkeypatch.setattr(metanet.evaluation.preparing, "create_model", create_model)
    fitter = Fitter()
    fits = [fitter.prepare(config_of(zoo, seed=seed)) for seed in ("0", "1")]
    rows = [row for i, fit in enumerate(fits) for row in fitter.fit(fit, tmp_path / str(i))]
    assert drawn == [30]  # both seeds are of one split
    assert made == ["gbm", "gbm"]
    assert [row["seed"] for row in rows] == [0, 1]
    assert rows[0]["split"] == rows[1]["split"] == fits[0].split.hash


def test_a_prepared_fit_may_be_fitted_again(zoo: Path, tmp_path: Path) -> None:
    fitter = Fitter()
    fit = fitter.prepare(config_of(zoo))
    for name in ("a", "b"):
        fitter.fit(fit, tmp_path / name)
    a, b = (pd.read_parquet(tmp_path / name / "predictions.parquet") for name in ("a", "b"))
    pd.testing.assert_frame_equal(a, b)
    assert fit.model.held_out is None  # what a fit learned is not kept with what was prepared


def test_several_targets_are_a_run_each(zoo: Path, tmp_path: Path) -> None:
    config = config_of(zoo) | {"target": ["test_accuracy"]}
    fit = Fitter().prepare(config)
    assert [(own["target"], at) for own, at in fit.runs(tmp_path)] == [("test_accuracy", tmp_path / "test_accuracy")]
    (row,) = Fitter().fit(fit, tmp_path)
    assert row["heads"] == 1
    assert (tmp_path / "test_accuracy" / "metrics.json").exists()


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        ({"features": "statz"}, "did you mean 'stats'"),
        ({"target": "test_acuracy"}, "did you mean 'test_accuracy'"),
        ({"split__test": "0.99"}, "part"),
        ({"train__snapshots": "some"}, "train.snapshots=some"),
        ({"split__file": "nowhere.json"}, "not a stored split"),
        ({"model__max_tres": "5"}, "did you mean 'model.max_trees'"),
        ({"search": "random", "search__folds": "1"}, "search.folds=1"),
        ({"search": "random", "search__space.num_leafs": "[3]"}, "did you mean 'num_leaves'"),
    ],
)
def test_mistakes_show_before_anything_is_fitted(zoo: Path, overrides: dict[str, str], says: str) -> None:
    with pytest.raises(MetanetError, match=says):
        Fitter().prepare(config_of(zoo, **overrides))


def test_networks_that_a_model_cannot_judge_are_refused_before_anything_is_fitted(
    zoo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged: list[int] = []

    def check_view(self: Any, view: View) -> None:
        judged.append(len(view))
        if self.max_trees == 7:
            raise MetanetError("not these")

    monkeypatch.setattr("metanet.models.gbm.GBM.check_view", check_view)
    fitter = Fitter()
    for seed in ("0", "1"):
        fitter.prepare(config_of(zoo, seed=seed))
    assert judged == [30]  # seeds judge alike
    with pytest.raises(MetanetError, match="not these"):
        fitter.prepare(config_of(zoo, model__max_trees="7"))


def test_what_a_filter_left_out_is_told_once(zoo: Path) -> None:
    told: list[str] = []
    fitter = Fitter(on_note=told.append)
    fitter.prepare(config_of(zoo))
    assert told == []
    for seed in ("0", "1"):
        fitter.prepare(config_of(zoo, where="hp.optimizer != 'sgd'", seed=seed))
    left = np.sum(fitter.zoo(str(zoo)).networks["hp.optimizer"] != "sgd")
    assert told == [f"{left} of 30 networks are left by the filter"]
