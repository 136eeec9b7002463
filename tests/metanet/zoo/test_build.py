"""Zoos of networks from elsewhere, written network by network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from metanet.errors import MetanetError
from metanet.zoo import Layout, Zoo, ZooBuilder, build, open_zoo

NARROW = Layout.build([("w", "fc1", "kernel", (3, 2)), ("b", "fc1", "bias", (3,))])
WIDE = Layout.build([("w", "fc1", "kernel", (5, 2)), ("b", "fc1", "bias", (5,))])


def vectors(layout: Layout, count: int, seed: int = 0) -> list[np.ndarray]:
    return list(np.random.default_rng(seed).normal(size=(count, layout.size)).astype(np.float32))


def test_what_is_added_is_read_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "SHARD_VALUES", 20)  # several shards
    narrow, wide = vectors(NARROW, 3), vectors(WIDE, 2, seed=1)
    data = {"name": "mine", "chance": 0.1, "n_test": 50}
    with ZooBuilder(tmp_path / "zoo", {"name": "mine"}, data, {"hp.learning_rate": "log"}) as zoo:
        metrics = [{"test_accuracy": 0.1 * i} for i in range(3)]
        zoo.add("a", NARROW, zip((0, 2, 5), narrow, metrics, strict=True), {"learning_rate": 0.01, "optimizer": "sgd"}, note="x")
        history = pd.DataFrame({"epoch": [0, 1], "test_accuracy": [0.2, 0.3]})
        zoo.add("b", WIDE, [(1, wide[1], {"test_accuracy": 0.3})], {"learning_rate": 0.02, "optimizer": "adam"}, history)
    found = open_zoo(tmp_path / "zoo")
    assert len(found.header.shards) > 1
    view = found.view(epoch="all")
    for stored, given in zip(view.vectors(), [*narrow, wide[1]], strict=True):
        assert np.array_equal(stored, given)
    assert view.frame[["network_id", "epoch", "progress"]].values.tolist() == [
        ["a", 0, 0],
        ["a", 2, 0.4],
        ["a", 5, 1],
        ["b", 1, 1],
    ]
    assert found.networks["note"].tolist()[0] == "x"
    assert found.history["epoch"].tolist() == [0, 1]
    kinds = {"hp.learning_rate": "log", "hp.optimizer": "category", "test_accuracy": "share"}
    assert found.columns == kinds | dict.fromkeys(("epoch", "step", "progress"), "number")
    assert found.header.columns == found.columns  # written down


def test_vectors_that_are_not_finite_are_left_out_and_said(tmp_path: Path) -> None:
    first, second = vectors(NARROW, 2)
    second[3] = np.nan
    with ZooBuilder(tmp_path / "zoo") as zoo:
        zoo.add("a", NARROW, [(0, first, {"test_accuracy": 0.1}), (1, second, {"test_accuracy": 0.1})])
        zoo.add("b", NARROW, [(0, first, {"test_accuracy": 0.5})])
    found = open_zoo(tmp_path / "zoo")
    assert found.networks.set_index("network_id")["status"].to_dict() == {"a": "nan", "b": "ok"}
    assert found.view().network_ids.tolist() == ["b"]


def test_a_zoo_is_saved_whole(known: Zoo, grown: Zoo, tmp_path: Path) -> None:
    saved = known.save(tmp_path / "known")
    assert np.array_equal(saved.view().weights(), known.view().weights())
    columns = ["network_id", "test_accuracy", "hp.optimizer", "hp.learning_rate"]
    pd.testing.assert_frame_equal(saved.view().frame[columns], known.view().frame[columns])
    copied = grown.save(tmp_path / "grown")
    pd.testing.assert_frame_equal(copied.networks, grown.networks, check_like=True)
    pd.testing.assert_frame_equal(copied.history, grown.history, check_like=True)
    keys = ["network_id", "epoch", "progress", "test_accuracy", "train_loss", "crc32"]
    pd.testing.assert_frame_equal(copied.snapshots[keys], grown.snapshots[keys])
    for one, other in zip(copied.view(epoch="all").vectors(), grown.view(epoch="all").vectors(), strict=True):
        assert np.array_equal(one, other)
    assert (copied.header.origin, copied.columns) == (grown.header.origin, grown.columns)


@pytest.mark.parametrize(
    ("snapshots", "says"),
    [
        ([(0, np.zeros(4), {})], "a vector of 4 values, its layout has 9"),
        ([(0, np.zeros(9), {}), (0, np.zeros(9), {})], "two snapshots of epoch 0"),
        ([(0, np.zeros(9), {"offset": 3})], "a metric 'offset', which is a column of ours"),
        ([(0, np.full(9, np.inf), {})], "none of 1 networks has finite weights"),
    ],
)
def test_mistakes_are_named_and_leave_nothing(tmp_path: Path, snapshots: list[build.Snapshot], says: str) -> None:
    with pytest.raises(MetanetError, match=says), ZooBuilder(tmp_path / "zoo") as zoo:
        zoo.add("a", NARROW, snapshots)
    assert not (tmp_path / "zoo").exists()


def test_a_network_comes_once_and_into_a_new_folder(tmp_path: Path) -> None:
    snapshots = [(0, np.zeros(9), {"test_accuracy": 0.5})]
    with ZooBuilder(tmp_path / "zoo") as zoo:
        zoo.add("a", NARROW, snapshots)
        with pytest.raises(MetanetError, match="'a' was added before"):
            zoo.add("a", NARROW, snapshots)
    with pytest.raises(MetanetError, match="would be an empty zoo"):
        ZooBuilder(tmp_path / "empty").finish()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    with pytest.raises(MetanetError, match="is not empty"):
        ZooBuilder(tmp_path / "full")
