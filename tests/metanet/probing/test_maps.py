"""Probe maps of a zoo whose weights tell their optimizer in known places and at known times."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest, t
from sklearn.metrics import balanced_accuracy_score, r2_score

import metanet
from metanet.errors import MetanetError
from metanet.models import Target
from metanet.models.local import SliceModel
from metanet.probing.maps import ProbeMap, probe_map, snapshot_grid
from metanet.zoo import Layout, Zoo, zoo_from_arrays

LAYOUT = Layout.build([("a.weight", "a", "kernel", (10, 30)), ("b.weight", "b", "kernel", (10, 70))])  # 300 and 700 values
EPOCHS = (0, 4, 8)


@pytest.fixture(scope="module")
def told() -> Zoo:
    """50 networks at three epochs: from epoch 4 on, the first 300 weights are shifted by the optimizer, the others are noise."""
    rng = np.random.default_rng(0)
    names = np.array(["adam"] * 30 + ["sgd"] * 15 + ["rmsprop"] * 5)
    shift = {"adam": 0.0, "sgd": 3.0, "rmsprop": -3.0}
    rows, vectors = [], []
    for i, name in enumerate(names):
        for epoch in EPOCHS:
            vector = rng.standard_normal(1000)
            vector[:300] += shift[name] * (epoch > 0)
            vectors.append(vector)
            accuracy = 0.1 + 0.05 * epoch * rng.uniform(0.5, 1)
            rows.append(
                {
                    "network_id": f"n{i:02d}",
                    "epoch": epoch,
                    "progress": epoch / 8,
                    "hp.optimizer": name,
                    "test_accuracy": accuracy,
                }
            )
    return zoo_from_arrays(np.array(vectors, np.float32), LAYOUT, pd.DataFrame(rows), name="told")


class ByMean(SliceModel):
    """Knows the shifts: classes by the slice's mean, or the mean itself as a number."""

    name = "by_mean"

    def fit_slices(self, slices: Any, codes: np.ndarray) -> None:
        self.calls = 0

    def logits(self, values: np.ndarray) -> np.ndarray:
        self.calls += 1
        means = values.mean(1, keepdims=True)
        if not self.classes:
            return means
        return -np.abs(means - np.array([[0.0, -3.0, 3.0]]))[:, : self.classes]  # adam, rmsprop, sgd

    def save_estimator(self, folder: Path) -> None: ...

    def load_estimator(self, folder: Path) -> None: ...


@pytest.fixture(scope="module")
def drawn(told: Zoo) -> ProbeMap:
    return probe_map(ByMean(slice=100).fit(told.view(), "hp.optimizer"), told.view(epoch="all"), positions=10)


def test_the_map_shows_where_and_when(drawn: ProbeMap) -> None:
    assert drawn.scores.shape == (3, 10)
    assert drawn.chance == pytest.approx(1 / 3)
    assert (drawn.scores[1:, :3] > 0.99).all()  # slices that end within the first 300 weights, after training
    np.testing.assert_allclose(drawn.scores[0], 1 / 3)  # before training all means are near 0: adam
    np.testing.assert_allclose(drawn.scores[:, 4:], 1 / 3)
    assert drawn.progress.tolist() == [0, 0.5, 1]
    assert drawn.epochs.tolist() == [0, 4, 8]


def test_every_cell_is_the_balanced_accuracy_of_plain_loops(told: Zoo, drawn: ProbeMap) -> None:
    model = ByMean(slice=100).fit(told.view(), "hp.optimizer")
    starts = np.round(np.linspace(0, 900, 10)).astype(int)
    for j, epoch in enumerate(EPOCHS):
        view = told.view(epoch=epoch)
        weights, true = view.weights(), view.target("hp.optimizer")
        for p, start in enumerate(starts):
            said = np.array(["adam", "rmsprop", "sgd"])[model.logits(weights[:, start : start + 100]).argmax(1)]
            assert drawn.scores[j, p] == pytest.approx(balanced_accuracy_score(true, said))


def test_its_table_and_margins(drawn: ProbeMap) -> None:
    table = drawn.table()
    assert len(table) == 30
    cell = table[(table["epoch"] == 8) & (table["position"] == 0)].iloc[0]
    kinds = [drawn.said[own, 2, 0] for own in (slice(0, 30), slice(30, 45), slice(45, 50))]
    assert (cell["low"], cell["high"]) == pytest.approx(by_class([right.astype(int).tolist() for right in kinds])[1:])
    assert (table["low"] <= table["score"] + 1e-12).all()
    assert (table["high"] >= table["score"] - 1e-12).all()
    assert cell["place"] == "a.weight"
    assert table[table["position"] == 1]["place"].unique().tolist() == ["b.weight"]
    position, progress = drawn.by_position(), drawn.by_progress()
    np.testing.assert_allclose(position["score"], drawn.scores.mean(0))
    np.testing.assert_allclose(progress["score"], drawn.scores.mean(1))
    assert (position["low"] <= position["score"]).all()
    assert drawn.mean()[0] == pytest.approx(drawn.scores.mean())


def test_without_balance_a_cell_is_the_share_of_networks(told: Zoo) -> None:
    model = ByMean(slice=100).fit(told.view(), "hp.optimizer")
    plain = probe_map(model, told.view(epoch="all"), positions=4, balance=False)
    assert plain.chance == pytest.approx(0.6)
    np.testing.assert_allclose(plain.scores, plain.said.mean(0))
    np.testing.assert_allclose(plain.scores[0], 0.6)


def test_numbers_are_scored_by_r2(told: Zoo) -> None:
    model = ByMean(slice=100).fit(told.view(epoch="all"), "test_accuracy")
    drawn = probe_map(model, told.view(epoch="all"), positions=4)
    view = told.view(epoch=8)
    said = np.clip(view.weights()[:, 900:].mean(1), 0, 1)
    assert drawn.scores[2, 3] == pytest.approx(r2_score(view.target("test_accuracy"), said), rel=1e-4)
    assert np.isnan(drawn.scores[0]).all()  # at epoch 0 all accuracies are alike
    assert drawn.chance == 0
    assert np.isfinite(drawn.mean()).all()
    last = probe_map(model, told.view(epoch=8), positions=4)
    error = ((last.said[:, 0, :] - last.true) ** 2).mean(0).sum()
    assert last.mean()[0] == pytest.approx(1 - error / (4 * last.true.var()), rel=1e-5)  # errors and variances added up
    table = drawn.table()
    assert (table.dropna()["low"] <= table.dropna()["high"]).all()


def test_layers_meet_where_the_middle_of_a_slice_crosses(drawn: ProbeMap) -> None:
    borders = drawn.borders()
    assert [layer for layer, _, _ in borders] == ["a", "b"]
    assert borders[0][2] == borders[1][1] == pytest.approx((300 - 50) / 900)
    assert (borders[0][1], borders[1][2]) == (0, 1)


def test_a_map_reads_back(drawn: ProbeMap, tmp_path: Path) -> None:
    drawn.save(tmp_path / "map.npz")
    again = ProbeMap.load(tmp_path / "map.npz")
    pd.testing.assert_frame_equal(again.table(), drawn.table())
    assert again.facts == drawn.facts
    assert again.layout == drawn.layout


def test_networks_with_more_snapshots_are_thinned(told: Zoo) -> None:
    view = told.view(epoch="all").take([0, 1, 2, 3, 5, 7, 8, 11])  # three, two, two and one
    rows, frame, few = snapshot_grid(view)
    assert frame["epoch"].to_numpy()[rows].tolist() == [[0, 8], [0, 8], [4, 8]]
    assert few == 1
    rows, frame, few = snapshot_grid(view.take([0, 1, 2, 7]))
    assert frame["epoch"].to_numpy()[rows].tolist() == [[0, 8]]
    rows, frame, few = snapshot_grid(view.take([0, 1, 2, 4, 7]))
    assert frame["epoch"].to_numpy()[rows].tolist() == [[8], [8], [8]]  # of one, the last


def of_rights(right: list[list[int]]) -> ProbeMap:
    """One slice of each network, whether it was told rightly, class by class."""
    return ProbeMap(
        target="hp.optimizer",
        task="classification",
        chance=1 / len(right),
        strata=np.repeat(np.arange(len(right)), [len(r) for r in right]),
        said=np.concatenate(right).astype(np.float32)[:, None, None],
        true=np.ones((sum(map(len, right)), 1)),
        progress=np.ones(1),
        epochs=np.ones(1),
        positions=np.array([0.5]),
        length=5,
        part="all",
        layout=None,
    )


def by_class(right: list[list[int]]) -> tuple[float, float, float]:
    """The mean share, and Clopper and Pearson's limits of each class put together square to square."""
    shares = np.array([np.mean(r) for r in right])
    limits = [binomtest(sum(r), len(r)).proportion_ci(0.95, "exact") for r in right]
    below, above = (np.linalg.norm(shares - [getattr(ends, name) for ends in limits]) / len(right) for name in ("low", "high"))
    return shares.mean(), shares.mean() - below, shares.mean() + above


@pytest.mark.parametrize(
    "right", [[[1], [1], [0], [1]], [[1] * 5, [1] * 4 + [0], [0] * 5], [[1, 0] * 20, [1, 1, 1, 0] * 10], [[1] * 5] * 4]
)
def test_intervals_of_one_slice_a_network_are_those_of_its_classes(right: list[list[int]]) -> None:
    """Classes of one network, or told all rightly, stay uncertain."""
    assert of_rights(right).mean() == pytest.approx(by_class(right))


def test_a_score_without_a_network_is_that_of_the_others(told: Zoo, drawn: ProbeMap) -> None:
    numbers = probe_map(ByMean(slice=100).fit(told.view(epoch="all"), "test_accuracy"), told.view(epoch="all"), positions=4)
    for whole in (drawn, numbers):
        for cells in (slice(None), np.s_[:, :2], np.s_[-1, 1:]):
            without = whole.without(cells)
            for i in (0, 31, 49):
                rest = np.delete(np.arange(50), i)
                left = replace(whole, strata=whole.strata[rest], said=whole.said[rest], true=whole.true[rest])
                assert without[i] == pytest.approx(left.score(cells), rel=1e-5)
    assert drawn.score() == pytest.approx(drawn.scores.mean())
    assert drawn.rarest == 5
    assert np.isnan(of_rights([[1, 0], [1]]).without()[2])  # the only one of its class


def test_the_interval_of_numbers_is_the_jackknifes(told: Zoo) -> None:
    whole = probe_map(ByMean(slice=100).fit(told.view(epoch="all"), "test_accuracy"), told.view(epoch="all"), positions=4)
    left = np.log(1 - whole.without())
    half = t.ppf(0.975, 49) * np.sqrt(49 * left.var())
    score, low, high = whole.mean()
    assert (low, high) == pytest.approx((1 - (1 - score) * np.exp(half), 1 - (1 - score) * np.exp(-half)))


def test_numbers_of_a_handful_of_networks_have_no_interval(told: Zoo) -> None:
    model = ByMean(slice=100).fit(told.view(), "test_accuracy")
    few = told.view(epoch="all").of_networks(["n00", "n01", "n02"])
    assert np.isnan(probe_map(model, few, 3).mean()[1:]).all()


def test_a_class_whose_networks_have_too_few_snapshots_makes_no_map(told: Zoo) -> None:
    model = ByMean(slice=100).fit(told.view(), "hp.optimizer")
    view = told.view(epoch="all")
    frame = view.frame
    keep = np.flatnonzero((frame["hp.optimizer"] == "adam") | (frame["epoch"] == 8))
    with pytest.raises(MetanetError, match="always 'adam' in these networks"):
        probe_map(model, view.take(keep), 3)


def test_positions_that_are_all_one_slice_are_refused(told: Zoo) -> None:
    model = ByMean(slice=1000).fit(told.view(), "hp.optimizer")
    with pytest.raises(MetanetError, match=r"at most 1000 values, so that all positions are one slice.*probe.positions=1"):
        probe_map(model, told.view(epoch="all"), 3)
    assert probe_map(model, told.view(epoch="all"), 1).scores.shape == (3, 1)


def test_a_target_that_is_not_finite_somewhere_is_counted(told: Zoo) -> None:
    frame = told.view(epoch="all").frame.copy()
    frame.loc[frame["epoch"] == 0, "test_accuracy"] = np.nan
    weights = np.stack(list(told.view(epoch="all").vectors()))
    columns = ["network_id", "epoch", "progress", "hp.optimizer", "test_accuracy"]
    broken = zoo_from_arrays(weights, LAYOUT, frame[columns], name="broken")
    model = ByMean(slice=100).fit(broken.view(), "test_accuracy")
    with pytest.raises(MetanetError, match="not a finite number in 50 of 50 networks"):
        probe_map(model, broken.view(epoch="all"), 3)


@pytest.mark.parametrize(
    ("target", "where", "says"),
    [
        ("hp.optimizer", "hp.optimizer == 'adam'", "always 'adam' in these networks; a map needs two classes"),
        ("hp.optimizer", "hp.optimizer != 'sgd'", None),
    ],
)
def test_one_class_makes_no_map(told: Zoo, target: str, where: str, says: str | None) -> None:
    model = ByMean(slice=100).fit(told.view(), target)
    view = told.view(epoch="all", where=where)
    if says is None:
        assert probe_map(model, view, 3).chance == 0.5
        return
    with pytest.raises(MetanetError, match=says):
        probe_map(model, view, 3)


def test_a_model_of_whole_networks_is_refused(told: Zoo) -> None:
    model = metanet.create_model("dmc_global_mini", epochs=1).fit(told.view(), "hp.optimizer")
    with pytest.raises(MetanetError, match="model=dmc_global_mini judges whole networks"):
        probe_map(model, told.view(epoch="all"))


def test_a_category_that_training_never_saw_is_never_told(told: Zoo) -> None:
    model = ByMean(slice=100).fit(told.view(), "hp.optimizer")
    whole = probe_map(model, told.view(epoch="all"), positions=3)
    model.target = Target("hp.optimizer", "category", ("adam", "rmsprop"))
    part = probe_map(model, told.view(epoch="all"), positions=3)
    assert part.facts["networks_unseen_class"] == 15
    assert part.chance == pytest.approx(1 / 3)
    assert part.scores[2, 0] == pytest.approx(whole.scores[2, 0] - 1 / 3, abs=0.01)
