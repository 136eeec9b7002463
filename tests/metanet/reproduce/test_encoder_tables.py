"""The tables of encoders on small zoos, their numbers against independent ones."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.special
import torch
from conftest import small_recipe
from scipy.stats import kendalltau
from sklearn.metrics import r2_score

from metanet.cli.main import main
from metanet.generation.execution import Executor
from metanet.generation.runner import generate
from metanet.reproduce.contenders import Contender, by_fits, in_words
from metanet.reproduce.encoders import told_by_images
from metanet.zoo import Zoo

BUDGET = [
    "n=2",
    "encoders.splits=1",
    "encoders.seeds=2",
    "encoders.searched=2",
    "encoders.models=[stat_net:stats,stat_net:stats+probe]",
]


@pytest.fixture(scope="module")
def zoos(tmp_path_factory: pytest.TempPathFactory, nws_zoos: dict[str, Path]) -> list[Path]:
    root = tmp_path_factory.mktemp("encoders")
    for name, seed, changes in (("plain", 1, {}), ("other", 2, {}), ("wide", 1, {"num_units": 20})):
        generate(small_recipe(3, **changes), n=60 if name == "plain" else 20, out=root / name, seed=seed, engine="torch")
    return [root / "plain", root / "other", root / "wide", nws_zoos["mixed"]]


@pytest.fixture(scope="module")
def made(zoos: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("made") / "encoders"
    words = [f"zoo=[{','.join(map(str, zoos))}]", f"out={out}", "trainer.max_epochs=4", "threads=1"]
    assert main(["reproduce", "encoders", *words, *BUDGET]) == 0
    return out


def halves(made: Path) -> dict[str, list[str]]:
    """The first split of the zoo that was fitted."""
    facts = json.loads((made / "fits" / "plain" / "gbm_stats-last-split0-seed0" / "split.json").read_text())
    return json.loads(Path(facts["stored"]).read_text())


def test_scores_are_means_over_the_runs(made: Path) -> None:
    table = pd.read_csv(made / "encoder_table" / "encoder_table.csv")
    rows = table[table["zoo"] == "plain"].set_index("model")
    line, searched = "accuracy on 64 labelled images", "gbm:stats, searched"
    assert list(rows.index) == ["gbm:hyper", "gbm:stats", "stat_net:stats", "stat_net:stats+probe", searched, line]
    assert rows["access"].tolist() == ["H", "W", "W", "F+W", "W", "D"]
    assert (rows["fits"] == 2).all()  # the line of images too
    assert rows.loc[line, "r2"] > rows.loc["stat_net:stats", "r2"]
    tests = parts_of(made, "stat_net:stats", "test")
    expected = np.mean([r2_score(t["true"], t["predicted"]) for t in tests])
    assert rows.loc["stat_net:stats", "r2"] == pytest.approx(expected)
    taus = [kendalltau(t["true"], t["predicted"]).statistic for t in tests]
    assert rows.loc["stat_net:stats", "tau"] == pytest.approx(np.mean(taus))
    for short, other in (("baseline", "gbm:stats"), ("hyper", "gbm:hyper")):
        gap = expected - np.mean([r2_score(t["true"], t["predicted"]) for t in parts_of(made, other, "test")])
        low, high = map(float, rows.loc["stat_net:stats", f"r2 - {short}"].split(" to "))
        assert low - 1e-3 <= gap <= high + 1e-3
    assert rows.loc["gbm:stats", "r2 - baseline"] == rows.loc["gbm:hyper", "tau - hyper"] == "-"
    assert (made / "fits" / "plain" / "gbm-stats-searched2-split0-seed1" / "trials.csv").exists()


def parts_of(made: Path, model: str, part: str) -> list[pd.DataFrame]:
    paths = [made / "fits" / "plain" / f"{model.replace(':', '_')}-last-split0-seed{s}" for s in (0, 1)]
    frames = [pd.read_parquet(path / "predictions.parquet") for path in paths]
    return [frame[frame["part"] == part] for frame in frames]


def test_every_model_may_be_chosen_by_the_validation_parts(made: Path) -> None:
    choices = {
        model: np.mean([r2_score(f["true"], f["predicted"]) for f in parts_of(made, model, "validation")])
        for model in ("gbm:stats", "stat_net:stats")
    }
    chosen = max(choices, key=lambda model: choices[model])
    words = (made / "encoder_table" / "notes.txt").read_text()
    assert (
        f"plain, access W: of 2 models on the 1 split x 2 seeds that all of them have, the validation parts choose {chosen} (R² "
        in words
    )
    assert "; hyperparameters alone R² " in words  # never a score of weights without its floor
    assert "gbm:stats, searched in both (R² " in words
    assert "plain: plan seed 1, 60 networks; where the defaults of the models were chosen is not said (encoders.frozen)." in words
    assert "plain, 1 split x 2 seeds: 64 labelled images of the network's own set, less the best that needs none, " in words
    table = pd.read_csv(made / "encoder_table" / "encoder_table.csv")
    assert table.groupby("zoo")["plan seed"].first().to_dict() == {"plain": 1, "other": 2}
    assert "wide" not in set(pd.read_csv(made / "encoder_table" / "encoder_table.csv")["zoo"])  # other filters than the first


def test_models_are_compared_with_those_of_the_same_fits() -> None:
    every = {(split, seed): 0 for split in range(5) for seed in range(3)}
    five, one = {(split, 0): 0 for split in range(5)}, {(0, 0): 0}
    found = {"floor": every, "base": every, "a": every, "b": one, "c": five, "d": one, "e": {}}
    groups = by_fits(found, ("floor", "base"))
    assert [titles for _, titles in groups] == [["floor", "base", "a"], ["floor", "base", "c"], ["floor", "base", "b", "d"]]
    assert [in_words(keys) for keys, _ in groups] == ["5 splits x 3 seeds", "5 splits x 1 seed", "1 split x 1 seed"]
    assert in_words([(0, 0), (0, 1), (1, 0)]) == "3 fits on 2 splits"
    assert by_fits({"floor": every, "base": {}}, ("floor", "base")) == [(sorted(every), ["floor"])]


def test_blind_models_say_what_was_fitted() -> None:
    titles = ("gbm:stats", "gbm", "stat_net:stats+probe", "deepsets", "deepsets:probe", "gbm:hyper")
    assert [Contender(title).blind().title for title in titles] == [
        "gbm:stats_global",
        "gbm:stats_global",
        "stat_net:stats_global+probe:outputs",
        "deepsets",
        "deepsets:probe:outputs",
        "gbm:hyper",
    ]


def test_what_images_tell_is_what_modules_answer(grown: Zoo) -> None:
    view = grown.view().take(np.arange(6))
    pixels, labels = torch.rand(10, 16, 16, 1, generator=torch.Generator().manual_seed(0)), torch.arange(10)
    told = told_by_images(view, pixels, labels)
    network = Executor(grown, view.layout, view.frame.iloc[0].to_dict()).network
    for i, (vector, activation) in enumerate(zip(view.weights(), view.frame["hp.activation"], strict=True)):
        module = network.module(activation).eval()
        module.load_state_dict(view.layout.unflatten(torch.from_numpy(np.array(vector))))
        shares = scipy.special.softmax(module(pixels.permute(0, 3, 1, 2)).detach().double().numpy(), 1)
        right = shares[np.arange(10), labels.numpy()]
        assert told["accuracy"][i] == np.mean(shares.argmax(1) == labels.numpy())
        np.testing.assert_allclose(told["share"][i], right.mean(), rtol=1e-4)
        np.testing.assert_allclose(told["log_likelihood"][i], np.log(right).mean(), rtol=1e-4)


def test_generalisation_has_every_case_of_every_zoo(made: Path) -> None:
    table = pd.read_csv(made / "generalisation" / "generalisation.csv")
    cases = set(table["case"])
    assert cases == {
        "plain, a tenth of the training networks",
        "plain to other",
        "plain to networks of other widths (wide)",
        "other to plain",
        "other to networks of other widths (wide)",
        "mixed, smaller half to larger half",
    }
    assert (table["fits"] == "1 split x 2 seeds").all()
    best = table[table["tau - best"] == "best"]
    assert set(best["case"]) == cases
    for (case, access), part in table.groupby(["case", "access"]):
        assert part["tau"].max() == best.set_index(["case", "access"]).loc[(case, access), "tau"]
    part = table[table["case"] == "plain to networks of other widths (wide)"].set_index("model")
    taus = {}
    for model in ("gbm:stats", "gbm:hyper"):
        paths = [
            next((made / "fits" / "plain" / "predictions").glob(f"{model.replace(':', '_')}-to-wide-split0-seed{s}-*.parquet"))
            for s in (0, 1)
        ]
        kept = [pd.read_parquet(path) for path in paths]
        taus[model] = np.mean([kendalltau(frame["true"], frame["predicted"]).statistic for frame in kept])
        assert part.loc[model, "tau"] == pytest.approx(taus[model])
    seen = {i for part in ("train", "validation") for i in halves(made)[part]}  # drawn from the same seed: twins of these
    assert sorted(kept[0]["network_id"]) == [i for i in (f"{k:06d}" for k in range(20)) if i not in seen]
    assert part["networks"].eq(len(kept[0])).all()
    assert part["hyper"].to_numpy() == pytest.approx(taus["gbm:hyper"])  # the floor stands in every row
    low, high = map(float, part.loc["gbm:stats", "tau - hyper"].split(" to "))
    assert low - 1e-3 <= taus["gbm:stats"] - taus["gbm:hyper"] <= high + 1e-3
    notes = (made / "generalisation" / "notes.txt").read_text()
    assert notes.count(f"{20 - len(kept[0])} of 20 networks are ones that the fit has seen, or twins of such") == 1
    for case in cases:
        (line,) = [n for n in notes.splitlines() if n.startswith(f"{case}, 1 split x 2 seeds, access W: best ")]
        assert " hyperparameters alone (" in line


def test_the_size_test_names_what_was_fitted(made: Path) -> None:
    table = pd.read_csv(made / "generalisation" / "generalisation.csv").query("case == 'mixed, smaller half to larger half'")
    assert set(table["model"]) == {
        "gbm:hyper",
        "gbm:stats_global",
        "stat_net:stats_global",
        "stat_net:stats_global+probe:outputs",
    }


def test_nothing_is_fitted_where_none_is_asked_for(made: Path, zoos: list[Path], tmp_path: Path) -> None:
    words = [f"zoo={zoos[0]}", f"out={tmp_path}", "fit=false", "threads=1", *BUDGET]
    assert main(["reproduce", "generalisation", *words]) == 2
    assert not (tmp_path / "fits").exists()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["encoders.splits=0"], "splits"),
        (["encoders.searched=-1"], "encoders.searched=-1: give a whole number from 0 up"),
        (["encoders.models=[gmb]"], "no model 'gmb'"),
        (["fit=false"], "give fit=true"),
    ],
)
def test_mistakes_are_one_line(
    words: list[str], says: str, zoos: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for item in ("encoder_table", "generalisation"):
        assert main(["reproduce", item, f"zoo={zoos[0]}", f"out={tmp_path}/{item}", "threads=1", *words]) == 2
        assert says in capsys.readouterr().err


def test_predictions_of_other_settings_are_not_taken(zoos: list[Path], tmp_path: Path) -> None:
    tables = []
    for seed in ("0", "9"):
        words = ["curve.models=[]", "curve.sizes=[]", f"split.seed={seed}", f"out={tmp_path}", "threads=1"]
        assert main(["reproduce", "curve", f"zoo={zoos[0]}", *words]) == 0
        tables.append(pd.read_csv(tmp_path / "curve" / "curve.csv"))
    assert tables[0]["r2"].tolist() != tables[1]["r2"].tolist()
