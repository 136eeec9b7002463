from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import metanet
from metanet.probing.sensitivity import SCALES, modifications, sensitivity
from metanet.zoo import Layout, Zoo, zoo_from_arrays


def sorted_part(weights: np.ndarray, layout: Layout, layer: str, kind: str | None = None) -> np.ndarray:
    tensors = [t for t in layout.tensors if t.layer == layer and kind in (None, t.kind)]
    return np.sort(np.concatenate([weights[:, t.start : t.stop] for t in tensors], axis=1), axis=1)


def test_each_modification_moves_what_it_says(known: Zoo) -> None:
    view = known.view()
    weights, layout = np.array(view.weights()), view.layout
    found = {(name, mixed): changed for name, mixed, changed in modifications(weights, layout, 0)}
    assert len(found) == 8 + len(SCALES)
    for (name, mixed), changed in found.items():
        if name.startswith("scaled"):
            np.testing.assert_allclose(changed, weights * float(name.split()[-1]), rtol=1e-6)
            continue
        np.testing.assert_array_equal(np.sort(changed, axis=1), np.sort(weights, axis=1))  # nothing is lost
        assert not np.array_equal(changed, weights)
        if mixed == "no":
            for kind in ("kernel", "bias"):
                both = [
                    np.concatenate([sorted_part(w, layout, la, kind) for la in ("fc1", "dense")], axis=1)
                    for w in (changed, weights)
                ]
                np.testing.assert_array_equal(np.sort(both[0], axis=1), np.sort(both[1], axis=1))
        if name != "permuted globally":
            for layer in ("fc1", "dense"):
                np.testing.assert_array_equal(sorted_part(changed, layout, layer), sorted_part(weights, layout, layer))
                if mixed == "no":
                    np.testing.assert_array_equal(
                        sorted_part(changed, layout, layer, "bias"), sorted_part(weights, layout, layer, "bias")
                    )
    last = found["permuted within the last layer", "no"]
    np.testing.assert_array_equal(last[:, :40], weights[:, :40])
    first = found["permuted within each convolution", "no"]
    np.testing.assert_array_equal(first[:, 40:], weights[:, 40:])
    # mixed: some bias stands where a kernel's weight stood, and only then
    biases = [set(row) for row in np.concatenate([weights[:, 32:40], weights[:, 64:67]], axis=1)]
    for mixed, expected in (("yes", True), ("no", False)):
        changed = found["permuted within each layer", mixed]
        kernels = np.concatenate([changed[:, :32], changed[:, 40:64]], axis=1)
        assert any(b & set(row) for b, row in zip(biases, kernels, strict=True)) is expected


def test_every_network_is_permuted_on_its_own(known: Zoo) -> None:
    layout = known.view().layout
    alike = np.tile(np.arange(layout.size, dtype=np.float32), (20, 1))
    for name, _, changed in modifications(alike, layout, 0):
        distinct = len({tuple(row) for row in changed})
        assert distinct == (1 if name.startswith("scaled") else 20)


def test_the_table_is_the_mean_change_of_predictions(known: Zoo) -> None:
    view = known.view()
    model = metanet.create_model("gbm", features="flat", max_trees=40).fit(view)
    table = sensitivity(model, view, seed=3).set_index(["modification", "mixed"])
    before = model.predict(view)
    doubled = zoo_from_arrays(np.array(view.weights()) * 2, view.layout, view.frame.drop(columns="layout_id"))
    expected = np.abs(model.predict(doubled.view()) - before).mean()
    assert table.loc[("scaled by 2", "-"), "mad"] == pytest.approx(expected)


def test_statistics_do_not_see_permutations_within_a_tensor(known: Zoo) -> None:
    view = known.view()
    model = metanet.create_model("gbm", features="stats", max_trees=40).fit(view)
    table = sensitivity(model, view).set_index(["modification", "mixed"])["mad"]
    assert table["permuted within each layer", "no"] == pytest.approx(0, abs=1e-6)
    assert table["permuted globally", "yes"] > 0.01
    assert isinstance(table, pd.Series)
