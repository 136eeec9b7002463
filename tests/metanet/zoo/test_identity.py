"""Units of splitting and identities of networks; plans are drawn as zoos draw them, and nothing is trained."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import small_recipe

from metanet.errors import MetanetError
from metanet.generation.plan import make_plan
from metanet.generation.recipes import create_recipe
from metanet.zoo import Layout, Zoo, zoo_from_arrays
from metanet.zoo.header import DataFacts, SharedSeed, ZooHeader
from metanet.zoo.identity import FEWEST, Seen, drawn, identities, left_out, units_of

LAYOUT = Layout.build([("dense.weight", "dense", "kernel", (2, 2))])


def arrays(frame: dict[str, Any], header: dict[str, Any] | None = None) -> Zoo:
    table = pd.DataFrame(frame).assign(test_accuracy=0.5)
    return zoo_from_arrays(np.zeros((len(table), 4)), LAYOUT, table, header=header)


def planned(n: int = 30, seed: int = 0, data: str = "digits", name: str = "small_cnn", **changes: Any) -> Zoo:
    """A zoo as ``metanet generate`` draws it, whose networks were not trained."""
    recipe = small_recipe(**changes)
    if name != "small_cnn":
        settings = {k: v for k, v in recipe.to_json().items() if k not in ("name", "num_layers")}
        recipe = create_recipe(name, **settings)
    facts = DataFacts(data, shape=(16, 16, 1), classes=10, n_train=1437, n_test=360)
    plan = make_plan(recipe, facts, n, seed)
    networks = plan.table.drop(columns="group").assign(status="ok")
    snapshots = pd.DataFrame({"network_id": networks["network_id"], "epoch": 2, "test_accuracy": 0.5})
    return Zoo(f"{name} {data} {seed}", plan.header(), plan.layouts, networks, snapshots)


# ------------------------------------------------------------------------------- units


def test_a_column_of_configurations_decides(capsys: pytest.CaptureFixture[str]) -> None:
    zoo = arrays({"configuration": np.repeat([3, 1, 2], 4), "hp.learning_rate": np.linspace(0, 1, 12)})
    assert zoo.view().units.tolist() == ["3"] * 4 + ["1"] * 4 + ["2"] * 4
    assert "12 networks share 3 configurations" in capsys.readouterr().out
    assert zoo.view().take([5, 0]).units.tolist() == ["1", "3"]
    assert zoo.view().units is not None
    assert capsys.readouterr().out == ""  # said once
    some = arrays({"configuration": ["a", "a", None, None]}).view()
    assert some.units.tolist() == ["a", "a", "000002", "000003"]


def test_equal_hyperparameters_are_one_unit_where_they_are_enough(capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    rate, kind = np.repeat(rng.random(FEWEST), 3), np.repeat(rng.choice(["sgd", "adam"], FEWEST), 3)
    order = rng.permutation(3 * FEWEST)
    frame = {"hp.learning_rate": rate[order], "hp.optimizer": kind[order], "hp.init_std": np.nan}
    units = arrays(frame).view().units
    for one in range(FEWEST):
        members = units[order // 3 == one]
        assert len(set(members)) == 1
        assert members[0] == f"{np.flatnonzero(order // 3 == one)[0]:06d}"  # named by the first
    assert f"{3 * FEWEST} networks share {FEWEST} configurations" in capsys.readouterr().out
    frame["hp.learning_rate"] = np.where(rate == rate[0], rate[5], rate)[order]  # one less
    frame["hp.optimizer"] = np.full(3 * FEWEST, "sgd")
    coarse = arrays(frame).view()
    assert np.array_equal(coarse.units, coarse.network_ids)
    assert f"only {FEWEST - 1} different hyperparameters, too few to split by" in capsys.readouterr().out


@pytest.mark.parametrize("frame", [{}, {"hp.optimizer": "sgd"}, {"configuration": 7}, {"hp.rate": np.arange(12.0)}])
def test_else_a_network_is_a_unit_and_nothing_is_said(frame: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    view = arrays({"network_id": [f"n{i}" for i in range(12)]} | frame).view()
    assert np.array_equal(view.units, view.network_ids)
    assert capsys.readouterr().out == ""


def test_seeds_of_one_configuration_alone_can_be_split() -> None:
    view = arrays({"configuration": np.repeat([0, 1], 10)}).view(where="configuration == 1")
    train, test = view.split(test=0.5)
    assert (len(train), len(test)) == (5, 5)


def test_a_plan_of_many_seeds_says_its_configurations() -> None:
    zoo = planned(60, seeds=5)
    sizes = pd.Series(zoo.view().units).value_counts()
    assert (len(sizes), sizes.unique().tolist()) == (12, [5])
    assert np.array_equal(planned().view().units, planned().view().network_ids)


@pytest.mark.parametrize("share", [["init"], []])
def test_twins_of_one_zoo_are_one_unit_where_hyperparameters_are_the_identity(share: list[str]) -> None:
    zoo = planned(2 * FEWEST, num_units=[8, 16])
    drawn_hp = list(drawn(zoo.networks, zoo.header))
    zoo.networks.loc[FEWEST:, drawn_hp] = zoo.networks.loc[: FEWEST - 1, drawn_hp].to_numpy()
    zoo.networks["hp.num_units"] = np.repeat([8, 16], FEWEST)
    zoo.header = replace(zoo.header, shared=SharedSeed(tuple(share)))
    units = zoo.view().units
    assert np.array_equal(units[:FEWEST], units[FEWEST:]) == bool(share)
    assert len(set(units)) == (FEWEST if share else 2 * FEWEST)


def test_sizes_make_units_where_nothing_else_does() -> None:
    frame = {"hp.conv_width": np.repeat(np.arange(FEWEST), 2), "hp.optimizer": ["sgd", "sgd"] * FEWEST}
    assert len(set(arrays(frame).view().units)) == FEWEST


# ------------------------------------------------------------------------------- identities


def test_twins_are_known_whatever_the_width_the_protocol_and_the_size_of_the_zoo() -> None:
    narrow = planned(30)
    seen = Seen.of(narrow.view(), narrow.view().network_ids[:20])
    for other in (planned(30, num_units=32), planned(30, epochs=5, batch_size=8), planned(40), planned(30, num_layers=2)):
        assert np.flatnonzero(seen.twins(other.view())).tolist() == list(range(20))
        rest = seen.rest(other.view())
        assert rest.network_ids.tolist() == other.view().network_ids[20:].tolist()
        assert f"20 of {len(other.networks)} networks" in left_out(other.view(), rest)
    with pytest.raises(MetanetError, match=r"all 30 networks of small_cnn digits 0 are .* twins .* grow a zoo with another seed"):
        Seen.of(narrow.view()).rest(planned(30, num_units=32).view())


def test_another_seed_or_image_set_has_no_twins() -> None:
    seen = Seen.of(planned(30).view())
    for other in (planned(30, seed=1, num_units=32), planned(30, data="mnist")):
        view = other.view()
        assert seen.rest(view) is view
        assert left_out(view, view) == ""


def test_images_are_no_part_of_an_identity() -> None:
    one, other = planned(30), planned(30)
    other.networks["hp.dataset"] = "mnist"
    assert Seen.of(one.view()).twins(other.view()).all()


def test_what_one_study_fixes_is_compared_as_the_fit_drew_it() -> None:
    free, adam = planned(30), planned(30, optimizer="adam")
    assert "hp.optimizer" in drawn(free.networks, free.header)
    assert "hp.optimizer" not in drawn(adam.networks, adam.header)
    assert Seen.of(adam.view()).twins(free.view()).all()
    assert np.array_equal(Seen.of(free.view()).twins(adam.view()), free.networks["hp.optimizer"] == "adam")


def test_a_configuration_of_many_seeds_is_seen_as_a_whole() -> None:
    single, many = planned(30), planned(60, seeds=5)
    same = many.networks["configuration"].to_numpy() < 3
    assert np.array_equal(Seen.of(single.view(), single.networks["network_id"][:3]).twins(many.view()), same)
    assert Seen.of(many.view(), ["000007"]).twins(many.view()).tolist() == [5 <= i < 10 for i in range(60)]
    assert Seen.of(many.view(), ["000007"]).twins(single.view()).tolist() == [i == 1 for i in range(30)]


@pytest.mark.parametrize(("share", "shared"), [(["init", "dropout"], True), (["init"], True), (["dropout"], False), ([], False)])
def test_of_one_seed_on_purpose_the_hyperparameters_are_the_identity(share: list[str], shared: bool) -> None:
    one, other = planned(30), planned(30)
    for zoo, seed in ((one, 42), (other, 43)):
        zoo.header = replace(zoo.header, shared=SharedSeed(tuple(share)))
        zoo.networks["init_seed"] = seed
    other.networks["seed"] += 1
    own = identities(one.networks, one.header)
    assert own.str.fullmatch("[0-9a-f]{16}" if shared else "[0-9a-f]{16}-[0-9a-f]{8}").all()
    assert own.nunique() == 30
    assert Seen.of(one.view()).twins(other.view()).all() == shared


def test_imported_files_go_by_hyperparameters_of_twelve_digits(tmp_path: Path) -> None:
    zoo = planned(30)
    columns = [c for c in zoo.networks if c.startswith("hp.")]
    zoo.networks[columns].map(lambda v: np.nextafter(v, 1) if isinstance(v, float) else v).to_csv(tmp_path / "z.csv", index=False)
    imported = arrays(dict(pd.read_csv(tmp_path / "z.csv")), {"recipe": {"imported": True}})
    seen = Seen.of(imported.view(), ["000004"])
    assert seen.twins(zoo.view()).tolist() == [i == 4 for i in range(30)]
    assert Seen.of(zoo.view(), ["000004"]).twins(imported.view()).tolist() == [i == 4 for i in range(30)]
    assert seen.identities < set(identities(imported.networks, imported.header))


@pytest.mark.parametrize("frame", [{"network_id": list("abcd")}, {"hp.optimizer": ["sgd", "adam"] * 30}])
def test_what_does_not_tell_networks_apart_is_no_identity(frame: dict[str, Any]) -> None:
    zoo = arrays(frame)
    assert identities(zoo.networks, zoo.header).isna().all()
    seen = Seen.of(zoo.view())
    assert seen == Seen((), frozenset())
    assert not seen.twins(arrays(frame).view()).any()


def test_few_hyperparameters_go_with_the_seed() -> None:
    changes = {"learning_rate": 0.01, "l2reg": 0.0, "dropout": 0.0, "init_std": 0.1, "w_init": "normal", "train_fraction": 0.1}
    zoo, other = planned(30, **changes), planned(30, seed=1, **changes)
    assert drawn(zoo.networks, zoo.header) == ("hp.activation", "hp.optimizer", "seed")
    assert Seen.of(zoo.view()).twins(planned(30, num_units=4, **changes).view()).all()
    assert not Seen.of(zoo.view()).twins(other.view()).any()


def test_what_was_seen_reads_back(tmp_path: Path) -> None:
    seen = Seen.of(planned().view())
    seen.save(tmp_path / "seen.json")
    assert Seen.load(tmp_path / "seen.json") == seen
    for text in ("{}", "[]", "x"):
        (tmp_path / "seen.json").write_text(text)
        with pytest.raises(MetanetError, match="does not say which networks the run has seen"):
            Seen.load(tmp_path / "seen.json")


def test_a_multilayer_perceptron_of_the_same_draws_is_a_twin() -> None:
    assert Seen.of(planned().view()).twins(planned(name="mlp").view()).all()


def test_a_unit_is_a_plain_table_of_networks() -> None:
    units, note = units_of(pd.DataFrame({"network_id": ["b", "a"], "configuration": [1, 1]}), ZooHeader())
    assert (units.to_dict(), note) == ({"b": "b", "a": "a"}, "")
