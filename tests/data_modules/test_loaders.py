"""Loaders for loops of one's own, against plain reading and torch_geometric's own batches."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch_geometric.data import Batch

import metanet
from metanet.errors import MetanetError
from metanet.representations.graph import Graph
from metanet.zoo import Zoo, open_zoo


@pytest.fixture(scope="module")
def mixed(nws_zoos: dict[str, Path]) -> Zoo:
    return open_zoo(nws_zoos["mixed"])


def test_flat_and_tensors_hold_one_architecture_each(mixed: Zoo) -> None:
    view = mixed.view()
    for kind in ("flat", "tensors"):
        loader = metanet.batches(view, kind, batch_size=4, seed=0)
        batches = list(loader)
        assert len(batches) == len(loader)
        assert sorted(np.concatenate([b.index for b in batches])) == list(range(len(view)))
        for batch in batches:
            expected = view.take(batch.index).weights()
            flat = batch.inputs if kind == "flat" else torch.cat([t.flatten(1) for t in batch.inputs.values()], 1)
            np.testing.assert_array_equal(flat.numpy(), expected)


def test_orders_differ_by_seed_and_iteration(known: Zoo) -> None:
    loader = metanet.batches(known.view(), "flat", batch_size=50, seed=0)
    first, second = (np.concatenate([b.index for b in loader]) for _ in range(2))
    assert not np.array_equal(first, second)
    again = np.concatenate([b.index for b in metanet.batches(known.view(), "flat", batch_size=50, seed=0)])
    np.testing.assert_array_equal(first, again)
    plain = np.concatenate([b.index for b in metanet.batches(known.view(), "flat", batch_size=50)])
    np.testing.assert_array_equal(plain, np.arange(200))


def test_graphs_are_torch_geometrics_batches(mixed: Zoo) -> None:
    view = mixed.view()
    batch = next(iter(metanet.batches(view, "graph", batch_size=6)))
    data = [Graph.of(mixed.layouts[i]).data(v) for i, v in zip(view.frame["layout_id"], view.vectors(), strict=True)][:6]
    taps = max(d.edge_attr.shape[1] for d in data)
    for d in data:
        d.edge_attr = torch.nn.functional.pad(d.edge_attr, (0, taps - d.edge_attr.shape[1]))
    expected = Batch.from_data_list(data)
    for key in ("x", "edge_index", "edge_attr", "stage", "role", "place", "kind", "batch", "ptr"):
        assert torch.equal(batch.inputs[key], expected[key]), key


def test_tokens_of_mixed_architectures_are_padded(mixed: Zoo) -> None:
    batch = next(iter(metanet.batches(mixed.view(), "tokens", batch_size=8, width=32)))
    values, facts, mask = batch.inputs
    assert values.shape[2] == 32
    assert facts.shape[:2] == mask.shape == values.shape[:2]
    assert (values[~mask] == 0).all()
    sizes = [mixed.layouts[i].size for i in mixed.view().frame["layout_id"][:8]]
    assert ((values != 0).sum((1, 2)) <= torch.tensor(sizes)).all()


def test_an_unknown_kind_is_named(known: Zoo) -> None:
    with pytest.raises(MetanetError, match=r"no loader of 'graphs'.*'graph'"):
        metanet.batches(known.view(), "graphs")
