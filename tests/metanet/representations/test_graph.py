"""Graphs compute what their networks compute, and other orders of neurons give the same graph."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from metanet.errors import MetanetError
from metanet.generation.nws import NWSNetwork
from metanet.generation.resnet import ResNetMini
from metanet.representations.graph import EDGES, Graph
from metanet.zoo.layout import Layout
from metanet.zoo.wiring import wire


class Residual(nn.Module):
    """Fully connected, with a block that adds its input and one that adds a shortcut."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(3, 6)
        self.block1, self.block2 = nn.Module(), nn.Module()
        self.block1.a, self.block1.b = nn.Linear(6, 4), nn.Linear(4, 6)
        self.block2.a, self.block2.b, self.block2.skip = nn.Linear(6, 7), nn.Linear(7, 5), nn.Linear(6, 5, bias=False)
        self.last = nn.Linear(5, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x)
        x = x + self.block1.b(self.block1.a(x).tanh())
        x = self.block2.skip(x) + self.block2.b(self.block2.a(x).tanh())
        return self.last(x)


def test_passing_messages_along_the_edges_is_the_forward_pass() -> None:
    net = Residual().double()
    layout = Layout.from_module(net)
    vector = np.concatenate([t.numpy().ravel() for t in net.state_dict().values()])
    graph = Graph.of(layout)
    bent = {wiring.writes for wiring in wire(layout).edges if wiring.tensor.layer in ("block1.a", "block2.a")}
    values = np.concatenate([vector, [0.0]])
    biases, weights = values[graph.node_positions[:, 0]], values[graph.edge_positions[:, 0]]
    weights[graph.kinds == EDGES.index("added")] = 1
    x = np.random.default_rng(0).standard_normal(3)
    state = np.zeros(len(graph.stages))
    state[graph.roles == 0] = x
    order = [1, 2, 3, 4, 6, 5, 7]  # the shortcut before what it is added to
    for stage in order:
        own = graph.edge_stages == stage
        state += np.bincount(graph.edges[1][own], weights[own] * state[graph.edges[0][own]], len(state))
        nodes = graph.stages == stage
        state[nodes] += biases[nodes]
        if stage in bent:
            state[nodes] = np.tanh(state[nodes])
    with torch.inference_mode():
        expected = net(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(state[graph.roles == 2], expected, rtol=1e-12)


def test_every_value_of_the_vector_lies_in_the_graph_once() -> None:
    for layout in (
        NWSNetwork((16, 16, 3), filter_size=3, conv_depth=4, fc_depth=3, conv_width=2, fc_width=8).layout,
        Layout.from_module(ResNetMini(1, 4, 2, 10, 0.0)),
        Layout.from_module(nn.Sequential(nn.Conv2d(2, 4, 3), nn.Conv2d(4, 4, 3, groups=4), nn.Flatten(), nn.Linear(16, 3))),
    ):
        graph = Graph.of(layout)
        places = np.concatenate([graph.node_positions.ravel(), graph.edge_positions.ravel()])
        assert sorted(places[places >= 0]) == list(range(layout.size))
        assert (np.diff(graph.edges[1]) >= 0).all()


def test_other_orders_of_neurons_give_the_same_graph() -> None:
    """A graph is alike if its neurons are: here by what each carries, its edges in and its edges out, as sorted lists."""
    layout = NWSNetwork((16, 16, 3), filter_size=3, conv_depth=3, fc_depth=2, conv_width=3, fc_width=8).layout
    wiring, graph = wire(layout), Graph.of(layout)
    weights = np.random.default_rng(0).standard_normal((1, layout.size)).astype(np.float32)
    other = weights[:, wiring.positions(wiring.draw(np.random.default_rng(1)))]

    def alike(vector: np.ndarray) -> list[tuple[float, ...]]:
        nodes, edges = graph.node_values(vector)[0], graph.edge_values(vector)[0]
        rows = []
        for i in range(len(nodes)):
            into, out = (np.sort(edges[graph.edges[k] == i], axis=0).ravel() for k in (1, 0))
            rows.append((float(graph.stages[i]), *nodes[i].tolist(), *into.tolist(), *out.tolist()))
        return sorted(rows)

    assert alike(weights) == alike(other)
    assert not np.array_equal(graph.edge_values(weights), graph.edge_values(other))


def test_data_batches_by_offsets() -> None:
    from torch_geometric.data import Batch

    layouts = [Layout.from_module(nn.Sequential(nn.Linear(3, n), nn.Linear(n, 2))) for n in (4, 7)]
    data = [Graph.of(layout).data(np.arange(layout.size, dtype=np.float32)) for layout in layouts]
    batch = Batch.from_data_list(data)
    assert batch.num_nodes == 3 + 4 + 2 + 3 + 7 + 2
    assert batch.edge_index[:, 20:].min() == 9
    assert batch.edge_attr.shape == (4 * 3 + 2 * 4 + 7 * 3 + 2 * 7, 1)


def test_an_unknown_layout_names_the_tensor() -> None:
    with pytest.raises(MetanetError, match=r"'b.weight' of shape \(5, 7\) reads 7"):
        Graph.of(Layout.build([("a.weight", "a", "kernel", (4, 3)), ("b.weight", "b", "kernel", (5, 7))]))
