"""The figures of the neural weight space, on a small zoo of two image sets and on numbers whose answer is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from scipy import stats

from metanet.cli.main import main
from metanet.generation.nws import NWSNetwork
from metanet.plots.nws import progress_curves, smoothed_histogram
from metanet.reproduce.neural_weight_space.embedding import principal_components
from metanet.reproduce.neural_weight_space.pairs import (
    _activation_and_optimizer,
    _compared,
    _initialiser_and_activation,
    _initialiser_and_optimizer,
)
from metanet.reproduce.neural_weight_space.regression import fit_linear, sum_to_zero


@pytest.fixture(scope="module")
def study(nws_zoos: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("study") / "out"
    assert main(["reproduce", "nws", f"zoo=[{nws_zoos['mixed']},{nws_zoos['fixed']}]", f"out={out}"]) == 0
    return out


def test_every_figure_is_there_and_in_the_report(study: Path) -> None:
    report = (study / "report.html").read_text()
    for number in (1, *range(6, 14)):
        name = f"nws_fig{number}"
        assert list((study / name).glob("*.png")), name
        assert list((study / name).glob("*.csv")), name
        assert f"<h2>{name}: " in report
    assert "not measured" not in report.split("nws_fig6:")[1].split("nws_fig7:")[0]


def test_sizes_modes_and_means_are_those_of_the_tables(study: Path, nws_zoos: dict[str, Path]) -> None:
    from metanet import open_zoo

    sizes = pd.read_csv(study / "nws_fig6" / "nws_fig6.csv").set_index("zoo")
    fixed = open_zoo(nws_zoos["fixed"])
    assert sizes.loc["fixed", "values, most"] == NWSNetwork((32, 32, 3), 3, 3, 2, 4, 16).layout.size
    assert sizes.loc["mixed", "architectures"] == 2
    modes = pd.read_csv(study / "nws_fig8" / "nws_fig8.csv").set_index(["zoo", "data"])
    accuracy = fixed.view().frame["test_accuracy"]
    assert modes.loc[("fixed", "digits"), "below .15"] == pytest.approx((accuracy < 0.15).mean())
    assert modes.loc[("fixed", "digits"), "converged"] == pytest.approx((accuracy > 0.05).mean())
    assert modes.loc[("mixed", "mnist"), "converged above"] == 0.0
    assert modes.loc[("mixed", "digits"), "converged above"] == 0.15
    pairs = pd.read_csv(study / "nws_fig10" / "nws_fig10.csv").set_index(["zoo", "hp.w_init", "hp.optimizer"])
    frame = fixed.view().frame
    mine = frame[(frame["hp.w_init"] == "constant") & (frame["hp.optimizer"] == "adam")]["test_accuracy"]
    assert pairs.loc[("fixed", "constant", "adam"), "mean"] == pytest.approx(mine.mean())
    curves = pd.read_csv(study / "nws_fig7" / "nws_fig7.csv").set_index(["zoo", "data"])
    assert curves.loc[("fixed", "digits"), "test, last"] == pytest.approx(accuracy.mean())


def test_a_single_figure_and_a_zoo_that_has_none(
    nws_zoos: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["reproduce", "nws_fig8", f"zoo={nws_zoos['fixed']}", f"out={tmp_path}/a"]) == 0
    assert (tmp_path / "a" / "nws_fig8" / "report.html").exists()
    capsys.readouterr()
    assert main(["reproduce", "nws_fig13", f"zoo={nws_zoos['mixed']}", f"out={tmp_path}/b"]) == 2
    assert "one architecture" in capsys.readouterr().err
    assert main(["reproduce", "nws_fig1", f"zoo={nws_zoos['mixed']}", f"out={tmp_path}/c"]) == 2
    assert "two converged networks for each coefficient" in capsys.readouterr().err


def sample(n: int = 400) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    choices = {"optimizer": ["adam", "rmsprop", "momentum"], "activation": ["relu", "elu", "tanh"], "batch_size": [32, 64]}
    frame = pd.DataFrame({f"hp.{k}": rng.choice(v, n) for k, v in choices.items()})
    frame["hp.learning_rate"] = rng.uniform(0, 1, n)
    frame["hp.filter_size"] = 3  # does not vary
    effect = frame["hp.optimizer"].map({"adam": 0.3, "rmsprop": 0.1, "momentum": -0.4})
    return frame.assign(y=effect + 0.2 * frame["hp.learning_rate"] + rng.normal(0, 0.1, n))


def test_regression_equals_dummies_and_its_effects_sum_to_zero() -> None:
    frame = sample()
    design, effects = sum_to_zero(frame)
    target = frame["y"].to_numpy()
    table, inside, outside = fit_linear(design, effects, target)
    assert len(table) == 2 + 3 + 3 + 2  # constant, rate, and every category
    by_name = table.set_index(["hyperparameter", "category"])["coefficient"]
    for key in ("optimizer", "activation", "batch_size"):
        assert by_name[key].sum() == pytest.approx(0, abs=1e-9)
    # the same fit with all dummies at once, rank deficient, by least squares
    dummies = pd.get_dummies(frame[["hp.optimizer", "hp.activation", "hp.batch_size"]].astype(str)).to_numpy(float)
    rate = stats.zscore(frame["hp.learning_rate"])
    whole = np.column_stack([np.ones(len(frame)), rate, dummies])
    fitted = whole @ np.linalg.lstsq(whole, target, rcond=None)[0]
    assert inside == pytest.approx(np.sqrt(np.mean((target - fitted) ** 2)))
    assert inside < outside < 1.2 * inside
    assert by_name["optimizer", "adam"] == pytest.approx(0.3, abs=0.03)
    p = table.set_index(["hyperparameter", "category"])["p"]
    assert p["optimizer", "momentum"] < 1e-6 < 0.01 < p["activation", "tanh"]


def test_p_values_are_those_of_least_squares_by_hand() -> None:
    frame = sample(60)
    design, effects = sum_to_zero(frame)
    target = frame["y"].to_numpy()
    table, _, _ = fit_linear(design, effects, target)
    inverse = np.linalg.inv(design.T @ design)
    beta = inverse @ design.T @ target
    freedom = len(target) - design.shape[1]
    variance = np.sum((target - design @ beta) ** 2) / freedom
    for row, (_, _, contrast) in zip(table.itertuples(), effects, strict=True):
        t = contrast @ beta / np.sqrt(variance * contrast @ inverse @ contrast)
        assert row.coefficient == pytest.approx(contrast @ beta)
        assert row.p == pytest.approx(2 * stats.t.sf(abs(t), freedom))


def test_claims_are_differences_with_welchs_interval() -> None:
    rng = np.random.default_rng(1)
    a, b = pd.Series(rng.normal(0.8, 0.05, 40)), pd.Series(rng.normal(0.5, 0.2, 30))
    claim = _compared("a above b", a, b)
    va, vb = a.var() / 40, b.var() / 30
    freedom = (va + vb) ** 2 / (va**2 / 39 + vb**2 / 29)
    half = stats.t.ppf(0.975, freedom) * np.sqrt(va + vb)
    difference = a.mean() - b.mean()
    assert claim.shown["95 %"] == f"{difference - half:+.3f} to {difference + half:+.3f}"
    assert claim.verdict == "holds"
    assert _compared("b above a", b, a).verdict == "does not hold"
    assert _compared("a above a", a, a).verdict == "not shown"
    assert _compared("a above none", a, b.head(0)).verdict == "not measured"
    frame = pd.DataFrame(
        {"hp.optimizer": ["adam", "momentum"] * 4, "hp.activation": ["relu"] * 8, "test_accuracy": [0.9, 0.1] * 4}
    )
    frame["test_accuracy"] += np.arange(8) / 100
    (best,) = _activation_and_optimizer(frame)
    assert best.shown["difference"] == pytest.approx(0.79)


def test_each_sentence_is_tested_as_it_stands() -> None:
    rng = np.random.default_rng(0)
    base = {
        ("constant", "sigmoid"): 0.3,
        ("normal", "sigmoid"): 0.1,
        ("glorot_normal", "relu"): 0.8,
        ("glorot_uniform", "elu"): 0.8,
    }
    rows = [
        {"hp.w_init": w, "hp.activation": a, "hp.optimizer": o, "test_accuracy": mean + rng.normal(0, 0.01)}
        for (w, a), mean in base.items()
        for o in ("adam", "momentum")
        for _ in range(10)
    ]
    frame = pd.DataFrame(rows)
    worst = _initialiser_and_activation(frame)[-1]
    assert "normal with sigmoid" in str(worst.text)  # which is worse than constant with sigmoid
    assert worst.verdict == "does not hold"
    close = _initialiser_and_optimizer(frame)[1]
    assert close.verdict == "holds"  # both optimizers alike: close, as the paper says
    apart = frame.assign(test_accuracy=frame["test_accuracy"] + 0.2 * (frame["hp.optimizer"] == "adam"))
    assert _initialiser_and_optimizer(apart)[1].verdict == "does not hold"


def test_components_are_those_of_a_singular_value_decomposition() -> None:
    layout = NWSNetwork((8, 8, 3), 3, 3, 1, 4, 8).layout
    rng = np.random.default_rng(2)
    weights = (rng.normal(size=(90, 3)) @ rng.normal(size=(3, layout.size)) * [1.0]).astype(np.float32)
    weights[:, layout.tensors[-1].start :] = 1e6 * rng.normal(size=(90, 20))  # of the last layer, which is not looked at
    points, shares = principal_components(weights, layout, 3)
    conv = sum(t.stop - t.start for t in layout.tensors if t.layer.startswith("conv"))
    centred = weights[:, :conv] - weights[:, :conv].mean(0)
    u, s, _ = np.linalg.svd(centred, full_matrices=False)
    np.testing.assert_allclose(np.abs(points), np.abs(u[:, :3] * s[:3]), rtol=1e-2, atol=1e-2)
    np.testing.assert_allclose(shares, s[:3] ** 2 / (s**2).sum(), rtol=1e-3)


def test_peaks_and_mean_curves() -> None:
    rng = np.random.default_rng(3)
    accuracy = np.concatenate([rng.normal(0.1, 0.02, 100), rng.normal(0.8, 0.05, 200)])
    peaks = smoothed_histogram(accuracy, Figure().subplots(), bound=0.5)
    np.testing.assert_allclose(peaks, [0.1, 0.8], atol=0.03)
    history = pd.DataFrame({"network_id": ["a"] * 3 + ["b"] * 2, "epoch": [0, 1, 2, 0, 1], "progress": [0, 0.5, 1, 0, 1]})
    values = [0.0, 0.4, 0.8, 0.0, 0.4]
    ax = progress_curves(
        history.assign(**{f"{p}_accuracy": values for p in ("train", "validation", "test")}), Figure().subplots()
    )
    mean = next(line for line in ax.lines if line.get_label() == "test")
    np.testing.assert_allclose(mean.get_ydata(), 0.6 * np.linspace(0, 1, 41), atol=1e-12)
