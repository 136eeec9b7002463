"""What a zoo says of itself, and the kinds of its columns."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import small_recipe

from metanet.errors import MetanetError
from metanet.generation.plan import make_plan
from metanet.zoo import Layout, Zoo, ZooBuilder, zoo_from_arrays
from metanet.zoo.columns import check_columns, column_kinds
from metanet.zoo.header import DataFacts, FileFacts, Origin, RecipeFacts, SharedSeed, ZooHeader

LAYOUT = Layout.build([("w", "l", "kernel", (2, 3))])
TWO_SETS = DataFacts(
    "a+b",
    shape=(4, 4, 1),
    classes=3,
    converged={"a": 0.5, "b": 0.7},
    sets={"a": DataFacts("a", chance=0.4, crc32=7), "b": DataFacts("b", n_train=9, n_test=8)},
    more={"licence": "free"},
)
WHOLE = ZooHeader(
    RecipeFacts("mine", True, True, {"rate": {"uniform": [0, 1]}}, 3, 12, {"epochs": 2, "evaluate_every": None}),
    TWO_SETS,
    columns={"hp.rate": "log", "test_accuracy": "share"},
    identity=("hp.rate", "seed"),
    shared=SharedSeed(("init",), 42),
    wiring={LAYOUT.id: {"w": ["out", None]}},
    seed=0,
    trainer={"limit_train_batches": 2},
    plan_hash="p",
    engine="torch",
    group_size=4,
    n=5,
    status="complete",
    groups=1,
    layouts={LAYOUT.id: LAYOUT},
    shards=(6,),
    files={"0": "elsewhere.npy"},
    checksums={"networks.parquet": FileFacts(5, 100)},
    more={"created": "today"},
)


@pytest.mark.parametrize("header", [WHOLE, ZooHeader(), ZooHeader(identity=())])
def test_a_header_is_read_back_from_its_json(header: ZooHeader) -> None:
    assert ZooHeader.from_json(json.loads(json.dumps(header.to_json()))) == header


def test_what_is_not_known_is_not_in_the_json() -> None:
    assert DataFacts("a", n_test=5).to_json() == {"name": "a", "n_test": 5}
    assert list(TWO_SETS.each) == ["a", "b"]
    assert list(DataFacts("a").each) == ["a"]
    assert "wiring" not in ZooHeader().to_json()
    assert WHOLE.recipe.arguments == {
        "epochs": 2,
        "evaluate_every": None,
        "hyperparameters": {"rate": {"uniform": [0, 1]}},
        "seeds": 3,
    }


def test_an_origin_is_one_by_name_and_by_position() -> None:
    origin = WHOLE.origin
    assert origin is not None
    values = origin.to_json()
    assert Origin.from_json(json.loads(json.dumps(values))) == origin
    assert Origin.from_json([values[key] for key in ("recipe", "data", "seed", "trainer")]) == origin
    assert Origin.from_json([]) is Origin.from_json(None) is ZooHeader().origin is None


def test_a_plans_origin_is_that_of_its_zoo_on_disk(grown: Zoo) -> None:
    plan = make_plan(small_recipe(), grown.data, n=30, seed=3, group_size=8)
    assert plan.header().origin == grown.header.origin
    assert plan.header().plan_hash == grown.header.plan_hash
    assert grown.header.recipe.losses_include_l2 is False
    assert grown.header.columns == grown.columns


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"data": {"n_test": "many"}}, "data.n_test='many': give a whole number"),
        ({"data": {"chance": True}}, "data.chance=True: give a number"),
        ({"data": {"sets": {"a": {"shape": 3}}}}, "data.shape=3: give a list"),
        ({"recipe": {"imported": 1}}, "recipe.imported=1: give true or false"),
        ({"recipe": ["a"]}, re.escape("header.recipe=['a']: give names and values")),
        (
            {"columns": {"hp.rate": "logarithm"}},
            "column 'hp.rate' cannot be of kind 'logarithm'; .*number, share, log, category|mean 'log'",
        ),
    ],
)
def test_facts_of_another_type_are_named(values: dict[str, Any], says: str) -> None:
    with pytest.raises(MetanetError, match=says):
        ZooHeader.of(values)


def test_numbers_of_numpy_are_numbers() -> None:
    assert (
        json.dumps(DataFacts.from_json({"n_test": np.int64(5), "chance": np.float64(0.5)}).to_json())
        == '{"n_test": 5, "chance": 0.5}'
    )


# ------------------------------------------------------------------------------- columns

FRAME = pd.DataFrame(
    {
        "hp.rate": [0.1, 0.2, 0.4],
        "hp.optimizer": ["sgd", "adam", "sgd"],
        "hp.batch_norm": [True, False, True],
        "hp.width": [8, 16, 8],
        "test_accuracy": [0.1, 0.5, np.nan],
        "percent_accuracy": [10.0, 50.0, 20.0],
        "test_loss": [1.0, 2.0, -1.0],
    }
)
DEFAULTS = {
    "hp.rate": "number",
    "hp.optimizer": "category",
    "hp.batch_norm": "category",
    "hp.width": "number",
    "test_accuracy": "share",
    "percent_accuracy": "number",
    "test_loss": "number",
}


def tables(frame: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    hyper = [c for c in frame if c.startswith("hp.")]
    return frame[hyper].assign(network_id="a", seconds=1.0), frame.drop(columns=hyper).assign(network_id="a", shard=0, offset=0)


def test_kinds_are_those_declared_and_else_those_of_the_values() -> None:
    assert column_kinds(*tables(FRAME), {}) == DEFAULTS
    declared = {"hp.rate": "log", "hp.width": "category", "hp.gone": "log"}
    assert column_kinds(*tables(FRAME), declared) == DEFAULTS | {"hp.rate": "log", "hp.width": "category"}


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ({"hp.optimiser": "category"}, r"no such column; did you mean 'hp.optimizer'"),
        ({"hp.optimizer": "number"}, r"'hp.optimizer' holds 'sgd', which is no number, so it cannot be a number; say category"),
        ({"hp.batch_norm": "share"}, r"holds 'True', which is no number"),
        ({"percent_accuracy": "share"}, r"values up to 50, so it is no share"),
        ({"test_loss": "log"}, r"values down to -1, which have no logarithm"),
        ({"hp.rate": "lgo"}, r"cannot be of kind 'lgo'; did you mean 'log'"),
    ],
)
def test_columns_that_cannot_be_so_are_named(columns: dict[str, str], says: str) -> None:
    with pytest.raises(MetanetError, match=says):
        check_columns(*tables(FRAME), columns)
    with pytest.raises(MetanetError, match=says):
        zoo_from_arrays(np.zeros((3, 6)), LAYOUT, FRAME, columns=columns)


def test_a_declared_column_is_predicted_as_what_it_is() -> None:
    zoo = zoo_from_arrays(np.zeros((3, 6)), LAYOUT, FRAME, columns={"hp.width": "category", "hp.rate": "log"})
    assert zoo.view().target("hp.width").tolist() == ["8", "16", "8"]
    assert zoo.view().target("hp.rate").tolist() == FRAME["hp.rate"].tolist()
    assert (zoo.kind("hp.rate"), zoo.kind("final_test_accuracy"), zoo.kind("hp.unknown")) == ("log", "share", "number")
    again = zoo_from_arrays(np.zeros((3, 6)), LAYOUT, zoo.view().frame, header=zoo.header)
    assert again.columns == zoo.columns


# ------------------------------------------------------------------------------- the card


def card(folder: Any, metrics: dict[str, float], **known: Any) -> str:
    with ZooBuilder(folder / "zoo", **known) as zoo:
        zoo.add("a", LAYOUT, [(0, np.zeros(6), metrics)], {"optimizer": "adam"})
    return (folder / "zoo" / "README.md").read_text()


def test_a_card_says_what_is_known_and_no_more(tmp_path: Any) -> None:
    text = card(tmp_path, {"test_accuracy": 0.5, "test_loss": 1.0})
    assert "None" not in text
    assert "l2" not in text
    assert "- optimizer: category" in text
    assert text.startswith("# Zoo: networks from elsewhere\n")


@pytest.mark.parametrize(
    ("metrics", "include", "says"),
    [
        ({"test_loss": 1.0}, True, "Losses are as published, with the l2 penalty."),
        ({"test_loss": 1.0}, False, "Losses are plain cross-entropy, without the l2 penalty."),
        ({"test_accuracy": 0.5}, True, ""),
    ],
)
def test_a_card_says_of_losses_what_the_header_says(tmp_path: Any, metrics: dict[str, float], include: bool, says: str) -> None:
    known = {"recipe": {"name": "mine", "losses_include_l2": include}, "data": {"name": "b", "n_test": 50, "classes": 2}}
    text = card(tmp_path, metrics, **known)
    assert text.startswith("# Zoo: mine on b\n")
    assert f"b: 50 test images, 2 classes.{' ' if says else ''}{says}\n" in text
    assert ("Losses" in text) == bool(says)
