"""What 0.1.0 and format version 1 wrote still opens: a zoo, a run, a model, a zoo that was growing (tests/fixtures)."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import metanet
from metanet.errors import MetanetError
from metanet.evaluation.seen import stored_split, unseen
from metanet.generation.recipes import create_recipe
from metanet.generation.runner import generate
from metanet.runs.records import find_runs
from metanet.zoo import ZooWriter, open_zoo
from metanet.zoo.header import FORMAT_VERSION, ZooHeader
from metanet.zoo.reading import read_header, verify_zoo

FIXTURES = Path(__file__).parent / "fixtures" / "version_1"
DRAWN_FROM_LISTS = {"optimizer", "w_init", "activation", "train_fraction"}


def test_a_zoo_opens_and_its_columns_are_what_they_were() -> None:
    zoo = open_zoo(FIXTURES / "zoo")
    assert json.loads((FIXTURES / "zoo" / "zoo.json").read_text())["format_version"] == 1
    assert (len(zoo.networks), len(zoo.snapshots), zoo.data.n_test) == (40, 80, 360)
    kinds = {name: zoo.kind(f"hp.{name}") for name in zoo.header.recipe.hyperparameters}
    assert {name for name, kind in kinds.items() if kind == "category"} == DRAWN_FROM_LISTS
    assert {name for name, kind in kinds.items() if kind == "log"} == {"learning_rate", "l2reg", "init_std"}
    assert {c for c in zoo.columns if zoo.columns[c] == "share"} == {
        f"{part}_accuracy" for part in ("train", "validation", "test")
    }
    assert zoo.kind("final_test_accuracy") == "share"
    assert zoo.header.shared.of == ()
    assert zoo.view(epoch="all").weights().shape == (80, 50)  # each checked against its own checksum
    assert verify_zoo(FIXTURES / "zoo") == 3  # the tables: the first version had no checksums of shards
    assert len(zoo.history) > len(zoo.snapshots) - 1


def test_a_header_of_the_first_version_says_the_same_in_the_second() -> None:
    first = read_header(FIXTURES / "zoo")
    values = first.to_json()
    assert values["format_version"] == FORMAT_VERSION == 2
    assert ZooHeader.from_json(json.loads(json.dumps(values))) == first


def test_a_run_predicts_what_it_predicted_and_knows_its_networks() -> None:
    view = open_zoo(FIXTURES / "zoo").view()
    stored = pd.read_parquet(FIXTURES / "run" / "predictions.parquet").query("part == 'test'").set_index("network_id")
    rest = unseen(view, FIXTURES / "run")
    assert set(rest.network_ids) == set(stored.index)
    predicted = metanet.load_model(FIXTURES / "run" / "model").predict(rest)
    np.testing.assert_allclose(predicted, stored.loc[rest.network_ids, "predicted"], atol=1e-12)
    assert len(np.unique(predicted)) > 5
    split = stored_split(FIXTURES / "run" / "split.json", view.zoo)
    assert set(split.test) == set(stored.index)
    (record,) = find_runs([FIXTURES / "run"]).records
    assert record.images == "digits"
    other = replace(view.zoo.header, seed=6)
    view.zoo.header = other
    assert len(unseen(view, FIXTURES / "run")) == len(view)


def test_an_encoder_answers_as_it_did() -> None:
    view = open_zoo(FIXTURES / "zoo").view()
    expected = np.load(FIXTURES / "model" / "output.npy")
    np.testing.assert_allclose(metanet.load_model(FIXTURES / "model").output(view), expected, atol=1e-5)
    assert np.ptp(expected, axis=0).min() > 1e-3


def test_it_can_be_learned_from() -> None:
    train, test = open_zoo(FIXTURES / "zoo").view(epoch="all").split(seed=1)
    for target, kind in {"test_accuracy": "share", "hp.learning_rate": "log", "hp.train_fraction": "category"}.items():
        model = metanet.create_model("gbm", max_trees=3).fit(train, target)
        assert model.target.kind == kind
        assert len(model.predict(test)) == len(test)


def test_a_half_grown_zoo_goes_on_and_ends_in_the_second_version(tmp_path: Path) -> None:
    folder = tmp_path / "zoo"
    shutil.copytree(FIXTURES / "growing", folder)
    existing, plan = read_header(folder), pd.read_parquet(folder / "plan.parquet")
    (layout,) = existing.layouts.values()
    left = plan[plan["group"] == 1]
    networks = left.drop(columns="group").assign(status="ok")
    snapshots = pd.DataFrame({"network_id": left["network_id"], "epoch": 1, "test_accuracy": [0.25, 0.5]})
    header = ZooHeader(plan_hash=existing.plan_hash)
    with ZooWriter(folder, header, existing.layouts, plan, groups=2) as writer:
        assert writer.done == {0}
        writer.commit(1, [np.full(layout.size, i) for i in range(2)], networks, snapshots, snapshots)
        writer.finish()
    written = json.loads((folder / "zoo.json").read_text())
    assert written["format_version"] == FORMAT_VERSION
    zoo = open_zoo(folder)
    assert (len(zoo.networks), zoo.kind("hp.l2reg"), zoo.header.shared.of) == (4, "log", ("init", "dropout"))
    assert written["shared"] == {"of": ["init", "dropout"], "seed": 42}
    assert np.array_equal(zoo.view(where="test_accuracy == 0.5").weights(), np.ones((1, layout.size)))
    assert verify_zoo(folder) == 3 + 1 + 2


def test_a_zoo_that_an_older_recipe_began_is_refused_in_a_line(tmp_path: Path) -> None:
    shutil.copytree(FIXTURES / "growing_0.1.0", tmp_path / "zoo")
    old = read_header(tmp_path / "zoo").recipe
    recipe = create_recipe(old.name, **old.arguments | {"share": ["init"]})
    with pytest.raises(
        MetanetError, match=r"begun with another plan \(there recipe.share=None, here \['init'\]\); give the"
    ) as told:
        generate(recipe, n=4, out=tmp_path / "zoo", seed=5, group_size=2, engine="torch", converged=0.5)
    assert "\n" not in str(told.value)
