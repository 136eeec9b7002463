"""Tables of multilayer perceptrons on networks that were drawn and not trained."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy.stats import kendalltau

from metanet.generation.plan import make_plan
from metanet.generation.recipes import create_recipe
from metanet.models import MetaModel, create_model
from metanet.reproduce.mlps import across_sizes
from metanet.reproduce.study import Exhibit
from metanet.testing.zoos import SPACE
from metanet.zoo import View, Zoo, zoo_from_arrays
from metanet.zoo.header import DataFacts


def drawn_mlps(width: int, seed: int) -> Zoo:
    """Twelve perceptrons of a width with random weights and accuracies, and the own seeds of a plan."""
    recipe = create_recipe("mlp", hyperparameters=SPACE, num_units=width, num_layers=1, epochs=2, batch_size=8, snapshots=[0])
    facts = DataFacts("digits", shape=(4, 4, 1), classes=10, n_train=100, n_test=50)
    plan = make_plan(recipe, facts, 12, seed)
    (layout,) = plan.layouts.values()
    rng = np.random.default_rng(width)
    frame = plan.table.drop(columns=["layout_id", "seed", "group"]).assign(test_accuracy=rng.random(12))
    zoo = zoo_from_arrays(rng.standard_normal((12, layout.size)), layout, frame, f"u{width}", plan.header())
    zoo.networks["seed"] = plan.table["seed"].to_numpy()
    return zoo


def small_forest(view: View, study: Any, features: str) -> MetaModel:
    return create_model("random_forest", features="hyper" if features == "hyper" else "stats_global", trees=2).fit(view)


@pytest.fixture(scope="module")
def zoos() -> dict[str, Zoo]:
    """u4; its twins at width 8; networks of another seed; and ones that are all twins of one that u4's first forest has seen."""
    found = {zoo.name: zoo for zoo in (drawn_mlps(4, 0), drawn_mlps(8, 0), drawn_mlps(16, 1), drawn_mlps(32, 2))}
    narrow, copies = found["u4"].networks, found["u32"].networks
    one = np.flatnonzero(found["u4"].view().draw_folds(5, 0) != 0)[0]
    drawn = [c for c in narrow if c == "seed" or (c.startswith("hp.") and c != "hp.num_units")]
    copies[drawn] = narrow.loc[[one] * 12, drawn].to_numpy()
    return found


@pytest.fixture(scope="module")
def exhibit(zoos: dict[str, Zoo]) -> Exhibit:
    study: Any = SimpleNamespace(zoos=lambda kind: list(zoos), zoo=zoos.get, data=lambda name: "digits", seed=0, threads=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("metanet.reproduce.mlps._forest", small_forest)
        return across_sizes(study, "table11")


def test_a_forest_is_not_asked_about_twins_of_other_widths(zoos: dict[str, Zoo], exhibit: Exhibit) -> None:
    table = exhibit.tables["table11"].set_index("trained_on").loc["u4, u=4"]
    narrow, fold = zoos["u4"].view(), zoos["u4"].view().draw_folds(5, 0)
    forest = small_forest(narrow.take(np.flatnonzero(fold != 0)), None, "stats")
    rest = zoos["u8"].view().take(np.flatnonzero(fold == 0))  # the twins of the first rotation's test part
    assert len(rest) == 3
    for name, view in (("u8", rest), ("u16", zoos["u16"].view())):
        expected = kendalltau(view.target("test_accuracy"), forest.predict(view)).statistic
        assert table[f"{name}, u={name[1:]}"] == pytest.approx(expected)
    assert any("u4, u=4 → u8, u=8: u8: 9 of 12 networks are ones that the fit has seen" in note for note in exhibit.notes)
    assert not any("u16" in note for note in exhibit.notes[2:])


def test_a_column_of_twins_alone_is_not_measured(exhibit: Exhibit) -> None:
    assert np.isnan(exhibit.tables["table11"].set_index("trained_on").loc["u4, u=4", "u32, u=32"])
    assert any("u4, u=4 → u32, u=32: all 12 networks of u32 are ones" in note for note in exhibit.notes)
