"""The meta-classifiers' exhibits on small zoos: their numbers against the predictions that lie beside them."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import ttest_1samp
from sklearn.metrics import balanced_accuracy_score

from metanet import open_zoo
from metanet.cli.main import main
from metanet.probing.maps import ProbeMap
from metanet.reproduce.catalogue import META_ITEMS
from metanet.reproduce.meta_classification.batch_norm import without_vectors
from metanet.reproduce.meta_classification.claims import better, hardest, most_telling
from metanet.reproduce.meta_classification.fits import over_rounds
from metanet.reproduce.meta_classification.slices import _ends, _logarithmic

BUDGET = (
    *("meta.targets=[optimizer,conv_depth]", "meta.epochs_local=1", "meta.epochs_global=1", "meta.positions=4"),
    *("meta.slices=[100,200,400]", "meta.rounds_svm=2", "meta.rounds_dmc=1", "threads=1", "trainer.accelerator=cpu"),
)


@pytest.fixture(scope="module")
def study(nws_zoos: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("study") / "out"
    assert main(["reproduce", "meta", f"zoo=[{nws_zoos['mixed']},{nws_zoos['fixed']}]", f"out={out}", *BUDGET]) == 0
    return out


def test_every_exhibit_is_there(study: Path) -> None:
    report = (study / "report.html").read_text()
    for name in META_ITEMS:
        assert f"<h2>{name}: " in report, name
        assert list((study / name).glob("*.png")), name
        assert (study / name / f"{name}.csv").exists()


def test_whole_networks_are_scored_by_their_predictions(study: Path) -> None:
    table = pd.read_csv(study / "nws_fig2" / "nws_fig2.csv").set_index(["target", "model"])
    fits = study / "fits" / "fixed"
    for label, folder in (("linear SVM, by layer", "svm_linear-measures"), ("dmc_global_mini", "dmc_global_mini")):
        rounds = [f for f in fits.glob(f"meta-{folder}-optimizer*") if f.is_dir()]
        assert len(rounds) == (2 if folder.startswith("svm") else 1)
        tests = [pd.read_parquet(found / "predictions.parquet").query("part == 'test'") for found in rounds]
        expected = np.mean([balanced_accuracy_score(test["true"], test["predicted"]) for test in tests])
        test = tests[0]
        assert table.loc[("optimizer", label), "score"] == pytest.approx(expected)
        assert table.loc[("optimizer", label), "networks"] == len(test)
    assert table["chance"].eq(1 / 2).all()
    assert (table["low"] <= table["score"]).all()


def test_single_slices_are_scored_by_their_maps(study: Path) -> None:
    table = pd.read_csv(study / "nws_fig4" / "nws_fig4.csv").set_index(["target", "model"])
    (found,) = (study / "fits" / "mixed").glob("meta-dmc_local_mini-conv_depth-*part=conv*/map-20-last.npz")
    drawn = ProbeMap.load(found)
    assert drawn.part == "conv"
    assert table.loc[("conv_depth", "dmc_local_mini, conv"), "score"] == pytest.approx(drawn.scores.mean())
    assert set(table.reset_index()["model"]) == {
        *("svm_linear, 16", "svm_rbf, 16"),
        *(f"dmc_local_mini, {part}" for part in ("all", "conv", "fc")),
    }


def test_maps_cover_positions_and_snapshots(study: Path) -> None:
    cells = pd.read_csv(study / "nws_fig20" / "nws_fig20_cells.csv")
    assert cells.groupby(["target", "part"]).size().eq(4 * 5).all()  # four positions, epochs 0 to 4
    assert set(cells["part"]) == {"all", "conv", "fc"}
    assert set(pd.read_csv(study / "nws_fig21" / "nws_fig21.csv")["target"]) == {"conv_depth"}
    assert set(pd.read_csv(study / "nws_fig5" / "nws_fig5.csv")["part"]) == {"all"}


def test_subset_sizes_and_votes(study: Path) -> None:
    sizes = pd.read_csv(study / "nws_fig18" / "nws_fig18.csv")
    assert sizes["slice"].tolist() == [100, 200, 400]
    votes = pd.read_csv(study / "nws_votes" / "nws_votes.csv")
    fixed = set(votes.query("zoo == 'fixed'")["model"])
    assert fixed == {"one slice", "vote of 20 slices", "attention over 20 slices", "dmc_global_mini"}
    assert "dmc_global_mini" not in set(votes.query("zoo == 'mixed'")["model"])


def test_the_missing_half_of_batch_norm_is_said(study: Path) -> None:
    table = pd.read_csv(study / "nws_fig19" / "nws_fig19.csv")
    assert set(table["model"]) == {f"fixed, with batch norm, {values}" for values in ("all values", "kernels alone")}
    assert "Not measured: the other half" in (study / "nws_fig19" / "notes.txt").read_text()


def test_vectors_without_biases_and_normalisation(nws_zoos: dict[str, Path]) -> None:
    view = open_zoo(nws_zoos["fixed"]).view()
    stripped = without_vectors(view)
    tensors = view.layout.unflatten(view.weights())
    kernels = [v.reshape(len(view), -1) for k, v in tensors.items() if k.endswith("weight") and v.ndim > 2]
    np.testing.assert_array_equal(stripped.weights(), np.concatenate(kernels, axis=1))
    assert stripped.target("hp.optimizer").tolist() == view.target("hp.optimizer").tolist()
    assert stripped.target("hp.batch_size").dtype.kind == "U"


def test_a_zoo_that_does_not_fit(nws_zoos: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reproduce", "nws_fig2", f"zoo={nws_zoos['mixed']}", f"out={tmp_path}/a"]) == 2
    assert "nws_fig2 needs a zoo of its fixed architecture" in capsys.readouterr().err
    assert main(["reproduce", "nws_fig5", f"zoo={nws_zoos['mixed']}", f"out={tmp_path}/b", "meta.targets=[filter_size]"]) == 2
    assert "none of its hyperparameters varies" in capsys.readouterr().err
    assert main(["reproduce", "nws_fig18", f"zoo={nws_zoos['mixed']}", f"out={tmp_path}/c", "meta.targets=[batch_size]"]) == 2
    assert "no hyperparameter of meta.targets varies" in capsys.readouterr().err
    assert main(["reproduce", "nws_fig4", f"zoo={nws_zoos['mixed']}", f"out={tmp_path}/d", "meta.targets=[optimiser]"]) == 2
    assert "did you mean 'optimizer'" in capsys.readouterr().err


def test_rounds_widen_an_interval() -> None:
    rounds = [(0.6, 0.5, 0.75), (0.7, 0.6, 0.8), (0.65, 0.55, 0.7)]
    row = over_rounds(rounds, [0.4, 0.4, 0.4], 90, 3)
    spread = ttest_1samp([score for score, _, _ in rounds], 0).confidence_interval()
    half = (spread.high - spread.low) / 2
    assert row["score"] == pytest.approx(0.65)
    assert (row["low"], row["high"]) == pytest.approx((0.65 - np.hypot(0.1, half), 0.65 + np.hypot(0.1, half)))
    assert row["sd of rounds"] == pytest.approx(0.05)
    assert row["verdict"] == "above chance"
    alone = over_rounds(rounds[:1], [0.55], 90, 3)
    assert (alone["low"], alone["high"], alone["verdict"]) == (0.5, 0.75, "not shown")


def test_differences_of_cells_are_those_of_networks() -> None:
    """With one class the interval is the t interval of the mean difference; with too few of a class there is none."""
    rng = np.random.default_rng(0)
    said = (rng.random((30, 2, 10)) < np.linspace(0.8, 0.4, 10)).astype(np.float32)
    drawn = of_cells(said, np.zeros(30, int))
    words = _ends(drawn)
    own = said[:, :, 0].mean(1) - said[:, :, 1:].mean((1, 2))
    found = ttest_1samp(own, 0).confidence_interval()
    assert words["first tenth - rest"] == f"{own.mean():+.3f} ({found.low:+.3f} to {found.high:+.3f})"
    few = _ends(of_cells(said, np.repeat([0, 1], [19, 11])))
    assert str(few["end - start"]).endswith("(too few of a class to say)")
    other = of_cells(np.roll(said, 1, axis=2), np.zeros(30, int))
    gap = said.mean((1, 2)) - other.said.mean((1, 2))
    claim = better("", drawn, other)
    assert (claim.low, claim.high) == pytest.approx(tuple(ttest_1samp(gap, 0).confidence_interval()))
    assert str(claim.shown["here"]).startswith(f"{gap.mean():+.3f} (")
    assert better("it is", drawn, other).verdict == "not shown"
    assert better("it is", drawn, of_cells(said * 0, np.zeros(30, int))).verdict == "holds"
    assert better("it is", drawn, of_cells(said[:20], np.zeros(20, int))).shown["here"] == "maps of other networks"


def of_cells(said: np.ndarray, strata: np.ndarray) -> ProbeMap:
    n, snapshots, positions = said.shape
    return ProbeMap(
        target="hp.optimizer",
        task="classification",
        chance=1 / len(np.unique(strata)),
        strata=strata,
        said=said,
        true=np.ones((n, snapshots)),
        progress=np.linspace(0, 1, snapshots),
        epochs=np.arange(float(snapshots)),
        positions=np.linspace(0, 1, positions),
        length=5,
        part="all",
        layout=None,
    )


def test_claims_hold_and_do_not() -> None:
    rows = [("w_init", 0.9, 0.25), ("batch_size", 0.3, 0.25), ("optimizer", 0.5, 1 / 3)]
    table = pd.DataFrame(rows, columns=["target", "score", "chance"])
    table = table.assign(low=table["score"] - 0.05, high=table["score"] + 0.05)
    (claim,) = hardest(table, "batch_size")
    assert claim.verdict == "holds"  # .25 of the way against .07, with errors of .034 and .038
    assert "batch_size 0.07 of the way" in str(claim.shown["here"])
    assert "+0.18 (+0.08 to +0.28)" in str(claim.shown["here"])
    assert hardest(table, "w_init")[0].verdict == "does not hold"
    assert hardest(table.assign(low=0.0, high=1.0), "batch_size")[0].verdict == "not shown"
    assert hardest(table.head(1), "w_init") == []
    sizes = np.array([100.0, 500, 2000, 5000])
    found = _logarithmic(sizes, 0.2 + 0.1 * np.log10(sizes))
    assert found["per ten times"] == pytest.approx(0.1)
    assert found["R2 over log length"] == pytest.approx(1)
    assert found["R2 over length"] < 0.95
    parts = ["conv1.bias", "conv1.kernel", "fc1.kernel", "fc1.bn_mean"]
    norms = pd.DataFrame(
        [(p, f"p{i}", 1.0 + 3 * (p == "conv1.bias")) for p in parts for i in range(5)], columns=["part", "measure", "norm"]
    )
    rounds = norms["norm"].to_numpy() * np.random.default_rng(0).uniform(0.95, 1.05, (10, 20))
    held = most_telling(norms, rounds, "optimizer")
    assert held.verdict == "holds"
    ratios = rounds[:, :5].mean(1) / rounds[:, 5:].mean(1)
    low, high = ttest_1samp(ratios, 0).confidence_interval(0.95)
    assert f"{ratios.mean():.2f} times the mean norm of the others ({low:.2f} to {high:.2f}), 5 of the ten" in str(
        held.shown["here"]
    )
    assert most_telling(norms, rounds, "activation").verdict == "does not hold"
    assert most_telling(norms, rounds[:1], "optimizer").verdict == "not shown"  # of one round nothing is known


def test_what_was_not_fitted_is_said(study: Path, nws_zoos: dict[str, Path], tmp_path: Path) -> None:
    shutil.copytree(study, tmp_path / "part")
    words = [word for word in BUDGET if not word.startswith("meta.targets")]
    common = (f"zoo=[{nws_zoos['mixed']},{nws_zoos['fixed']}]", f"out={tmp_path}/part", "fit=false", *words)
    assert main(["reproduce", "meta", *common, "meta.targets=[optimizer,activation]"]) == 0
    for name in ("nws_fig2", "nws_fig4", "nws_fig18", "nws_fig19", "nws_votes"):
        table = pd.read_csv(tmp_path / "part" / name / f"{name}.csv")
        missing = table["verdict"] == "not measured"
        assert set(table.loc[missing, "target"]) == {"activation"}
        assert set(table.loc[~missing, "target"]) == {"optimizer"}
        assert table.loc[missing, "score"].isna().all()
    assert set(pd.read_csv(tmp_path / "part" / "nws_fig5" / "nws_fig5.csv")["target"]) == {"optimizer"}


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("meta.rounds_dmc=0", "meta.rounds_dmc=0: give a whole number from 1 up"),
        ("meta.slices=500", "meta.slices=500: give a list"),
        ("meta.slices=[abc]", "meta.slices=abc: give a whole number from 16 up"),
        ("meta.positions=1", "meta.positions=1: give a whole number from 2 up"),
        ("meta.targets=optimizer", "meta.targets=optimizer: give a list"),
        ("meta.targets=[optimiser]", "did you mean 'optimizer'"),
        ("meta.parts=[convs]", "did you mean 'conv'"),
    ],
)
def test_mistakes_of_the_meta_classifiers(
    word: str, says: str, nws_zoos: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["reproduce", "nws_fig4", f"zoo={nws_zoos['mixed']}", f"out={tmp_path}/out", word]) == 2
    assert says in capsys.readouterr().err


def test_a_mistake_stops_all_of_them(nws_zoos: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As one exhibit's would; an exhibit that lacks its zoo is only left out."""
    assert main(["reproduce", "meta", f"zoo={nws_zoos['mixed']}", f"out={tmp_path}/out", "meta.rounds_svm=0"]) == 2
    assert "meta.rounds_svm=0" in capsys.readouterr().err
