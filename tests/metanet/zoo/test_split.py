from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from metanet.errors import MetanetError
from metanet.zoo import Split, Zoo, split_networks
from metanet.zoo.split import balanced_networks, fold_networks

IDS = [f"n{i}" for i in range(100)]


def test_parts_are_disjoint_complete_and_of_the_size_asked_for() -> None:
    split = split_networks(IDS, test=0.5, validation=0.2, seed=1)
    assert (len(split.train), len(split.validation), len(split.test)) == (40, 10, 50)
    assert sorted([*split.train, *split.validation, *split.test]) == sorted(IDS)


def test_the_seed_decides_and_the_order_of_the_ids_does_not() -> None:
    assert split_networks(IDS, seed=1) == split_networks(IDS[::-1], seed=1)
    assert split_networks(IDS, seed=1).hash != split_networks(IDS, seed=2).hash
    assert split_networks(IDS, validation=0.0, seed=1).test == split_networks(IDS, validation=0.4, seed=1).test


def test_a_stored_split_reads_back(tmp_path: Path) -> None:
    split = split_networks(IDS, seed=4)
    path = split.save(tmp_path)
    assert path.name == f"{split.hash}.json"
    assert Split.load(path) == split
    path.write_text("{}")
    with pytest.raises(MetanetError, match="not a stored split"):
        Split.load(path)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"test": 0.999}, "validation part empty|train part empty"),
        ({"test": 1.0}, "not a share"),
        ({"test": 0.001}, "test part empty"),
        ({"seed": -1}, "split.seed=-1"),
    ],
)
def test_a_split_with_an_empty_part_is_refused(arguments: dict[str, float], says: str) -> None:
    with pytest.raises(MetanetError, match=says):
        split_networks(IDS, **arguments)


def test_a_network_in_two_parts_is_refused() -> None:
    with pytest.raises(MetanetError, match="two parts"):
        Split(("a",), ("b",), ("a",))


def test_snapshots_of_one_network_never_part(grown: Zoo) -> None:
    train, test = grown.view(epoch="all").split(test=0.5, seed=0)
    assert set(train.network_ids).isdisjoint(test.network_ids)
    assert len(train) + len(test) == len(grown.snapshots)


def test_folds_are_of_networks_and_even() -> None:
    ids = [f"{i // 5}" for i in range(100)]
    folds = fold_networks(ids, 3, 0)
    assert len(set(zip(ids, folds, strict=True))) == 20
    assert sorted(np.bincount(folds)) == [30, 35, 35]
    assert (folds != fold_networks(ids, 3, 1)).any()
    with pytest.raises(MetanetError, match=r"5 networks are too few for search.folds=3"):
        fold_networks(list("abcde"), 3, 0, "search.folds")


def test_balanced_networks_are_as_many_of_each_class() -> None:
    ids = [f"n{i}" for i in range(20) for _ in range(2)]
    classes = ["a" if i < 13 else "b" for i in range(20) for _ in range(2)]
    kept = balanced_networks(ids, classes, seed=1)
    assert len(kept) == 14
    assert sum(dict(zip(ids, classes, strict=True))[i] == "b" for i in kept) == 7
    assert kept == balanced_networks(ids[::-1], classes[::-1], seed=1) != balanced_networks(ids, classes, seed=2)
