"""Every exhibit on small zoos, its numbers against independent ones."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import kendalltau
from sklearn.metrics import balanced_accuracy_score, r2_score

from metanet.cli.main import main
from metanet.errors import MetanetError
from metanet.generation.recipes import create_recipe
from metanet.generation.runner import generate
from metanet.reproduce.beyond import _overtaking, _within, subsets
from metanet.reproduce.catalogue import ITEMS, items
from metanet.reproduce.inspection import claims_of
from metanet.reproduce.published import published, published_of, released_r2
from metanet.reproduce.study import INPUTS, kind_of, lacking
from metanet.testing.zoos import SPACE
from metanet.zoo import Layout, open_zoo, zoo_from_arrays

BUDGET = (
    "n=2",
    "n_of.dnn=1",
    "n_of.logit_linear=1",
    "inputs.gbm=[stats,flat,hyper]",
    "inputs.dnn=[stats]",
    "inputs.logit_linear=[stats]",
    "curve.models=[gbm:flat]",
    "curve.sizes=[20,1000]",
    "threads=1",
    "trainer.max_epochs=5",
)


@pytest.fixture(scope="module")
def zoos(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One small zoo of each kind."""
    root = tmp_path_factory.mktemp("zoos")
    common = {"epochs": 4, "batch_size": 16, "snapshots": [0, 1], "train_images": 400}
    space = SPACE | {"train_fraction": [0.5, 1.0]}
    recipes = {
        "plain": create_recipe("small_cnn", hyperparameters=space, **common),
        "other": create_recipe("small_cnn", hyperparameters=space, **common),
        "seeds": create_recipe("small_cnn", hyperparameters=space | {"learning_rate": 0.02}, seeds=5, **common),
        "mlps": create_recipe("mlp", hyperparameters=space, num_units=[4, 8], **common),
        "resnets": create_recipe(
            "resnet_mini", hyperparameters={"num_units": [2, 4], "learning_rate": [0.01, 0.05, 0.002]}, design="grid", **common
        ),
    }
    sizes = {"plain": 120, "other": 60, "seeds": 60, "mlps": 60, "resnets": 6}
    for name, recipe in recipes.items():
        engine = {"mlps": "torch", "resnets": "module"}.get(name, "auto")
        generate(
            recipe,
            n=sizes[name],
            out=root / name,
            seed=["plain", "other"].index(name) if name in "plain other" else 5,
            engine=engine,
        )
    return {name: root / name for name in recipes}


@pytest.fixture(scope="module")
def study(zoos: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("study") / "all"
    assert main(["reproduce", "all", f"zoo=[{','.join(map(str, zoos.values()))}]", f"out={out}", *BUDGET]) == 0
    return out


def test_kinds_are_read_off_the_recipe(zoos: dict[str, Path]) -> None:
    kinds = {name: kind_of(open_zoo(path)) for name, path in zoos.items()}
    assert kinds == {"plain": "cnn", "other": "cnn", "seeds": "seeds", "mlps": "mlp", "resnets": "other"}


def test_the_report_holds_everything_without_a_server(study: Path) -> None:
    page = (study / "report.html").read_text()
    for name in ITEMS:
        assert f"<section id='{name}'>" in page
        assert (study / name / "notes.txt").exists()
    assert not re.findall(r"(?:src|href)=[\"'](?!data:|#)", page)
    pictures = list(study.glob("*/*.png"))
    assert len(pictures) >= len(ITEMS)
    assert page.count("data:image/png;base64,") == len([p for p in pictures if p.parent.name in ITEMS])


def test_table2_is_the_score_of_the_runs(study: Path) -> None:
    table = pd.read_csv(study / "table2" / "table2.csv")
    assert set(table["features"]) == set(INPUTS)
    row = table.query("zoo == 'plain' and features == 'stats'").iloc[0]
    test = pd.read_parquet(study / "fits" / "plain" / "gbm-stats" / "predictions.parquet").query("part == 'test'")
    assert row["r2"] == pytest.approx(r2_score(test["true"], test["predicted"]))
    assert row["tau"] == pytest.approx(kendalltau(test["true"], test["predicted"]).statistic)
    assert table.query("features == 'norms_l1'")["r2"].isna().all()
    assert (table.query("features == 'norms_l1'")["95 %"] == "not measured").all()
    order = pd.read_csv(study / "table2" / "order.csv")
    flat = table.query("zoo == 'plain' and features == 'flat'")["r2"].item()
    found = order.query("zoo == 'plain' and higher == 'stats' and lower == 'flat'")["difference"].item()
    assert found == pytest.approx(row["r2"] - flat)
    words = (study / "table2" / "notes.txt").read_text()
    assert "configurations: GBM 2;" in words
    assert f"not measured: {2 * (len(INPUTS) - 3)})" in words
    estimators = pd.read_csv(study / "table5" / "estimators.csv").query("zoo == 'plain' and higher == 'GBM'")
    dnn = pd.read_csv(study / "table5" / "table5.csv").query("zoo == 'plain' and features == 'stats' and estimator == 'DNN'")
    assert estimators["difference"].item() == pytest.approx(row["r2"] - dnn["r2"].item())
    floors = pd.read_csv(study / "table2" / "floors.csv").set_index("zoo")
    hyper = table.query("zoo == 'plain' and features == 'hyper'")["r2"].item()
    assert floors.loc["plain", "all hyperparameters (GBM) r2"] == pytest.approx(hyper)  # the floor is that very search


def test_all_estimators_stand_beside_one_floor(study: Path) -> None:
    floors = {
        json.loads((study / "fits" / "plain" / name / "metrics.json").read_text())["r2_hyper"]
        for name in ("gbm-stats", "dnn-stats", "gbm-hyper")
    }
    assert len(floors) == 1
    assert len(list((study / "fits" / "plain").glob("floor*"))) == 0


def test_table6_is_the_squared_error(study: Path) -> None:
    table = pd.read_csv(study / "table6" / "table6.csv")
    test = pd.read_parquet(study / "fits" / "plain" / "dnn-stats" / "predictions.parquet").query("part == 'test'")
    row = table.query("zoo == 'plain' and features == 'stats' and estimator == 'DNN'").iloc[0]
    assert row["mse"] == pytest.approx(1000 * np.mean((test["true"] - test["predicted"]) ** 2))
    floor = pd.read_parquet(study / "fits" / "plain" / "gbm-hyper" / "predictions.parquet").query("part == 'test'")
    assert row["hyper"] == pytest.approx(1000 * np.mean((floor["true"] - floor["predicted"]) ** 2))


def rank_correlation(true: np.ndarray, predicted: np.ndarray) -> float:
    """Kendall's tau; a constant ranks nothing."""
    found = float(kendalltau(true, predicted).statistic)
    return 0.0 if np.isnan(found) else found


def test_table3_is_tau_of_the_models_own_predictions(study: Path, zoos: dict[str, Path]) -> None:
    import metanet

    table = pd.read_csv(study / "table3" / "table3.csv").set_index(["trained_on", "tested_on"])
    assert len(table) == 4
    model = metanet.load_model(study / "fits" / "plain" / "gbm-stats" / "model")
    view = open_zoo(zoos["other"]).view()
    expected = rank_correlation(view.target("test_accuracy"), model.predict(view))
    assert table.loc[("plain", "other"), "tau"] == pytest.approx(expected)
    floor = metanet.load_model(study / "fits" / "plain" / "gbm-hyper" / "model")
    recipe = rank_correlation(view.target("test_accuracy"), floor.predict(view))
    row = table.loc[("plain", "other")]
    assert row["tau_hyper"] == pytest.approx(recipe)
    assert row["tau_minus_hyper_low"] <= expected - recipe <= row["tau_minus_hyper_high"]
    notes = (study / "table3" / "notes.txt").read_text()
    assert f"{expected:.3f} beside {recipe:.3f}" in notes
    assert notes.count(" of 2 transfers: ") in (1, 2)  # two pairs, each of one verdict
    assert table.loc[("plain", "other"), "n_test"] == 60
    assert table.loc[("plain", "plain"), "n_test"] == 60  # its own test part


def test_a_larger_zoo_of_the_same_plan_is_no_unseen_zoo(zoos: dict[str, Path], study: Path) -> None:
    """It shares networks with training, whatever folder it lies in."""
    from metanet.evaluation.seen import stored_split, unseen

    moved = open_zoo(zoos["plain"]).view()
    moved.zoo.folder = Path("elsewhere")
    run = study / "fits" / "plain" / "gbm-stats"
    split = stored_split(run / "split.json")
    assert set(unseen(moved, run).network_ids) == set(split.test)


def test_table4_ranks_each_width(study: Path, zoos: dict[str, Path]) -> None:
    import metanet

    table = pd.read_csv(study / "table4" / "table4.csv")
    view = open_zoo(zoos["resnets"]).view().where("`hp.num_units` == 4")
    predicted = metanet.load_model(study / "fits" / "plain" / "gbm-stats_last" / "model").predict(view)
    row = table.query("trained_on == 'plain' and width == 4").iloc[0]
    for which in ("train", "test"):
        expected = rank_correlation(view.frame[f"{which}_accuracy"], predicted)
        assert row[f"tau, {which}"] == pytest.approx(expected)
    (folder,) = (study / "fits" / "plain").glob("gbm-hyper_*+*")
    known = folder.name.removeprefix("gbm-hyper_").split("+")
    there = {c.removeprefix("hp.") for c in view.frame if c.startswith("hp.") and view.frame[c].notna().any()}
    small = open_zoo(zoos["plain"]).view().frame
    assert set(known) == {n for n in there if f"hp.{n}" in small and small[f"hp.{n}"].nunique() > 1}
    floor = metanet.load_model(folder / "model").predict(view)
    expected = rank_correlation(view.frame["test_accuracy"], floor)
    assert row["hyper, test"] == pytest.approx(expected)
    assert f"plain → resnets: the floor reads {'+'.join(known)}." in (study / "table4" / "notes.txt").read_text()
    expected = kendalltau(view.frame["train_accuracy"], view.frame["test_accuracy"]).statistic
    assert row["tau(train, test)"] == pytest.approx(expected)
    assert set(table["width"]) == {2, 4}
    assert (table["networks"] == 3).all()
    assert set(table["trained_on"]) == {"plain", "other"}


def test_tables_10_and_11_share_their_diagonal(study: Path) -> None:
    within = pd.read_csv(study / "table10" / "table10.csv").set_index("width")
    across = pd.read_csv(study / "table11" / "table11.csv").set_index("trained_on")
    assert within["networks"].sum() == 60
    for width in (4, 8):
        assert within.loc[width, "tau"] == pytest.approx(across.loc[f"digits, u={width}", f"digits, u={width}"])


def test_the_rule_of_the_last_biases_is_counted(study: Path, zoos: dict[str, Path]) -> None:
    table = pd.read_csv(study / "fig3" / "fig3.csv").set_index("zoo")
    view = open_zoo(zoos["plain"]).view().where("hp.optimizer != 'sgd'")
    largest = view.weights()[:, -10:].max(axis=1)
    works = view.target("test_accuracy") > 0.1028 + 3 * np.sqrt(0.1028 * 0.8972 / 360)
    assert table.loc["plain", "networks"] == len(view)
    assert table.loc["plain", "right"] == pytest.approx(np.mean((largest > 0.1) == works), abs=1e-9)
    balanced = balanced_accuracy_score(works, largest > 0.1)
    assert table.loc["plain", "balanced accuracy"] == pytest.approx(balanced)
    assert f"plain: balanced accuracy {balanced:.3f} (" in (study / "fig3" / "notes.txt").read_text()
    assert table.loc["plain", "right if always above"] == pytest.approx(works.mean())


def test_fig2_counts(study: Path, zoos: dict[str, Path]) -> None:
    table = pd.read_csv(study / "fig2" / "fig2.csv").set_index("zoo")
    frame = open_zoo(zoos["other"]).view().frame
    assert table.loc["other", "mean"] == pytest.approx(frame["test_accuracy"].mean())
    assert table.loc["other", "train - test, largest"] == pytest.approx((frame["train_accuracy"] - frame["test_accuracy"]).max())


def test_the_learning_curve_ends_at_the_whole_training_part(study: Path) -> None:
    table = pd.read_csv(study / "curve" / "curve.csv").query("zoo == 'plain'").set_index(["model", "networks"])
    assert set(table.index) == {(m, n) for m in ("gbm:hyper", "gbm:stats", "gbm:flat") for n in (20, 60)}
    assert table["subsets"].unstack().to_numpy().tolist() == [[3, 1]] * 3
    kept = {
        model: [
            pd.read_parquet(next((study / "fits" / "plain" / "predictions").glob(f"{model.replace(':', '_')}-20-draw{draw}-*")))
            for draw in range(3)
        ]
        for model in ("gbm:flat", "gbm:stats")
    }
    assert len({tuple(frame["predicted"]) for frame in kept["gbm:flat"]}) == 3
    means = {model: np.mean([r2_score(f["true"], f["predicted"]) for f in frames]) for model, frames in kept.items()}
    row = table.loc[("gbm:flat", 20)]
    assert row["r2"] == pytest.approx(means["gbm:flat"])
    low, high = map(float, row["r2 - gbm:stats"].split(" to "))
    assert low <= means["gbm:flat"] - means["gbm:stats"] <= high
    assert "plain, gbm:flat (R² " in (study / "curve" / "notes.txt").read_text()


def test_subsets_of_a_curve_share_no_network() -> None:
    found = subsets(100, 30, most=5, seed=1)
    assert [len(part) for part in found] == [30, 30, 30]
    assert len(set(np.concatenate(found))) == 90
    assert [len(part) for part in subsets(100, 30, most=2, seed=1)] == [30, 30]
    assert np.array_equal(subsets(100, 100, most=5, seed=1)[0], np.arange(100))


def test_where_a_model_overtakes_is_read_off_paired_intervals() -> None:
    def said(low: list[float], high: list[float]) -> str:
        part = pd.DataFrame({"model": "gbm:flat", "networks": [100, 1000, 15000], "r2": [0.5, 0.8, 0.97]})
        return _overtaking(
            "mnist", part.assign(**{"r2 - gbm:stats_low": low, "r2 - gbm:stats_high": high, "r2 - gbm:hyper_low": np.nan})
        )

    assert said([-0.2, 0.1, 0.01], [-0.1, 0.2, 0.03]) == (
        "mnist, gbm:flat (R² 0.970 with 15,000 networks): above gbm:stats from 1,000 networks on."
    )
    assert said([0.1, -0.1, -0.02], [0.2, 0.1, -0.01]) == (
        "mnist, gbm:flat (R² 0.970 with 15,000 networks): not shown above gbm:stats at the most networks (above at 100; below at "
        "15,000)."
    )


def test_early_prediction_reads_only_early_snapshots(study: Path, zoos: dict[str, Path]) -> None:
    table = pd.read_csv(study / "early" / "early.csv")
    assert set(table["epoch"]) == {0, 1}
    assert table.groupby("epoch")["reads"].nunique().eq(5).all()
    folder = study / "fits" / "plain" / "early-1-stats"
    test = pd.read_parquet(folder / "predictions.parquet").query("part == 'test'")
    assert set(test["epoch"]) == {1}
    last = open_zoo(zoos["plain"]).view().frame.set_index("network_id")["test_accuracy"]
    np.testing.assert_array_equal(test["true"], last.loc[test["network_id"]])
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["target"] == "final_test_accuracy"
    so_far = table.query("zoo == 'plain' and epoch == 1 and reads == 'accuracy so far'").iloc[0]
    assert so_far["r2"] == pytest.approx(metrics["r2_so_far"]) == pytest.approx(r2_score(test["true"], test["so_far_floor"]))
    assert so_far["access"] == "D"


def test_a_second_call_fits_nothing_again(study: Path, zoos: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    runs = {p: p.stat().st_mtime_ns for p in study.glob("fits/**/metrics.json")}
    words = ["reproduce", "table3", f"zoo=[{','.join(map(str, zoos.values()))}]", f"out={study}", *BUDGET]
    assert main(words) == 0
    assert {p: p.stat().st_mtime_ns for p in study.glob("fits/**/metrics.json")} == runs
    assert "smallest tau across zoos" in capsys.readouterr().out


def test_without_fitting_what_is_missing_reads_not_measured(zoos: dict[str, Path], tmp_path: Path) -> None:
    words = ["reproduce", "all", f"zoo={zoos['plain']}", f"out={tmp_path}/r", "fit=false", *BUDGET]
    assert main(words) == 0
    page = (tmp_path / "r" / "report.html").read_text()
    assert "table3: not measured</h2><p>gbm on stats was not fitted on plain yet; give fit=true" in page
    assert pd.read_csv(tmp_path / "r" / "table2" / "table2.csv")["r2"].isna().all()
    assert not (tmp_path / "r" / "fits").exists()


def test_one_item_without_its_zoo_says_what_to_grow(
    zoos: dict[str, Path], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["reproduce", "table10", f"zoo={zoos['plain']}", f"out={tmp_path}/r"]) == 2
    assert "table10 needs a zoo of MLPs: metanet generate recipe=mlp" in capsys.readouterr().err
    assert main(["reproduce", "tabel2", f"zoo={zoos['plain']}", f"out={tmp_path}/r"]) == 2
    assert "did you mean 'table2'" in capsys.readouterr().err
    assert main(["reproduce", "table2", f"zoo={zoos['plain']}", "inputs.gbm=[statz]", f"out={tmp_path}/r"]) == 2
    assert "'statz' stands in no table" in capsys.readouterr().err
    assert main(["reproduce", "table2", f"zoo=[{zoos['plain']},{zoos['plain']}]", f"out={tmp_path}/r"]) == 2
    assert "two zoos are called 'plain'" in capsys.readouterr().err
    for words, says in (
        (["n=0"], "n=0: give a whole number from 1 up"),
        (["inputs=[stats]"], "inputs has parts"),
        (["inputs.gbm=null"], "inputs.gbm=null: give a list"),
        (["split=0.3"], "split has parts"),
        (["n_of.gbm=0"], "n_of.gbm=0"),
        (["n.gbm=5"], "n={'gbm': 5}: give a whole number from 1 up"),
        (["curve.sizes=100"], "curve.sizes=100"),
        (["curve.sizes=[5]"], "curve.sizes=5: give a whole number from 20 up"),
        (["zoo=nowhere"], "no folder 'nowhere'"),
    ):
        assert main(["reproduce", "table2", f"zoo={zoos['plain']}", f"out={tmp_path}/r", *words]) == 2
        assert says in capsys.readouterr().err


def test_an_exhibit_that_cannot_be_made_stops_no_other(zoos: dict[str, Path], tmp_path: Path) -> None:
    """MLPs and residual networks alone: no small CNN to train on."""
    words = ["reproduce", "all", f"zoo=[{zoos['mlps']},{zoos['resnets']}]", f"out={tmp_path}/r", *BUDGET]
    assert main(words) == 0
    page = (tmp_path / "r" / "report.html").read_text()
    assert "table4: not measured</h2><p>table4 needs a zoo of small CNNs to train on" in page
    assert (tmp_path / "r" / "table10" / "table10.csv").exists()


def test_items_are_all_or_one() -> None:
    assert set(items("all")) >= {f"table{i}" for i in range(1, 12)} | {f"fig{i}" for i in range(2, 7)}
    with pytest.raises(MetanetError, match="did you mean 'fig5'"):
        items("fig55")


def test_released_figures_stand_for_every_input_and_collection() -> None:
    rows = published().query("measure == 'r2'")
    assert set(rows["features"]) == set(INPUTS) - {"hyper_paper"}
    assert (rows.groupby("features").size() == 4 * 3).all()
    assert not rows.duplicated(["collection", "model", "features"]).any()
    assert published().query("measure == 'tau' and collection == 'svhn_gs'")["value"].between(0.84, 0.94).all()
    assert published_of("cifar10_gs").query("measure == 'tau'")["value"].max() == 0.936
    assert published_of("digits").empty
    assert released_r2("cifar10_gs", "gbm", "stats") == 0.9840
    assert released_r2("digits", "gbm", "stats") is None


def test_tau_within_configurations_ignores_what_the_recipe_explains() -> None:
    rng = np.random.default_rng(0)
    layout = Layout.build([("a.weight", "a", "kernel", (2, 2))])
    level = np.repeat(rng.uniform(0.3, 0.9, 12), 10)
    accuracy = level + rng.normal(0, 0.02, 120)
    frame = pd.DataFrame({"test_accuracy": accuracy})
    zoo = zoo_from_arrays(rng.standard_normal((120, 4)), layout, frame, header={"data": {"chance": 0.1, "n_test": 10_000}})
    zoo.networks["configuration"] = np.repeat(np.arange(12), 10)
    view = zoo.view()
    perfect, taus = _within(view, accuracy)
    assert perfect["tau within"] == pytest.approx(1)
    assert perfect["configurations"] == len(taus) == 12
    recipe_alone, _ = _within(view, level)
    assert recipe_alone["tau within"] == 0
    assert recipe_alone["tau overall"] > 0.8
    guess = accuracy + rng.normal(0, 0.02, 120)
    noisy, _ = _within(view, guess)
    own = [kendalltau(accuracy[i : i + 10], guess[i : i + 10]).statistic for i in range(0, 120, 10)]
    assert noisy["tau within"] == pytest.approx(np.mean(own))
    deviations = [v - np.repeat(v.reshape(12, 10).mean(1), 10) for v in (accuracy, guess)]
    assert noisy["r2 of deviations"] == pytest.approx(r2_score(*deviations))
    assert 0.8 < perfect["ceiling"] < 1


def test_claims_of_the_sensitivity_are_judged_by_their_intervals() -> None:
    rng = np.random.default_rng(0)

    def spread(mean: float) -> np.ndarray:
        return np.abs(rng.normal(mean, 0.01, 400))

    moved = {("permuted within each convolution", mixed): spread(0.02) for mixed in ("yes", "no")}
    moved |= {("permuted within the last layer", mixed): spread(0.06) for mixed in ("yes", "no")}
    moved |= {("permuted globally", "yes"): spread(0.2), ("permuted globally", "no"): spread(0.11)}
    moved |= {("scaled by 0.1", "-"): spread(0.05), ("scaled by 2", "-"): spread(0.01), ("scaled by 10", "-"): spread(0.17)}
    found = {claim.text: claim for claim in claims_of(moved)}
    verdicts = {name: claim.verdict for name, claim in found.items()}
    assert verdicts == {
        "convolutions permuted below .05, kernels and biases mixed": "holds",
        "convolutions permuted below .05, kernels and biases apart": "holds",
        "the last layer above the convolutions, kernels and biases mixed": "holds",
        "the last layer above the convolutions, kernels and biases apart": "holds",
        "permuted globally above .11, kernels and biases mixed": "holds",
        "permuted globally above .11, kernels and biases apart": "not shown",
        "scaled by 0.1 above .11": "does not hold",
        "scaled by more than 1 below .05 (most at 10)": "does not hold",
    }
    values = moved["permuted within the last layer", "yes"] - moved["permuted within each convolution", "yes"]
    half = 1.96 * values.std(ddof=1) / 20
    here = found["the last layer above the convolutions, kernels and biases mixed"].shown["here"]
    assert here == f"{values.mean():.3f}, {values.mean() - half:.3f} to {values.mean() + half:.3f}"


def test_table9_says_which_claims_hold(study: Path) -> None:
    claims = pd.read_csv(study / "table9" / "table9_claims.csv")
    assert claims.groupby("zoo").size().eq(8).all()
    words = (study / "table9" / "notes.txt").read_text()
    for row in claims.itertuples():
        assert f"{row.claim} ({row.here})" in words


def test_what_a_zoo_lacks_is_said_in_the_cell(zoos: dict[str, Path]) -> None:
    view = open_zoo(zoos["plain"]).view()
    assert lacking(view, "hyper:learning_rate") == lacking(view, "hyper+flat") == lacking(view, "flat") == ""
    one = view.where("hp.optimizer == 'adam'")
    assert lacking(one, "hyper:optimizer") == "no optimizer varies here"
    bare = zoo_from_arrays(
        np.zeros((3, 4)), Layout.build([("a.weight", "a", "kernel", (2, 2))]), pd.DataFrame({"test_accuracy": [0.0] * 3})
    )
    assert lacking(bare.view(), "hyper") == "no hyperparameter varies here"
    assert lacking(bare.view(), "hyper_paper") == "this zoo has no w_init"
