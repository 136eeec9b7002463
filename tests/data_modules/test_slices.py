"""Slices against plain indexing of the vectors, for every architecture and every way with short parts."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from metanet.data_modules.slices import SliceBatches, Slices, balanced_order
from metanet.errors import MetanetError
from metanet.zoo import Layout, Zoo, zoo_from_arrays
from metanet.zoo.wiring import wire
from metanet.zoo.zoo import View


def layout(channels: int, units: int) -> Layout:
    return Layout.build(
        [
            ("c.weight", "c", "kernel", (channels, 1, 3, 3)),
            ("c.bias", "c", "bias", (channels,)),
            ("d.weight", "d", "kernel", (10, units)),
            ("d.bias", "d", "bias", (10,)),
        ]
    )


@pytest.fixture(scope="module")
def mixed() -> View:
    """Twelve networks whose convolution holds 40 values, and twelve of 80, in one zoo."""
    zoos = [make(layout(channels, units), i) for i, (channels, units) in enumerate([(4, 8), (8, 40)])]
    frames = [z.snapshots.assign(shard=i) for i, z in enumerate(zoos)]
    return Zoo(
        "mixed",
        zoos[0].header,
        {k: v for z in zoos for k, v in z.layouts.items()},
        pd.concat([z.networks for z in zoos], ignore_index=True),
        pd.concat(frames, ignore_index=True),
        shards=[z._shard(0) for z in zoos],
    ).view()


def make(of: Layout, number: int) -> Zoo:
    rng = np.random.default_rng(number)
    weights = rng.standard_normal((12, of.size)).astype(np.float32)
    names = [f"net-{number}-{i:02d}" for i in range(12)]
    frame = pd.DataFrame({"network_id": names, "test_accuracy": rng.uniform(size=12), "hp.optimizer": ["a", "b", "c"] * 4})
    return zoo_from_arrays(weights, of, frame, name="one")


def test_slices_are_the_values_at_their_starts(mixed: View) -> None:
    vectors = list(mixed.vectors())
    for part in ("all", "conv", "fc"):
        slices = Slices(mixed, 30, part)
        starts = slices.even_starts(5)
        for i, vector in enumerate(vectors):
            a, b = mixed.zoo.layouts[mixed.frame["layout_id"].iloc[i]].part(part)
            np.testing.assert_array_equal(starts[i], np.round(np.linspace(a, b - 30, 5)))
            found = slices.read(np.full(5, i), starts[i])
            np.testing.assert_array_equal(found, np.stack([vector[s : s + 30] for s in starts[i]]))


def test_random_starts_cover_the_part_evenly(mixed: View) -> None:
    slices = Slices(mixed, 30, "conv")
    starts = slices.random_starts(np.random.default_rng(0), np.zeros(11_000, int))
    counts = np.bincount(starts, minlength=11)
    assert len(counts) == 11  # 40 values leave starts 0 to 10
    assert counts.min() > 850
    assert counts.max() < 1150


def test_parts_that_are_shorter_than_a_slice(mixed: View) -> None:
    first = next(mixed.vectors())
    run_on, pad, skip = (Slices(mixed, 60, "conv", short) for short in ("run_on", "pad", "skip"))
    assert {s.short_networks for s in (run_on, pad, skip)} == {12}
    np.testing.assert_array_equal(run_on.read(np.zeros(1, int), run_on.even_starts(3)[0, :1])[0], first[:60])
    padded = pad.read(np.zeros(1, int), pad.even_starts(3)[0, :1])[0]
    np.testing.assert_array_equal(padded, np.concatenate([first[:40], np.zeros(20)]))
    assert len(skip) == 12
    assert set(skip.view.frame["layout_id"]) == {layout(8, 40).id}
    tail = Slices(mixed, 100, "fc")  # 90 fully connected values at the end of 130: the slice begins among the convolution's
    np.testing.assert_array_equal(tail.read(np.zeros(1, int), tail.even_starts(2)[0, :1])[0], first[30:130])


def test_a_slice_longer_than_vectors_names_them(mixed: View) -> None:
    with pytest.raises(MetanetError, match=r"12 of 24 networks \(net-0-00, .*shortest has 130\); give a slice of at most 130"):
        Slices(mixed, 131)
    with pytest.raises(MetanetError, match="longer than part=all of all 24"):
        Slices(mixed, 1000, short="skip")
    with pytest.raises(MetanetError, match="short=padd: give run_on, pad or skip; did you mean 'pad'"):
        Slices(mixed, 30, short="padd")
    with pytest.raises(MetanetError, match="part=dense: give all, conv or fc"):
        Slices(mixed, 30, "dense")


def test_a_part_that_an_architecture_lacks(known: Zoo) -> None:
    with pytest.raises(MetanetError, match="layers fc1, dense has no convolutions; give part=all"):
        Slices(known.view(), 30, "conv")


def test_batches_hold_every_vector_once_an_epoch_with_its_code(mixed: View) -> None:
    codes = np.arange(24) % 3
    batches = SliceBatches(Slices(mixed, 30), codes, batch_size=7, bag=2, seed=1)
    drawn = list(batches)
    assert len(drawn) == len(batches) == 4
    assert drawn[0][0].shape == (6, 2, 30)  # as even as can be
    vectors = list(mixed.vectors())
    found = []
    for bags, labels in drawn:
        for bag, label in zip(bags.numpy(), labels.tolist(), strict=True):
            (i,) = [i for i, v in enumerate(vectors) if any(np.array_equal(v[s : s + 30], bag[0]) for s in range(len(v) - 29))]
            assert codes[i] == label
            found.append(i)
    assert sorted(found) == list(range(24))
    again = next(iter(SliceBatches(Slices(mixed, 30), codes, batch_size=7, bag=2, seed=1)))
    assert np.array_equal(again[0], drawn[0][0])


def test_permuted_batches_hold_networks_whose_neurons_have_changed_places() -> None:
    zoo = make(layout(4, 8), 0)
    whole = next(iter(zoo.layouts.values()))
    view = zoo.view()
    batches = SliceBatches(Slices(view, whole.size), np.zeros(12, np.int64), batch_size=12, seed=0, permute=True)
    drawn = {tuple(found[0].tolist()) for bags, _ in [*batches, *batches, *batches] for found in bags.numpy()}
    assert len(drawn) > 30  # of 24 orders of each of 12
    for found in drawn:
        ours = whole.unflatten(np.array(found, np.float32))
        (theirs,) = [t for v in view.vectors() if sorted((t := whole.unflatten(v))["c.bias"]) == sorted(ours["c.bias"])]
        order = [theirs["c.bias"].tolist().index(b) for b in ours["c.bias"]]
        np.testing.assert_array_equal(ours["c.weight"], theirs["c.weight"][order])
        np.testing.assert_array_equal(ours["d.weight"].reshape(10, 4, 2), theirs["d.weight"].reshape(10, 4, 2)[:, order])
        np.testing.assert_array_equal(ours["d.bias"], theirs["d.bias"])


def test_permuted_slices_of_mixed_architectures_lie_in_permuted_vectors(mixed: View) -> None:
    slices, everything = Slices(mixed, 30), np.arange(24)
    starts = slices.random_starts(np.random.default_rng(3), everything)
    found = slices.read(everything, starts, np.random.default_rng(5))
    rng = np.random.default_rng(5)
    for i, (vector, start) in enumerate(zip(mixed.vectors(), starts, strict=True)):
        wiring = wire(mixed.zoo.layouts[mixed.frame["layout_id"].iloc[i]])
        np.testing.assert_array_equal(found[i], vector[wiring.positions(wiring.draw(rng))][start : start + 30])


def test_an_architecture_whose_neurons_are_unknown_is_not_permuted() -> None:
    unknown = Layout.build([("a.weight", "a", "kernel", (4, 3)), ("b.weight", "b", "kernel", (5, 7))])
    with pytest.raises(MetanetError, match=r"'b.weight'.*model.augment=none"):
        SliceBatches(Slices(make(unknown, 0).view(), 16), np.zeros(12, np.int64), permute=True)


def test_balanced_epochs_have_as_many_of_each_class() -> None:
    codes = np.array([0] * 20 + [1] * 3 + [2] * 7)
    order = balanced_order(codes, np.random.default_rng(0))
    assert np.bincount(codes[order]).tolist() == [10, 10, 10]
    rare = np.bincount(order, minlength=30)[20:23]
    assert rare.min() >= 3
    assert rare.max() <= 4


def test_a_damaged_vector_is_found_when_a_slice_of_it_is_read(grown_folder, tmp_path) -> None:  # type: ignore[no-untyped-def]
    import shutil

    from metanet.zoo import open_zoo

    shutil.copytree(grown_folder, tmp_path / "zoo")
    values = np.load(tmp_path / "zoo" / "weights-00000.npy", mmap_mode="r+")
    values[5000] += 1
    values.flush()
    view = open_zoo(tmp_path / "zoo").view(epoch="all")
    slices = Slices(view, 500)
    with pytest.raises(MetanetError, match="restore"):
        slices.read(np.arange(len(slices)), slices.even_starts(2)[:, 0])
