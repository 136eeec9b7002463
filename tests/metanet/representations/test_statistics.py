from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metanet.representations.flat import flat
from metanet.representations.norms import norms_l1, norms_l2
from metanet.representations.statistics import STATISTICS, global_statistics, layer_statistics, segment_statistics
from metanet.zoo import Layout, Zoo


def one_by_one(weights: np.ndarray, segments: list[tuple[int, int]]) -> np.ndarray:
    """The papers' way: numpy.mean, var and percentile of each segment of each network."""
    rows = []
    for vector in weights:
        row: list[float] = []
        for a, b in segments:
            part = vector[a:b]
            row += [part.mean(), part.var(), *np.percentile(part, [0, 25, 50, 75, 100])]
        rows.append(row)
    return np.array(rows)


@given(st.integers(1, 7), st.lists(st.integers(1, 40), min_size=1, max_size=5), st.integers(0, 2**32 - 1), st.floats(1e-3, 1e3))
@settings(max_examples=60, deadline=None)
def test_the_numbers_are_numpys(networks: int, sizes: list[int], seed: int, scale: float) -> None:
    ends = np.cumsum([0, *sizes])
    segments = list(zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True))
    weights = (np.random.default_rng(seed).standard_normal((networks, int(ends[-1]))) * scale).astype(np.float32)
    np.testing.assert_allclose(segment_statistics(weights, segments), one_by_one(weights, segments), rtol=1e-5, atol=1e-6 * scale)


def test_chunks_and_threads_change_nothing() -> None:
    weights = np.random.default_rng(0).standard_normal((600, 2000)).astype(np.float32)  # several chunks
    segments = [(0, 1500), (1500, 2000)]
    alone = segment_statistics(weights, segments)
    assert np.array_equal(alone, segment_statistics(weights, segments, threads=4))
    np.testing.assert_allclose(alone, one_by_one(weights, segments), rtol=1e-5, atol=1e-6)


def test_the_paper_network_gives_56_statistics_and_8_norms(grown: Zoo) -> None:
    view = grown.view()
    weights, layout = view.weights(), view.layout
    statistics, names = layer_statistics(weights, layout)
    assert statistics.shape == (30, 56)
    assert names[:7] == [f"conv1.kernel.{s}" for s in STATISTICS]
    assert names[-1] == "dense.bias.max"
    np.testing.assert_allclose(statistics[:, names.index("dense.bias.max")], weights[:, 4960:4970].max(1))
    whole, names = global_statistics(weights, layout)
    assert whole.shape == (30, 7)
    np.testing.assert_allclose(whole, one_by_one(weights, [(0, 4970)]), rtol=1e-5, atol=1e-7)
    part, _ = global_statistics(weights, layout, ["first", "last"])
    both = np.concatenate([weights[:, :160], weights[:, 4800:]], axis=1)
    np.testing.assert_allclose(part, one_by_one(both, [(0, 330)]), rtol=1e-5, atol=1e-7)
    for function, order in ((norms_l1, 1), (norms_l2, 2)):
        norms, names = function(weights, layout)
        assert norms.shape == (30, 8)
        expected = (np.abs(weights[:, 160:2464].astype(float)) ** order).sum(1) ** (1 / order)
        np.testing.assert_allclose(norms[:, names.index(f"conv2.kernel.l{order}")], expected, rtol=1e-5)


def test_flat_is_the_weights(grown: Zoo) -> None:
    view = grown.view()
    weights, layout = view.weights(), view.layout
    matrix, names = flat(weights, layout)
    assert matrix is weights
    assert len(set(names)) == 4970
    conv1, names = flat(weights, layout, ["conv1"])
    assert np.array_equal(conv1, weights[:, :160])
    assert names[0] == "conv1.kernel[0]"


@pytest.mark.parametrize("function", [layer_statistics, norms_l1, norms_l2])
def test_neuron_order_does_not_matter(function, grown: Zoo) -> None:  # type: ignore[no-untyped-def]
    """Statistics and norms of a layer ignore a permutation of its filters and of the next layer's inputs."""
    view = grown.view()
    layout = view.layout
    weights = view.weights().copy()
    tensors = layout.unflatten(weights.copy())
    order = np.random.default_rng(0).permutation(16)
    tensors["conv2.weight"] = tensors["conv2.weight"][:, order]
    tensors["conv2.bias"] = tensors["conv2.bias"][:, order]
    tensors["conv3.weight"] = tensors["conv3.weight"][:, :, order]
    permuted = np.stack([layout.flatten({k: v[i] for k, v in tensors.items()}) for i in range(len(weights))])
    assert not np.array_equal(permuted, weights)
    np.testing.assert_allclose(function(permuted, Layout(layout.tensors))[0], function(weights, layout)[0], rtol=1e-4, atol=1e-6)
