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
from metanet.reproduce.encoders import told_by_images
from metanet.zoo import Zoo

BUDGET = [
    "encoders.splits=1",
    "encoders.seeds=2",
    "encoders.shares=[0.5,1.0]",
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
    line = "accuracy on 64 labelled images"
    assert list(rows.index) == ["gbm:hyper", "gbm:stats", "stat_net:stats", "stat_net:stats+probe", line]
    assert rows["access"].tolist() == ["H", "W", "W", "F+W", "D"]
    assert rows.loc[line, "r2"] > rows.loc["stat_net:stats", "r2"]
    assert rows.loc["stat_net:stats+probe", "access"] == "F+W"
    tests = [
        pd.read_parquet(made / "fits" / "plain" / f"stat_net_stats-last-split0-seed{s}" / "predictions.parquet").query(
            "part == 'test'"
        )
        for s in (0, 1)
    ]
    expected = np.mean([r2_score(t["true"], t["predicted"]) for t in tests])
    assert rows.loc["stat_net:stats", "r2"] == pytest.approx(expected)
    assert rows.loc["stat_net:stats", "fits"] == 2
    taus = [kendalltau(t["true"], t["predicted"]).statistic for t in tests]
    assert rows.loc["stat_net:stats", "tau"] == pytest.approx(np.mean(taus))
    choices = {}
    for model in ("gbm:stats", "stat_net:stats"):
        paths = [made / "fits" / "plain" / f"{model.replace(':', '_')}-last-split0-seed{s}" for s in (0, 1)]
        held_out = [pd.read_parquet(path / "predictions.parquet").query("part == 'validation'") for path in paths]
        choices[model] = np.mean([r2_score(f["true"], f["predicted"]) for f in held_out])
        assert rows.loc[model, "validation r2"] == pytest.approx(choices[model])
    chosen = "the baseline itself" if choices["gbm:stats"] > choices["stat_net:stats"] else "stat_net:stats"
    words = (made / "encoder_table" / "notes.txt").read_text()
    assert f"plain: at access W the validation parts choose {chosen}" in words
    assert "64 labelled images of the network's own set are ahead of what needs none by" in words
    assert "wide" not in set(table["zoo"])  # other filters than the first zoo's


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


def test_generalisation_has_every_case(made: Path) -> None:
    table = pd.read_csv(made / "generalisation" / "generalisation.csv")
    cases = set(table["case"])
    assert cases == {
        "plain, a tenth of the training networks",
        "plain to other",
        "plain to wider networks (wide)",
        "mixed, smaller half to larger half",
    }
    best = table[table["tau - best"] == "best"]
    assert set(best["case"]) == cases
    for (case, access), part in table.groupby(["case", "access"]):
        assert part["tau"].max() == best.set_index(["case", "access"]).loc[(case, access), "tau"]
    kept = pd.read_parquet(
        made
        / "fits"
        / "plain"
        / "predictions"
        / next(p.name for p in (made / "fits" / "plain" / "predictions").glob("gbm_stats-to-wide-*"))
    )
    row = table[(table["case"] == "plain to wider networks (wide)") & (table["model"] == "gbm:stats")].iloc[0]
    assert row["tau"] == pytest.approx(kendalltau(kept["true"], kept["predicted"]).statistic)
    seen = {i for part in ("train", "validation") for i in halves(made)[part]}  # drawn from the same seed: twins of these
    assert sorted(kept["network_id"]) == [i for i in (f"{k:06d}" for k in range(20)) if i not in seen]
    assert row["networks"] == len(kept) < 20
    notes = (made / "generalisation" / "notes.txt").read_text()
    assert notes.count(f"{20 - len(kept)} of 20 networks are ones that the fit has seen, or twins of such") == 1


def test_curves_have_every_share(made: Path) -> None:
    table = pd.read_csv(made / "encoder_curve" / "encoder_curve.csv")
    assert sorted(table.query("zoo == 'plain' and model == 'gbm:stats'")["networks"]) == [15, 30]


def test_nothing_is_fitted_where_none_is_asked_for(made: Path, zoos: list[Path], tmp_path: Path) -> None:
    words = [f"zoo={zoos[0]}", f"out={tmp_path}", "fit=false", "threads=1", *BUDGET]
    assert main(["reproduce", "encoder_curve", *words]) == 2
    assert not (tmp_path / "fits").exists()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["encoders.splits=0"], "splits"),
        (["encoders.shares=[2.0]"], "shares from 0.01 to 1"),
        (["encoders.shares=0.5"], "shares from 0.01 to 1"),
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
        words = ["encoders.models=[]", "encoders.shares=[1.0]", f"split.seed={seed}", f"out={tmp_path}", "threads=1"]
        assert main(["reproduce", "encoder_curve", f"zoo={zoos[0]}", *words]) == 0
        tables.append(pd.read_csv(tmp_path / "encoder_curve" / "encoder_curve.csv"))
    assert tables[0]["r2"].tolist() != tables[1]["r2"].tolist()
