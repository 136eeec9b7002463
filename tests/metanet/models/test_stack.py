"""Stacks: means and weights of their members, against numpy and scipy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import nnls

import metanet
from metanet.errors import MetanetError
from metanet.zoo import View, Zoo

MEMBERS = [{"name": "gbm", "max_trees": 20}, "logit_linear:stats_global", {"name": "gbm", "features": "hyper", "max_trees": 5}]


@pytest.fixture(scope="module")
def parts(known: Zoo) -> tuple[View, View]:
    return known.view().split(test=0.4, seed=0)


def test_the_mean_is_the_mean(parts: tuple[View, View]) -> None:
    train, test = parts
    stack = metanet.create_model("stack", members=MEMBERS[:2]).fit(train)
    own = [
        metanet.create_model("gbm", max_trees=20).fit(train).predict(test),
        metanet.create_model("logit_linear", features="stats_global").fit(train).predict(test),
    ]
    np.testing.assert_allclose(stack.predict(test), np.mean(own, 0), atol=1e-6)
    classes = metanet.create_model("stack", members=MEMBERS[:2]).fit(train, "hp.optimizer")
    np.testing.assert_allclose(classes.output(test).sum(1), 1, atol=1e-5)


def test_weights_are_least_squares_out_of_fold(parts: tuple[View, View], tmp_path: Path) -> None:
    train, test = parts
    members = [{"name": "gbm", "max_trees": 20}, "constant"]
    stack = metanet.create_model("stack", members=members, method="weights", folds=3, seed=1).fit(train)
    of_row = train.draw_folds(3, 1)
    columns, true = [], []
    for k in range(3):
        rest, held_out = train.take(np.flatnonzero(of_row != k)), train.take(np.flatnonzero(of_row == k))
        outputs = [metanet.create_model("gbm", max_trees=20, seed=1).fit(rest).output(held_out)]
        outputs.append(np.full(len(held_out), rest.target("test_accuracy").mean()))
        columns.append(np.stack(outputs, 1))
        true.append(held_out.target("test_accuracy"))
    weights, _ = nnls(np.concatenate(columns), np.concatenate(true))
    np.testing.assert_allclose(stack.weights, weights / weights.sum(), atol=1e-3)
    assert stack.weights[0] > 0.8
    stack.save(tmp_path)
    again = metanet.load_model(tmp_path)
    assert np.array_equal(again.predict(test), stack.predict(test))
    assert stack.score(test)["r2"] > 0.7


def test_its_access_is_that_of_all_members(parts: tuple[View, View]) -> None:
    assert metanet.create_model("stack", members=["gbm:stats", "gbm:hyper"]).access == "H+W"
    assert metanet.create_model("stack", members=["gbm:stats", "gbm:stats+probe"]).access == "F+W"
    assert metanet.create_model("stack", members=["gbm:stats", {"name": "probe_net", "seed": 3}]).access == "F+W"
    assert metanet.create_model("stack").features.endswith("deepsets")
    assert metanet.create_model("stack", beside="probe").features.endswith("products+probe, deepsets:probe")
    assert metanet.create_model("stack", beside="probe").access == "F+W"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"members": ["gbm:stats"]}, "two or more"),
        ({"members": ["gbm:stats", "gmb"]}, "no model 'gmb'.*'gbm'"),
        ({"members": ["gbm:stat", "dnn"]}, "no features 'stat'"),
        ({"members": ["dmc_local:stats", "dnn"]}, "dmc_local reads slices and takes no features"),
        ({"members": ["gbm", "dnn"], "beside": "probe"}, "goes with the default members"),
        ({"members": [{"features": "stats"}, "dnn"]}, "has no name"),
        ({"members": [{"name": "gbm", "leaves": 3}, "dnn"]}, "no setting 'leaves'"),
        ({"method": "median"}, "method=median"),
    ],
)
def test_mistakes_are_named(settings: dict, words: str) -> None:
    with pytest.raises(MetanetError, match=words):
        _ = metanet.create_model("stack", **settings).access


def test_numbers_are_averaged_on_the_targets_scale(parts: tuple[View, View]) -> None:
    train, test = parts
    fit, validation = train.split(test=0.3, seed=1)
    stack = metanet.create_model("stack", members=MEMBERS[:2]).fit(fit, "hp.learning_rate", validation)
    own = [model.predict(test) for model in stack.models]
    np.testing.assert_allclose(stack.predict(test), np.mean(own, 0), atol=1e-6)
