"""Where networks share a configuration no part of the house parts them: splits, folds, validation, resamples, stored splits."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import r2_score

import metanet
from metanet.errors import MetanetError
from metanet.evaluation.protocol import CONSTANT, Fitted, constant_floor, fit_and_score
from metanet.evaluation.search import Rows, Search, SearchPlan, Subject
from metanet.evaluation.seen import unseen
from metanet.evaluation.selection import split_note, split_of
from metanet.launching.launcher import Launcher
from metanet.models.base import MatrixModel
from metanet.models.deepsets import DeepSets
from metanet.runs.folder import RunFolder
from metanet.runs.records import Record
from metanet.zoo import Layout, Split, View, zoo_from_arrays
from metanet.zoo.header import DataFacts, Origin, RecipeFacts
from metanet.zoo.split import split_networks

CONFIGURATIONS, SEEDS = 66, 7
DRAW = {"file": None, "test": 0.5, "validation": 0.2, "seed": 0}
FOREST: dict[str, Any] = {"name": "random_forest", "features": "hyper"}  # remembers what it has seen


def many_seeds(named: bool) -> View:
    """Networks whose accuracy hangs on their configuration alone, in no way that one configuration tells of another."""
    rng = np.random.default_rng(0)
    layout = Layout.build([("fc1.weight", "fc1", "kernel", (4, 3)), ("dense.weight", "dense", "kernel", (3, 4))])
    rate, level = rng.random(CONFIGURATIONS), rng.random(CONFIGURATIONS)
    order = rng.permutation(CONFIGURATIONS * SEEDS)
    of_row = order // SEEDS
    frame = pd.DataFrame({"hp.learning_rate": rate[of_row], "test_accuracy": level[of_row]})
    if named:
        frame["configuration"] = of_row
    return zoo_from_arrays(rng.standard_normal((len(frame), layout.size)), layout, frame).view()


@pytest.fixture(scope="module", params=[True, False], ids=["configuration", "equal hp"])
def view(request: pytest.FixtureRequest) -> View:
    return many_seeds(request.param)


@pytest.fixture(scope="module")
def result(view: View) -> Fitted:
    split = view.draw_split(seed=0)
    floors = {CONSTANT: constant_floor(view, split, "test_accuracy")}
    return fit_and_score(metanet.create_model(**FOREST), view, split, "test_accuracy", floors)


def whole_units(view: View, part: View) -> bool:
    """Whether a part holds each unit wholly or not at all."""
    every, own = pd.Series(view.units).value_counts(), pd.Series(part.units).value_counts()
    return bool((every[own.index] == own).all())


def test_only_a_split_of_networks_remembers_configurations(view: View) -> None:
    splits = [split_networks(view.network_ids.tolist(), seed=0), *(view.draw_split(seed=seed) for seed in range(3))]
    fits = [(metanet.create_model(**FOREST).fit(view.part(s, "train", "validation")), view.part(s, "test")) for s in splits]
    by_network, *by_unit = [model.score(test)["r2"] for model, test in fits]
    assert by_network > 0.9
    assert np.mean(by_unit) < 0.1


def test_no_part_of_a_split_parts_a_unit(view: View) -> None:
    split = view.draw_split(test=0.5, validation=0.2, seed=3)
    parts = [view.part(split, name) for name in ("train", "validation", "test")]
    assert [len(set(part.units)) for part in parts] == [26, 7, 33]
    assert sum(map(len, parts)) == len(view)
    assert all(whole_units(view, part) for part in parts)
    assert split.parted(view.network_ids.tolist(), view.units.tolist()) == []
    assert split_of(view, DRAW) == view.draw_split(seed=0)
    assert view.split(test=0.5, seed=3)[1].network_ids.tolist() == parts[2].network_ids.tolist()


def test_folds_of_a_search_part_no_unit(view: View, tmp_path: Path) -> None:
    train, test = view.split(test=0.5, seed=0)
    plan = SearchPlan(n=1, space={"trees": [16]})
    search = Search(Subject("random_forest", {}, "hyper"), Rows(train, train, test), plan, tmp_path, {}, Launcher())
    folds = pd.Series(search.material.folds).groupby(train.units)
    assert (folds.nunique() == 1).all()
    assert folds.first().value_counts().tolist() == [11, 11, 11]
    assert search.run_and_score(None).metrics["r2_cv"] < 0.1  # each configuration was held out wholly


def test_a_models_own_validation_part_parts_no_unit(view: View, monkeypatch: pytest.MonkeyPatch) -> None:
    model = metanet.create_model("gbm", features="hyper", max_trees=20).fit(view)
    assert whole_units(view, model.held_out.view)
    assert len(set(model.held_out.view.units)) == 13
    seen: list[View] = []

    def prepare(self: DeepSets, train: View, targets: list[str]) -> None:
        seen.append(train)
        raise InterruptedError

    monkeypatch.setattr(DeepSets, "prepare", prepare)
    with pytest.raises(InterruptedError):
        metanet.create_model("deepsets").fit(view)
    assert len(set(seen[0].units)) == CONFIGURATIONS - 13
    assert whole_units(view, seen[0])


def test_a_local_models_validation_rows_are_of_whole_units(view: View, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    def fit_features(self: MatrixModel, x: np.ndarray, y: np.ndarray, validation: Any = None, rounds: Any = None) -> None:
        sizes.append(0 if validation is None else len(validation[1]))
        self.rounds = 1

    monkeypatch.setattr(MatrixModel, "fit_features", fit_features)
    metanet.create_model("local", estimator="gbm", per_vector=2, slice=16).fit(view)
    assert sizes == [13 * SEEDS * 2, 0]  # a fifth of the networks would be 92


def test_a_stack_does_not_weigh_members_by_what_they_remember(view: View) -> None:
    stack = metanet.create_model("stack", members=[FOREST, "constant"], method="weights", folds=4).fit(view)
    assert stack.weights[0] < 0.3


def test_intervals_are_of_resampled_configurations(view: View, result: Fitted) -> None:
    """The mean of m equal rows a unit is as uncertain as that of the units: sqrt(m) = 2.6 times wider than of rows."""
    test = result.predictions.query("part == 'test'")
    true, predicted = test["true"].to_numpy(), test["predicted"].to_numpy()
    rng = np.random.default_rng(1)
    rows = rng.integers(0, len(test), (400, len(test)))
    plain = np.percentile([r2_score(true[i], predicted[i]) for i in rows], [2.5, 97.5])
    assert result.metrics["r2_high"] - result.metrics["r2_low"] > 1.7 * (plain[1] - plain[0])
    assert np.array_equal(test["unit"], view.of_networks(test["network_id"]).units)


def test_answers_know_their_units_and_old_runs_their_networks(view: View, result: Fitted, tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    run.write_predictions(result.predictions)
    answers = Record(tmp_path, result.metrics, {}).answers
    assert answers is not None
    unit_of = dict(zip(view.network_ids, view.units, strict=True))
    assert answers.units.tolist() == [unit_of[i] for i in answers.networks]
    kept = answers.of(answers.networks[:5])
    assert kept.units.tolist() == answers.units[:5].tolist()
    run.write_predictions(result.predictions.drop(columns="unit"))
    old = Record(tmp_path, result.metrics, {}).answers
    assert old is not None
    assert np.array_equal(old.units, old.networks)
    run.write_predictions(result.predictions.assign(unit=None))
    assert Record(tmp_path, result.metrics, {}).flaw == "damaged predictions"


def test_a_stored_split_that_parts_configurations_is_refused(view: View, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good = view.draw_split(seed=5)
    assert split_of(view, DRAW | {"file": str(good.save(tmp_path))}) == good
    bad = split_networks(view.network_ids.tolist(), seed=5)
    order = tmp_path / "order.csv"
    np.savetxt(order, np.random.default_rng(0).permutation(len(view)), fmt="%d")
    for path in (bad.save(tmp_path), order):
        with pytest.raises(MetanetError, match=r"has networks of one configuration in two parts, 6[0-6] configurations in all"):
            split_of(view, DRAW | {"file": str(path)})
    monkeypatch.setattr("metanet.evaluation.selection.fetch_nfn_permutation", lambda name: order)
    published = split_of(view, DRAW | {"file": "nfn"})
    assert len(published.test) == len(view) // 2
    assert "the published permutation is taken as it is" in str(split_note(view, published, DRAW | {"file": "nfn"}))
    assert split_note(view, good, DRAW) is None


def test_seeds_by_which_a_zoo_has_grown_are_no_test_networks_where_the_fit_has_seen_others(tmp_path: Path) -> None:
    view = many_seeds(True)
    origin = Origin(RecipeFacts("mine"), DataFacts(), seed=0)
    view.zoo.header = replace(view.zoo.header, recipe=origin.recipe, seed=0)
    by_unit, by_network = view.draw_split(seed=1), split_networks(view.network_ids.tolist(), seed=1)
    for split in (by_unit, by_network):
        stored = Split(split.train[1:], split.validation, split.test).save(tmp_path)
        facts = {"stored": str(stored), "origin": origin.to_json(), "seen": "seen.json"}
        (tmp_path / "split.json").write_text(json.dumps(facts))
        rest = set(unseen(view, tmp_path).network_ids)
        later = () if split is by_unit else split.train[:1]  # a split that parts configurations says nothing of these
        assert rest == {*split.test, *later}


def test_units_too_few_to_split_are_counted_by_their_name() -> None:
    view = many_seeds(True)
    few = view.where("configuration < 2")
    with pytest.raises(MetanetError, match=r"of 2 configurations leaves the validation part empty; take more configurations"):
        few.draw_split()
    with pytest.raises(MetanetError, match=r"2 configurations are too few for search\.folds=3"):
        few.draw_folds(3, 0, "search.folds")
