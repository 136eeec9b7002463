"""One seed beside own seeds, on small zoos of one table of hyperparameters."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import kendalltau
from sklearn.metrics import r2_score

import metanet
from metanet.cli.main import main
from metanet.generation.recipes import create_recipe
from metanet.generation.runner import generate
from metanet.reproduce.sharing import Sharing, _which
from metanet.testing.zoos import SPACE
from metanet.zoo import open_zoo
from metanet.zoo.header import ZooHeader

SHARES = {"own": ([], 42), "one": (["init", "dropout"], 42), "one_43": (["init", "dropout"], 43)}
MODELS = ("gbm:hyper", "gbm:stats", "gbm:norms_l2")


@pytest.fixture(scope="module")
def zoos(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Networks of other seeds, which the header says to share this or that: what is tested is who is compared with whom."""
    root = tmp_path_factory.mktemp("shared")
    rng = np.random.default_rng(0)
    rows = {name: rng.choice(choices, 40) for name, choices in SPACE.items() if isinstance(choices, list)}
    rows |= {"learning_rate": rng.uniform(1e-3, 3e-2, 40), "l2reg": 1e-6, "dropout": 0.0, "init_std": 0.1}
    pd.DataFrame(rows).to_csv(root / "design.csv", index=False)
    for number, (name, (share, seed)) in enumerate(SHARES.items()):
        design = str(root / "design.csv")
        recipe = create_recipe("small_cnn", hyperparameters=SPACE, design=design, epochs=2, batch_size=32, snapshots=[])
        generate(recipe, n=40, out=root / name, seed=number, engine="torch")
        path = root / name / "zoo.json"
        header = json.loads(path.read_text())
        header |= {"shared": {"of": share, "seed": seed if share else None}}
        path.write_text(json.dumps(header))
    return {name: root / name for name in SHARES}


def words(zoos: dict[str, Path], out: Path, *names: str) -> list[str]:
    listed = ",".join(str(zoos[name]) for name in names or SHARES)
    return [
        "reproduce",
        "seed",
        f"zoo=[{listed}]",
        f"out={out}",
        "threads=1",
        "sharing.models=[gbm:norms_l2]",
        "sharing.splits=1",
    ]


@pytest.fixture(scope="module")
def made(zoos: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("made") / "seed"
    assert main(words(zoos, out)) == 0
    return out


def answers_in(made: Path, zoo: str, model: str) -> pd.DataFrame:
    path = made / "fits" / zoo / f"{model.replace(':', '_')}-last-split0-seed0" / "predictions.parquet"
    return pd.read_parquet(path).query("part == 'test'").sort_values("network_id", ignore_index=True)


def score_in(made: Path, zoo: str, model: str) -> float:
    test = answers_in(made, zoo, model)
    return float(r2_score(test["true"], test["predicted"]))


def test_scores_and_gains_are_those_of_the_runs(made: Path) -> None:
    table = pd.read_csv(made / "seed" / "seed.csv").set_index(["zoo", "model"])
    assert set(table.index) == {(zoo, model) for zoo in SHARES for model in MODELS}
    assert table.loc[("one_43", "gbm:stats"), "shared"] == "one init and dropout (43)"
    own, one = (score_in(made, zoo, "gbm:norms_l2") for zoo in ("own", "one"))
    assert table.loc[("one", "gbm:norms_l2"), "r2"] == pytest.approx(one)
    test = answers_in(made, "one", "gbm:norms_l2")
    assert table.loc[("one", "gbm:norms_l2"), "tau"] == pytest.approx(kendalltau(test["true"], test["predicted"]).statistic)
    assert table.loc[("own", "gbm:norms_l2"), "r2 - own seeds"] == "-"
    low, high = map(float, table.loc[("one", "gbm:norms_l2"), "r2 - own seeds"].split(" to "))
    assert low <= one - own <= high
    low, high = map(float, table.loc[("one", "gbm:norms_l2"), "r2 - hyper"].split(" to "))
    assert low <= one - score_in(made, "one", "gbm:hyper") <= high
    first, other = answers_in(made, "own", "gbm:stats"), answers_in(made, "one", "gbm:stats")
    assert first["network_id"].tolist() == other["network_id"].tolist()  # the same networks are tested in all zoos
    assert first["true"].tolist() != other["true"].tolist()


def test_from_one_seed_to_another_no_hyperparameters_are_seen_twice(made: Path, zoos: dict[str, Path]) -> None:
    table = pd.read_csv(made / "seed" / "seed_across.csv").set_index(["model", "trained_on"])
    assert set(table.index) == {(model, f"one init and dropout ({seed})") for model in MODELS for seed in (42, 43)}
    model = metanet.load_model(made / "fits" / "one" / "gbm_norms_l2-last-split0-seed0" / "model")
    view = open_zoo(zoos["one_43"]).view().of_networks(answers_in(made, "one", "gbm:norms_l2")["network_id"])
    found = r2_score(view.target("test_accuracy"), model.predict(view))  # none of their hyperparameters was trained on
    row = table.loc[("gbm:norms_l2", "one init and dropout (42)")]
    assert row["tested_on"] == "one init and dropout (43)"
    assert row["r2"] == pytest.approx(found)
    low, high = map(float, row["r2 - trained there"].split(" to "))
    assert low <= found - score_in(made, "one_43", "gbm:norms_l2") <= high


def test_the_notes_answer_the_question(made: Path) -> None:
    notes = (made / "seed" / "notes.txt").read_text()
    assert "gbm:norms_l2: R² " in notes
    assert "Which of the two does it needs gbm:flat and zoos of recipe.share=[init] and [dropout]: not answered here." in notes
    assert "gbm:norms_l2, trained on one init and dropout (42), tested on one init and dropout (43): R² " in notes
    assert (made / "seed" / "seed.png").exists()


def test_which_of_the_two_does_it() -> None:
    def said(init: float, dropout: float) -> str:
        rows = [("own seeds", np.nan), ("one init (42)", init), ("one dropout (42)", dropout)]
        table = pd.DataFrame(rows, columns=["shared", "r2 - own seeds_low"]).assign(model="gbm:flat")
        return _which(table.assign(**{"r2 - own seeds": "span"}))

    assert "For gbm:flat, it is the init (gain" in said(0.1, -0.1)
    assert "For gbm:flat, it is the dropout (gain" in said(-0.1, 0.1)
    assert "each of the two does it alone" in said(0.1, 0.1)
    assert "neither alone is shown to do it" in said(-0.1, -0.1)


def test_zoos_from_before_recipes_shared_anything_have_own_seeds(zoos: dict[str, Path]) -> None:
    class Shown:
        def zoo(self, name: str):  # type: ignore[no-untyped-def]
            zoo = open_zoo(zoos[name])
            recipe = {k: v for k, v in zoo.header.recipe.to_json().items() if not k.startswith("share")}
            zoo.header = ZooHeader.from_json({"format_version": 1, "recipe": recipe})
            return zoo

    assert Sharing.of(Shown(), "one").words == "own seeds"  # type: ignore[arg-type]


def test_other_hyperparameters_are_refused_by_name(
    zoos: dict[str, Path], grown_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words(zoos, tmp_path, "own")) == 2
    assert "seed compares zoos, and own is one" in capsys.readouterr().err
    assert main(words(zoos | {"zoo": grown_folder}, tmp_path, "own", "zoo")) == 2
    assert "the same hyperparameters: zoo has other networks (30, not 40) than own; grow both" in capsys.readouterr().err
    changed = tmp_path / "changed"
    changed.mkdir()
    for path in zoos["own"].iterdir():
        (changed / path.name).symlink_to(path)
    (changed / "zoo.json").unlink()
    header = json.loads((zoos["own"] / "zoo.json").read_text())
    header["recipe"]["epochs"] = 3
    (changed / "zoo.json").write_text(json.dumps(header))
    assert main(words(zoos | {"changed": changed}, tmp_path, "own", "changed")) == 2
    assert "changed has another recipe.epochs than own" in capsys.readouterr().err
