from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np
import pandas as pd
import pytest
from scipy.stats import chisquare, kstest

import metanet
from metanet.distributions import draw_column
from metanet.errors import MetanetError
from metanet.evaluation.preparing import model_identity
from metanet.evaluation.search import Rows, Search, SearchPlan, Subject, search_space
from metanet.evaluation.search.trials import Material, loss, run_trial
from metanet.launching.launcher import Launcher
from metanet.models.gbm import GBM
from metanet.models.target import Target
from metanet.zoo import Split, Zoo, split_networks

# Small enough for seconds; the test of the paper's space is apart.
SPACE: dict[str, Any] = {"max_trees": 40, "patience": 10, "num_leaves": {"integer": [2, 8]}, "max_bin": [63, 255]}


@pytest.fixture(scope="module")
def rows(known: Zoo) -> Rows:
    view = known.view()
    split = split_networks(view.network_ids.tolist(), seed=0)
    training = view.part(split, "train", "validation")
    return Rows(training, training, view.part(split, "test"))


def searched(rows: Rows, folder: Path, workers: int = 1, model: str = "gbm", target: str = "test_accuracy", **plan: Any):  # type: ignore[no-untyped-def]
    return search_of(rows, folder, Launcher("local", workers), model, target, **plan).run_and_score(None)


def search_of(
    rows: Rows, folder: Path, launcher: Launcher, model: str = "gbm", target: str = "test_accuracy", base: Any = None, **plan: Any
) -> Search:
    settings = SearchPlan(**{"n": 6, "space": SPACE} | plan)
    identity = model_identity(model, base or {}, "stats", "last")
    return Search(Subject(model, base or {}, "stats", target), rows, settings, folder, identity, launcher)


def trials(folder: Path) -> list[dict[str, Any]]:
    return sorted((json.loads(line) for line in (folder / "trials.jsonl").read_text().splitlines()), key=lambda t: t["number"])


def configurations(n: int, columns: int = 56) -> list[dict[str, Any]]:
    return SearchPlan(n=n).configurations(search_space(SearchPlan(), "gbm", {}, columns), "gbm")


def test_the_space_is_the_papers() -> None:
    drawn = pd.DataFrame(configurations(4000))
    assert chisquare(np.bincount(drawn["max_depth"])[5:], np.full(11, 4000 / 11)).pvalue > 1e-3
    assert kstest(np.log(drawn["learning_rate"] / 0.01) / np.log(10), "uniform").pvalue > 1e-3
    assert kstest(drawn["reg_lambda"] / 100, "uniform").pvalue > 1e-3
    assert kstest((drawn["colsample_bytree"] - 0.7) / 0.3, "uniform").pvalue > 1e-3
    assert set(drawn["max_bin"]) == {63, 127, 255}
    assert drawn["num_leaves"].max() <= 10_000
    assert set(drawn["max_trees"]) == {1000}
    assert pd.DataFrame(configurations(500, columns=4970))["colsample_bytree"].between(0.0316, 0.1).all()
    assert configurations(10) == configurations(40)[:10]  # the first ones do not depend on how many follow


# Supplement A.4 as numbers; a pair bounds what is drawn, a set is all of it.
FIVE = {"glorot_normal", "he_normal", "orthogonal", "normal", "truncated_normal"}
DESCENT: dict[str, Any] = {
    "l2": (1e-8, 1e-3),
    "learning_rate": (1e-3, 0.5),
    "init_std": (1e-3, 1e-1),
    "optimizer": {"adam", "sgd"},
    "batch_size": {64, 128, 256, 512},
    "w_init": FIVE,
    "max_epochs": {300},
    "patience": {10},
}
PAPER: dict[str, dict[str, Any]] = {
    "gbm": {
        "max_depth": set(range(5, 16)),
        "learning_rate": (0.01, 0.1),
        "num_leaves": (2, 10_000),
        "max_bin": {63, 127, 255},
        "min_child_weight": {1, 2, 3, 4, 5},
        "reg_lambda": (0, 100),
        "reg_alpha": (0, 5),
        "subsample": {0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0},
        "colsample_bytree": (0.7, 1.0),
        "max_trees": {1000},
        "patience": {200},
    },
    "dnn": DESCENT | {"layers": set(range(3, 10)), "units": (256, 511), "dropout": (0.0, 0.2)},
    "logit_linear": DESCENT,
}
LOGARITHMIC = {"dnn": ("l2", "learning_rate", "init_std"), "logit_linear": ("l2", "learning_rate", "init_std")}


@pytest.mark.parametrize("model", PAPER)
def test_a_thousand_configurations_are_the_papers(model: str) -> None:
    space = search_space(SearchPlan(), model, {}, columns=56)
    drawn = {name: draw_column(name, d, 1000, 0) for name, d in space.items()}
    assert set(drawn) == set(PAPER[model])
    for name, known in PAPER[model].items():
        if isinstance(known, set):
            assert set(drawn[name].tolist()) == known, name
            continue
        low, high = known
        assert low <= drawn[name].min() <= low + 0.06 * (high - low), name  # and the draws go from end to end
        assert high - 0.06 * (high - low) <= drawn[name].max() <= high, name
    for name in LOGARITHMIC.get(model, ()):
        low, high = np.log(PAPER[model][name])
        assert kstest((np.log(drawn[name]) - low) / (high - low), "uniform").pvalue > 1e-3


def test_a_network_takes_no_initialiser_that_the_paper_has_not() -> None:
    with pytest.raises(
        MetanetError,
        match=r"give default, glorot_normal, he_normal, orthogonal, normal or truncated_n",
    ):
        metanet.create_model("dnn", w_init="constant")


def test_a_trial_is_what_lightgbm_alone_finds() -> None:
    rng = np.random.default_rng(1)
    x, y, folds = rng.standard_normal((90, 5)), rng.random(90), np.arange(90) % 3
    y = np.clip(y * 0.2 + 0.4 + 0.1 * x[:, 0], 0, 1)
    material = Material("gbm", {"features": "stats"}, Target("test_accuracy", "share"), x, y, folds, x, y, folds, "alone")
    settings = {"learning_rate": 0.1, "num_leaves": 6, "max_trees": 50, "patience": 5, "max_bin": 63, "subsample": 0.5}
    trial = run_trial(material, 3, 0, settings, None)
    parameters = GBM(**settings)
    parameters.target = material.target
    for fold in range(3):
        data = lgb.Dataset(x[folds != fold], y[folds != fold], params={"max_bin": 63, "verbosity": -1})
        held_out = lgb.Dataset(x[folds == fold], y[folds == fold], reference=data)
        own = parameters._parameters(60, 5)
        booster = lgb.train(own, data, 50, valid_sets=[held_out], callbacks=[lgb.early_stopping(5, verbose=False)])
        expected = np.mean((np.clip(booster.predict(x[folds == fold]), 0, 1) - y[folds == fold]) ** 2)
        assert trial.losses[fold] == pytest.approx(expected, rel=1e-9)
        assert trial.rounds[fold] == booster.best_iteration
    # a second trial of the same process meets the binned data of the first
    assert run_trial(material, 4, 0, settings, None).losses == trial.losses


def test_losses() -> None:
    share = Target("test_accuracy", "share")
    assert loss(share, np.array([0.5, 1.0]), np.array([0.0, 3.0])) == pytest.approx(0.125)  # outputs are cut to [0, 1]
    assert loss(share, np.array([0.5]), np.array([np.nan])) == np.inf
    category = Target("hp.optimizer", "category", ("adam", "sgd"))
    assert loss(category, np.array([0, 1]), np.array([[0.5, 0.5], [0.75, 0.25]])) == pytest.approx(np.log(8) / 2)


def test_the_best_is_chosen_by_cross_validation_and_fitted_on_all(rows: Rows, tmp_path: Path) -> None:
    result = searched(rows, tmp_path)
    found = trials(tmp_path)
    assert [t["number"] for t in found] == list(range(6))
    best = min(found, key=lambda t: np.mean(t["losses"]))
    assert result.metrics["loss_cv"] == pytest.approx(np.mean(best["losses"]))
    assert result.model.rounds == int(np.median(best["rounds"]))
    assert result.model.num_leaves == best["settings"]["num_leaves"]
    refit = metanet.create_model("gbm", **best["settings"], features="stats")
    refit.target = Target.of(rows.out, "test_accuracy")
    x = result.model.map.transform(rows.out)
    refit.fit_features(x, rows.out.target("test_accuracy"), rounds=result.model.rounds)
    test = result.predictions.query("part == 'test'")
    np.testing.assert_allclose(test["predicted"], np.clip(refit.output_features(result.model.map.transform(rows.test)), 0, 1))
    validation = result.predictions.query("part == 'validation'")
    assert sorted(validation["network_id"]) == sorted(rows.out.network_ids)  # each held out once
    error = np.mean((validation["true"] - validation["predicted"]) ** 2)
    assert error == pytest.approx(result.metrics["loss_cv"], rel=0.02)  # folds of 33 and 34 networks
    table = pd.read_csv(tmp_path / "trials.csv")
    assert table["trial"].iloc[0] == best["number"]


# Fits in 5, 9 and 40 rounds by turns, as its folds come, and knows nothing: all its trials tie.
STUB = """
import itertools
import numpy as np
from metanet.models.base import MatrixModel

class Stub(MatrixModel):
    name = "stub"
    rounds_setting = "most"
    turns = itertools.cycle((5, 9, 40))

    def __init__(self, number=0.0, most=40, **base):
        super().__init__(**base)
        self.number, self.most = number, most

    def fit_matrix(self, x, y, validation, rounds):
        return next(self.turns) if rounds is None else rounds

    def output_matrix(self, x):
        return np.full(len(x), 0.5)

    def save_estimator(self, folder):
        pass

    def load_estimator(self, folder):
        pass
"""


@pytest.fixture
def stub(tmp_path: Path) -> dict[str, Any]:
    (tmp_path / "stub.py").write_text(STUB)
    return {"model": f"{tmp_path}/stub.py:Stub", "space": {"number": {"uniform": [0.0, 1.0]}}}


def test_the_last_fit_goes_on_for_the_median_of_the_folds_rounds(rows: Rows, tmp_path: Path, stub: dict[str, Any]) -> None:
    result = searched(rows, tmp_path / "s", n=2, **stub)
    assert [t["rounds"] for t in trials(tmp_path / "s")] == [[5, 9, 40]] * 2
    assert result.model.rounds == 9
    assert pd.read_csv(tmp_path / "s" / "trials.csv")["rounds"].tolist() == [9, 9]


def test_of_tied_trials_the_first_drawn_is_taken(rows: Rows, tmp_path: Path, stub: dict[str, Any]) -> None:
    """In whatever order workers finished them."""
    first = searched(rows, tmp_path / "s", n=4, **stub).model.number
    path = tmp_path / "s" / "trials.jsonl"
    assert first == trials(tmp_path / "s")[0]["settings"]["number"]
    path.write_text("".join(reversed(path.read_text().splitlines(keepends=True))))
    assert searched(rows, tmp_path / "s", n=4, **stub).model.number == first
    searched(rows, tmp_path / "halved", n=9, halving=3, **stub)
    rungs = [[t["number"] for t in trials(tmp_path / "halved") if t["rung"] == rung] for rung in range(3)]
    assert rungs == [list(range(9)), [0, 1, 2], [0]]


def test_workers_change_nothing(rows: Rows, tmp_path: Path) -> None:
    a, b = searched(rows, tmp_path / "a"), searched(rows, tmp_path / "b", workers=2)
    for one, other in zip(trials(tmp_path / "a"), trials(tmp_path / "b"), strict=True):
        assert one["losses"] == other["losses"]
    pd.testing.assert_frame_equal(a.predictions, b.predictions)


def test_an_interrupted_search_goes_on(rows: Rows, tmp_path: Path) -> None:
    whole = searched(rows, tmp_path / "whole")
    lines = (tmp_path / "whole" / "trials.jsonl").read_text().splitlines(keepends=True)
    part = tmp_path / "part"
    part.mkdir()
    (part / "search.json").write_text((tmp_path / "whole" / "search.json").read_text())
    (part / "trials.jsonl").write_text("".join(lines[:3]) + lines[3][:50])  # killed while it wrote the fourth
    again = searched(rows, part)
    assert (part / "trials.jsonl").read_text().startswith("".join(lines[:3]))
    assert [t["losses"] for t in trials(part)] == [t["losses"] for t in trials(tmp_path / "whole")]
    pd.testing.assert_frame_equal(again.predictions, whole.predictions)


def test_more_configurations_go_on_and_another_space_is_refused(rows: Rows, tmp_path: Path) -> None:
    searched(rows, tmp_path, n=3)
    before = (tmp_path / "trials.jsonl").read_text()
    searched(rows, tmp_path, n=5)
    assert (tmp_path / "trials.jsonl").read_text().startswith(before)
    assert len(trials(tmp_path)) == 5
    with pytest.raises(MetanetError, match=r"another space.num_leaves .*kept: choose another out="):
        searched(rows, tmp_path, space=SPACE | {"num_leaves": [3]})
    with pytest.raises(MetanetError, match="another seed"):
        searched(rows, tmp_path, seed=1)
    assert len(trials(tmp_path)) == 5


def test_the_test_part_decides_nothing(rows: Rows, tmp_path: Path) -> None:
    other = Rows(rows.fit, rows.out, rows.test.take(np.arange(len(rows.test))[::-1][:40]))
    a, b = searched(rows, tmp_path / "a"), searched(other, tmp_path / "b")
    assert a.model.settings() == b.model.settings()
    assert a.model.rounds == b.model.rounds


def test_halving_keeps_the_best_of_each_rung(rows: Rows, tmp_path: Path) -> None:
    result = searched(rows, tmp_path, n=9, halving=3, space=SPACE | {"max_trees": [36, 90]})
    found = trials(tmp_path)
    rungs = {r: [t for t in found if t["rung"] == r] for r in range(3)}
    assert [len(rungs[r]) for r in range(3)] == [9, 3, 1]
    lengths = [t["settings"]["max_trees"] // 9 for t in rungs[0]]
    assert all(max(t["rounds"]) <= length for t, length in zip(rungs[0], lengths, strict=True))
    first = sorted(rungs[0], key=lambda t: (np.mean(t["losses"]), t["number"]))[:3]
    assert {t["number"] for t in first} == {t["number"] for t in rungs[1]}
    assert result.metrics["loss_cv"] == pytest.approx(np.mean(rungs[2][0]["losses"]))


def test_optuna_proposes_and_goes_on(rows: Rows, tmp_path: Path) -> None:
    pytest.importorskip("optuna", reason="the extra [optuna] is not installed")
    searched(rows, tmp_path, name="optuna", n=4)
    lines = (tmp_path / "trials.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "trials.jsonl").write_text(lines[1] + lines[3])  # killed within a batch: 0 and 2 were not written
    result = searched(rows, tmp_path, name="optuna", n=6)
    found = trials(tmp_path)
    assert [t["number"] for t in found] == list(range(6))
    assert all(2 <= t["settings"]["num_leaves"] <= 8 and t["settings"]["max_trees"] == 40 for t in found)
    assert result.metrics["loss_cv"] == pytest.approx(min(np.mean(t["losses"]) for t in found))


def test_categories_are_searched_by_log_loss(rows: Rows, tmp_path: Path) -> None:
    result = searched(rows, tmp_path, target="hp.optimizer", n=2)
    assert result.metrics["accuracy"] > 0.8
    assert "r2_cv" not in result.metrics


@pytest.mark.parametrize("model", ["dnn", "logit_linear"])
def test_networks_are_searched(model: str, rows: Rows, tmp_path: Path) -> None:
    space = {"max_epochs": 12, "learning_rate": {"log_uniform": [1e-3, 1e-2]}, "optimizer": "adam", "batch_size": 16}
    space |= {"layers": {"integer": [1, 2]}, "units": [16]} if model == "dnn" else {}
    result = searched(rows, tmp_path, model=model, n=2, space=space)
    assert result.metrics["r2"] > 0
    assert result.model.w_init != "default"


@pytest.mark.parametrize(
    ("plan", "says"),
    [
        ({"n": 0}, "search.n=0"),
        ({"folds": 1}, "search.folds=1"),
        ({"folds": 60}, "too few for search.folds=60"),
        ({"halving": 1}, "search.halving=1"),
        ({"space": {"num_leafs": [3]}}, "did you mean 'num_leaves'"),
        ({"space": SPACE | {"num_leaves": {"normal": [0, 1]}}}, "search.space.num_leaves=.* is no distribution"),
        ({"sampler": "tpee"}, "did you mean 'tpe'"),
        ({"name": "optun"}, "did you mean 'optuna'"),
        ({"space": 5}, "search.space=5 is no mapping"),
        ({"space": {"features": ["flat"]}}, "search.space.features cannot be searched; make it a grid"),
        ({"space": {"threads": [1, 2]}}, "search.space.threads cannot be searched"),
    ],
)
def test_bad_plans_are_refused(plan: dict[str, Any], says: str, rows: Rows, tmp_path: Path) -> None:
    with pytest.raises(MetanetError, match=says):
        searched(rows, tmp_path / "s", **plan)
    assert not (tmp_path / "s").exists()


def test_a_model_without_a_space_says_so(rows: Rows, tmp_path: Path) -> None:
    with pytest.raises(MetanetError, match=r"random_forest has no settings of its own to search; give search.space"):
        searched(rows, tmp_path, model="random_forest", space={})
    searched(rows, tmp_path / "own", model="random_forest", n=2, space={"trees": [4, 8]})
    with pytest.raises(MetanetError, match="neither trees nor epochs"):
        searched(rows, tmp_path / "halved", model="random_forest", n=2, space={"trees": [4, 8]}, halving=3)


def test_all_snapshots_of_the_training_networks_are_fitted_on(grown: Zoo, tmp_path: Path) -> None:
    view = grown.view()
    split: Split = split_networks(view.network_ids.tolist(), seed=0)
    training = view.part(split, "train", "validation")
    every = grown.view(epoch="all").of_networks(training.network_ids)
    rows = Rows(every, training, view.part(split, "test"))
    result = searched(rows, tmp_path, n=2, space=SPACE | {"num_leaves": [2, 3]})
    assert result.metrics["n_train"] == 3 * len(training)
    assert result.metrics["n_test"] == len(view) - len(training)


@pytest.mark.slow
def test_ray_finds_the_same(rows: Rows, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    searched(rows, tmp_path / "here")
    search_of(rows, tmp_path / "ray", Launcher("ray", 2)).run_and_score(None)
    assert [t["losses"] for t in trials(tmp_path / "ray")] == [t["losses"] for t in trials(tmp_path / "here")]


def test_what_the_user_sets_is_not_drawn(rows: Rows, tmp_path: Path) -> None:
    base = {"max_depth": 2, "max_trees": 7, "reg_lambda": 1.0}  # the last is the default, so it is searched
    result = search_of(rows, tmp_path, Launcher(), base=base, n=2, space={"num_leaves": [3, 4]}).run_and_score(None)
    assert result.model.max_depth == 2
    assert result.model.max_trees == 7
    assert result.model.reg_lambda != 1.0


def test_a_mended_mistake_may_begin_anew(rows: Rows, tmp_path: Path) -> None:
    search = search_of(rows, tmp_path, Launcher(), n=2, space=SPACE | {"subsample": [7.0]})
    with pytest.raises(MetanetError, match="subsample=7"):
        search.run_and_score(None)
    assert (tmp_path / "search.json").exists()
    assert searched(rows, tmp_path, n=2).metrics["trials"] == 2  # nothing was found, so another space may take its place


def test_the_length_of_training_belongs_to_the_identity() -> None:
    one, other = ({"trainer": {"accelerator": a, "max_epochs": e}} for a, e in (("cpu", 1), ("auto", None)))
    assert model_identity("dnn", one, "stats", "last") != model_identity("dnn", other, "stats", "last")
    same = {"trainer": {"accelerator": "gpu", "max_epochs": 1}}
    assert model_identity("dnn", one, "stats", "last") == model_identity("dnn", same, "stats", "last")
