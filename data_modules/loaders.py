"""Batches of networks for training loops of one's own: flat vectors, named tensors, tokens or graphs.

``metanet.batches(view, "graph", batch_size=32, seed=0)`` goes over the view once, in another order each time it
is iterated.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from metanet.constraints import Count, check
from metanet.errors import MetanetError, did_you_mean
from metanet.representations.graph import Graph
from metanet.representations.tokens import WIDTH, Tokens
from metanet.zoo.layout import Layout

if TYPE_CHECKING:
    from metanet.zoo.zoo import View

KINDS = ("flat", "tensors", "tokens", "graph")


@dataclass(frozen=True)
class LoadedBatch:
    """Some networks.

    Attributes:
        index: their positions in the view, (B,).
        inputs: ``flat``: weights (B, D). ``tensors``: name -> (B, *shape). ``tokens``: values (B, T, W), facts (B, T, 5) as
            in :class:`metanet.representations.tokens.Tokens`, and a mask (B, T) that is False where a smaller network has
            no token. ``graph``: a torch_geometric ``Data`` of all of them, with ``batch`` and ``ptr``.
        layout: of all of them; None where a batch mixes architectures (tokens and graphs).
    """

    index: np.ndarray
    inputs: Any
    layout: Layout | None


def batches(
    view: View, kind: str, batch_size: int = 64, seed: int | None = None, on_device: bool = False, width: int = WIDTH
) -> Loader:
    """Batches of a view for a training loop of one's own.

    Args:
        kind: ``flat``, ``tensors``, ``tokens`` (one for each neuron) or ``graph``.
        seed: of the order; None for the view's own.
        on_device: put batches on the CUDA device where there is one.
        width: of tokens.

    Raises:
        MetanetError: an unknown kind, or a batch size that is no whole number from 1 up.

    Examples:
        >>> import metanet
        >>> import numpy as np
        >>> import pandas as pd
        >>> layout = metanet.Layout.build([("fc.weight", "fc", "kernel", (2, 3)), ("fc.bias", "fc", "bias", (2,))])
        >>> weights = np.random.default_rng(0).standard_normal((40, layout.size))
        >>> zoo = metanet.zoo_from_arrays(weights, layout, pd.DataFrame({"test_accuracy": np.linspace(0, 1, 40)}), name="mine")
        >>> [(batch.inputs.shape, len(batch.index)) for batch in metanet.batches(zoo.view(), "flat", batch_size=32)]
        [(torch.Size([32, 8]), 32), (torch.Size([8, 8]), 8)]
    """
    return Loader(view, kind, batch_size, seed, on_device, width)


class Loader:
    """Batches of a view; ``flat`` and ``tensors`` hold one architecture each, ``tokens`` and ``graph`` any.

    Args:
        kind: one of :data:`KINDS`.
        seed: of the order; None for the view's own.
        on_device: put batches on the CUDA device where there is one.
        width: of tokens.

    Raises:
        MetanetError: there is no such kind of batch.
    """

    def __init__(
        self,
        view: View,
        kind: str,
        batch_size: int = 64,
        seed: int | None = None,
        on_device: bool = False,
        width: int = WIDTH,
    ) -> None:
        if kind not in KINDS:
            raise MetanetError(f"no loader of '{kind}'{did_you_mean(kind, KINDS)}; there are {', '.join(KINDS)}")
        check("batch_size", batch_size, Count)
        check("width", width, Count)
        self.view, self.kind, self.batch_size, self.width = view, kind, batch_size, width
        self.rng = None if seed is None else np.random.default_rng(seed)
        self.device = torch.device("cuda" if on_device and torch.cuda.is_available() else "cpu")
        self.layout_ids = view.frame["layout_id"].to_numpy(dtype=object)
        self._graphs: dict[str, Graph] = {}
        self._tokens: dict[str, Tokens] = {}

    def __len__(self) -> int:
        counts = [len(self.view)]
        if self.kind in ("flat", "tensors"):
            counts = list(np.unique(self.layout_ids.astype(str), return_counts=True)[1])
        return sum(-(-int(count) // self.batch_size) for count in counts)

    def __iter__(self) -> Iterator[LoadedBatch]:
        order = np.arange(len(self.view)) if self.rng is None else self.rng.permutation(len(self.view))
        if self.kind in ("flat", "tensors"):
            groups = [order[self.layout_ids[order] == i] for i in dict.fromkeys(self.layout_ids[order].tolist())]
        else:
            groups = [order]
        batches = [group[start : start + self.batch_size] for group in groups for start in range(0, len(group), self.batch_size)]
        if self.rng is not None:
            batches = [batches[i] for i in self.rng.permutation(len(batches))]
        for index in batches:
            yield self._load(index)

    def _load(self, index: np.ndarray) -> LoadedBatch:
        layouts = [self.view.zoo.layouts[i] for i in dict.fromkeys(self.layout_ids[index].tolist())]
        layout = layouts[0] if len(layouts) == 1 else None
        if self.kind in ("flat", "tensors"):
            assert layout is not None
            weights = torch.from_numpy(np.array(self.view.take(index).weights())).to(self.device)
            return LoadedBatch(index, weights if self.kind == "flat" else layout.unflatten(weights), layout)
        vectors = list(self.view.take(index).vectors())
        own = [self.view.zoo.layouts[i] for i in self.layout_ids[index]]
        inputs = self._token_batch(vectors, own) if self.kind == "tokens" else self._graph_batch(vectors, own)
        return LoadedBatch(index, inputs, layout)

    def _token_batch(self, vectors: list[np.ndarray], layouts: list[Layout]) -> tuple[Tensor, Tensor, Tensor]:
        for layout in layouts:
            if layout.id not in self._tokens:
                self._tokens[layout.id] = Tokens.of(layout, self.width)
        tokens = [self._tokens[layout.id] for layout in layouts]
        most = max(len(t.facts) for t in tokens)
        values = np.zeros((len(vectors), most, self.width), np.float32)
        facts = np.zeros((len(vectors), most, tokens[0].facts.shape[1]), np.int64)
        mask = np.zeros((len(vectors), most), bool)
        for i, (vector, own) in enumerate(zip(vectors, tokens, strict=True)):
            count = len(own.facts)
            values[i, :count], facts[i, :count], mask[i, :count] = own.values(np.asarray(vector)[None])[0], own.facts, True
        first, second, third = (torch.from_numpy(a).to(self.device) for a in (values, facts, mask))
        return first, second, third

    def _graph_batch(self, vectors: list[np.ndarray], layouts: list[Layout]) -> Any:
        """All graphs side by side; what does not depend on the weights is built once an architecture."""
        from torch_geometric.data import Data

        for layout in layouts:
            if layout.id not in self._graphs:
                self._graphs[layout.id] = Graph.of(layout)
        graphs = [self._graphs[layout.id] for layout in layouts]
        taps = max(g.edge_positions.shape[1] for g in graphs)
        sizes = np.array([len(g.stages) for g in graphs])
        ptr = np.concatenate([[0], np.cumsum(sizes)])
        rows = [np.asarray(vector)[None] for vector in vectors]
        edges = [
            np.pad(g.edge_values(r)[0], ((0, 0), (0, taps - g.edge_positions.shape[1])))
            for g, r in zip(graphs, rows, strict=True)
        ]
        parts = {
            "x": np.concatenate([g.node_values(r)[0] for g, r in zip(graphs, rows, strict=True)]),
            "edge_index": np.concatenate([g.edges + start for g, start in zip(graphs, ptr, strict=False)], 1),
            "edge_attr": np.concatenate(edges),
            "stage": np.concatenate([g.stages for g in graphs]),
            "role": np.concatenate([g.roles for g in graphs]),
            "place": np.concatenate([g.places for g in graphs]),
            "kind": np.concatenate([g.kinds for g in graphs]),
            "batch": np.repeat(np.arange(len(graphs)), sizes),
            "ptr": ptr,
        }
        return Data(**{name: torch.from_numpy(values).to(self.device) for name, values in parts.items()})
