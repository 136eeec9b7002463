"""What is taken where nothing is asked for: folds, weights and the choice, against numpy and scipy."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize

import metanet
from metanet.models.auto import Auto, mixing_weights
from metanet.models.gbm import GBM
from metanet.models.target import Target
from metanet.zoo import Layout, View, Zoo, zoo_from_arrays

MEMBERS: list[Any] = [{"name": "gbm", "max_trees": 20}, {"name": "gbm", "features": "stats_global", "max_trees": 10}]


@pytest.fixture(scope="module")
def parts(known: Zoo) -> tuple[View, View]:
    return known.view().split(test=0.4, seed=0)


def best_weights(columns: np.ndarray, true: np.ndarray) -> np.ndarray:
    """The definition, by a general optimiser: squares over the mean's own error, and (w - 1/M)^2 over 1/M^2."""
    count = columns.shape[1]
    noise = np.mean((columns.mean(1) - true) ** 2)
    answer = minimize(
        lambda w: np.sum((columns @ w - true) ** 2) / noise + np.sum((w * count - 1) ** 2),
        np.full(count, 1 / count),
        bounds=[(0, None)] * count,
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1},
        tol=1e-12,
    )
    return answer.x


@pytest.mark.parametrize("rows", [5, 40, 4000])
def test_weights_are_the_posterior_mode_of_shares(rows: int) -> None:
    rng = np.random.default_rng(rows)
    true = rng.uniform(size=rows)
    outputs = true + rng.standard_normal((4, rows)) * np.array([0.1, 0.15, 0.2, 3.0])[:, None]
    weights = mixing_weights(outputs, true)
    assert (weights >= 0).all()
    assert weights.sum() == pytest.approx(1)
    np.testing.assert_allclose(weights, best_weights(outputs.T, true), atol=2e-3)
    assert weights.argmax() == 0 or rows == 5


def test_no_member_is_asked_about_networks_that_it_was_fitted_on(
    parts: tuple[View, View], monkeypatch: pytest.MonkeyPatch
) -> None:
    train, validation = parts[0].take(range(90)), parts[0].take(range(90, 110))
    seen: dict[int, set[str]] = {}
    asked: list[tuple[set[str], set[str]]] = []
    fit, output = GBM.fit, GBM.output

    def spied_fit(self: GBM, train: View, target: str = "test_accuracy", validation: View | None = None) -> Any:
        assert validation is None
        seen[id(self)] = set(train.network_ids)
        return fit(self, train, target)

    def spied_output(self: GBM, view: View) -> np.ndarray:
        asked.append((seen[id(self)], set(view.network_ids)))
        return output(self, view)

    monkeypatch.setattr(GBM, "fit", spied_fit)
    monkeypatch.setattr(GBM, "output", spied_output)
    metanet.create_model("auto", members=MEMBERS, folds=4).fit(train, validation=validation)
    everyone = set(train.network_ids) | set(validation.network_ids)
    assert len(asked) == 2 * 4
    for fitted, held_out in asked:
        assert fitted | held_out == everyone
        assert not fitted & held_out
    for i in range(2):  # each network once a member, the validation part as a fold of its own
        own = [held_out for _, held_out in asked[4 * i : 4 * i + 4]]
        assert own[0] == set(validation.network_ids)
        assert sum(map(len, own)) == len(everyone)


@pytest.mark.parametrize("target", ["test_accuracy", "hp.optimizer"])
def test_what_errs_least_out_of_fold_is_taken(target: str, parts: tuple[View, View]) -> None:
    """Every loss is made again from fits of one's own; so are the predictions."""
    train, test = parts
    fit, validation = train.take(range(90)), train.take(range(90, 120))
    model = metanet.create_model("auto", members=MEMBERS, folds=3, seed=2).fit(fit, target, validation)
    names, inverse = np.unique(fit.network_ids.astype(str), return_inverse=True)
    dealt = (np.random.default_rng(2).permutation(len(names)) % 2)[inverse]
    folds = [(fit, validation)]
    folds += [(fit.take(np.flatnonzero(dealt != k)).union(validation), fit.take(np.flatnonzero(dealt == k))) for k in range(2)]
    goal = Target.of(train, target)
    true = np.concatenate([goal.encode(own) for _, own in folds])
    true = np.eye(3)[true] if goal.classes else true
    found, bags = [], []
    for member in MEMBERS:
        settings = {k: v for k, v in member.items() if k != "name"}
        fits = [metanet.create_model("gbm", seed=2 + k, **settings).fit(rest, target) for k, (rest, _) in enumerate(folds)]
        found.append(np.concatenate([m.output(own) for m, (_, own) in zip(fits, folds, strict=True)]))
        bags.append(np.mean([m.output(test) for m in fits], 0))
    ids = np.concatenate([own.network_ids for _, own in folds]).astype(str)
    names, inverse = np.unique(ids, return_inverse=True)
    part = (np.random.default_rng(2).permutation(len(names)) % 3)[inverse]
    weighed = np.empty(true.shape)
    for k in range(3):
        columns = np.stack([f[part != k].ravel() for f in found], 1)
        weights = best_weights(columns, true[part != k].ravel())
        weighed[part == k] = sum(w * f[part == k] for w, f in zip(weights, found, strict=True))
    titles = ["gbm:stats", "gbm:stats_global"]
    losses = {"weights": weighed, "mean": np.mean(found, 0), **dict(zip(titles, found, strict=True))}
    losses = {name: np.mean((value - true) ** 2) for name, value in losses.items()}
    assert model.losses == pytest.approx(losses, rel=1e-3)
    assert model.losses[model.took] == min(model.losses.values())
    shares = np.array([model.shares.get(title, 0) for title in titles])
    np.testing.assert_allclose(model.output(test), np.tensordot(shares, np.stack(bags), 1), atol=1e-12)
    if model.took in titles:
        assert model.shares == {model.took: 1.0}


def test_a_member_that_knows_nothing_leaves_the_other_alone(parts: tuple[View, View], tmp_path: Path) -> None:
    train, test = parts
    model = metanet.create_model("auto", members=["constant", {"name": "gbm", "max_trees": 60}], folds=3).fit(train)
    assert model.shares.get("constant", 0) < 0.2
    model.save(tmp_path)
    facts = json.loads((tmp_path / "model.json").read_text())
    assert facts["shares"] == model.shares
    assert facts["took"] == model.took
    assert model.note.startswith(f"took {model.took if model.took.startswith('gbm') else 'the ' + model.took}: ")
    assert f"best single gbm:stats {model.losses['gbm:stats']:.3g}" in model.note
    again = metanet.load_model(tmp_path)
    assert again.note == model.note
    assert np.array_equal(again.predict(test), model.predict(test))


def test_large_zoos_hold_out_fewer_folds(parts: tuple[View, View]) -> None:
    train, validation = parts[0].take(range(80)), parts[0].take(range(80, 100))
    values = 100 * train.layout.size
    for times, fits in ((0.1, 1), (1, 1), (2.5, 2), (100, 4)):
        model = metanet.create_model("auto", members=MEMBERS, folds=4, values=int(values * times))
        assert len(list(model._folds(train, validation))) == fits


def test_what_it_held_out_is_answered_by_fits_and_weights_that_did_not_see_it(parts: tuple[View, View]) -> None:
    """Other accuracies of the validation part change nothing of what its own fold says of it, nor which fit says it."""
    train, validation = parts[0].take(range(90)), parts[0].take(range(119, 89, -1))
    model = metanet.create_model("auto", members=MEMBERS, folds=3).fit(train, "test_accuracy", validation)
    own = [
        metanet.create_model("gbm", **{k: v for k, v in m.items() if k != "name"}).fit(train).output(validation) for m in MEMBERS
    ]
    low, high = np.minimum(*own), np.maximum(*own)
    assert model.held_out.output.shape == (30,)
    assert ((model.held_out.output >= low - 1e-6) & (model.held_out.output <= high + 1e-6)).all()


def networks(*depths: int, width: int = 8) -> View:
    """Random fully connected networks of some depths; ``width`` is what their last layer reads of the 8 units before it."""
    layouts = []
    for depth in depths:
        tensors = [("fc0.weight", "fc0", "kernel", (8, 4)), ("fc0.bias", "fc0", "bias", (8,))]
        for i in range(1, depth):
            tensors += [(f"fc{i}.weight", f"fc{i}", "kernel", (8, 8)), (f"fc{i}.bias", f"fc{i}", "bias", (8,))]
        tensors += [("dense.weight", "dense", "kernel", (3, width)), ("dense.bias", "dense", "bias", (3,))]
        layouts.append(Layout.build(tensors))
    rng = np.random.default_rng(0)
    weights = [rng.standard_normal(own.size) for own in layouts]
    return zoo_from_arrays(weights, layouts, pd.DataFrame({"test_accuracy": rng.uniform(size=len(depths))})).view()


def test_its_members_are_those_that_can_read_the_networks() -> None:
    def members(view: View) -> tuple[list[str], dict[str, str]]:
        model = Auto()
        model.choose_target(view, "test_accuracy")
        assert model.access == "W"
        return [f"{m['name']}:{m.get('features', '')}" for m in model._suitable(view)], model.left_out

    everything = "stats+neurons+spectra+products"
    encoders = ["deepsets:", "gnn:"]
    assert members(networks(1, 1)) == ([f"gbm:{everything}", f"stat_net:{everything}", "gbm:stats", *encoders], {})
    of_any = "stats_global+measures_global"
    assert members(networks(1, 2)) == ([f"gbm:{of_any}", f"stat_net:{of_any}", *encoders], {})
    found, left_out = members(networks(1, 1, width=5))  # no wiring fits these
    assert found == ["gbm:stats", "stat_net:stats"]
    assert set(left_out) == {"deepsets", "gnn"}
    assert "does not fit the 8 neurons" in left_out["gnn"]
