"""Zoos in memory, of networks of one's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from metanet.errors import MetanetError
from metanet.zoo.columns import check_columns, column_kinds
from metanet.zoo.header import ZooHeader
from metanet.zoo.layout import Layout
from metanet.zoo.zoo import Zoo


def zoo_from_arrays(
    weights: np.ndarray | Sequence[np.ndarray],
    layout: Layout | Sequence[Layout],
    frame: pd.DataFrame,
    name: str = "arrays",
    header: ZooHeader | Mapping[str, Any] | None = None,
    columns: Mapping[str, str] | None = None,
) -> Zoo:
    """A zoo in memory from your own networks.

    Args:
        weights: float array of shape (N, D), or N vectors of any lengths.
        layout: what the positions are; one for all, or one for each vector.
        frame: N rows of columns to predict or to filter by (``test_accuracy``, ``hp.optimizer`` ...).
            ``network_id`` and ``epoch`` are made where they are missing; ``configuration`` says which networks are seeds of
            one, and no split parts these.
        header: that of another zoo, or more facts with the names of ``zoo.json``: with ``recipe`` and ``data`` (``shape`` and
            ``classes``) networks can be run.
        columns: the kind of each column that is not plainly a number, such as ``{"hp.learning_rate": "log"}``, see
            :class:`metanet.zoo.build.ZooBuilder`.

    Raises:
        MetanetError: numbers of vectors, layouts and rows differ; a vector does not fit its layout; a column is not of its kind.

    Examples:
        >>> import metanet
        >>> import numpy as np
        >>> import pandas as pd
        >>> layout = metanet.Layout.build([("fc.weight", "fc", "kernel", (2, 3)), ("fc.bias", "fc", "bias", (2,))])
        >>> weights = np.random.default_rng(0).standard_normal((40, layout.size))
        >>> zoo = metanet.zoo_from_arrays(weights, layout, pd.DataFrame({"test_accuracy": np.linspace(0, 1, 40)}), name="mine")
        >>> zoo
        Zoo('mine': 40 networks, 40 snapshots)
    """
    vectors = [np.ascontiguousarray(w, np.float32) for w in weights]
    layouts = [layout] * len(vectors) if isinstance(layout, Layout) else list(layout)
    if not len(vectors) == len(frame) == len(layouts):
        raise MetanetError(f"{len(vectors)} weight vectors, {len(layouts)} layouts and {len(frame)} rows do not match")
    for i, (vector, own) in enumerate(zip(vectors, layouts, strict=True)):
        if vector.shape != (own.size,):
            raise MetanetError(f"vector {i} has shape {vector.shape}, its layout has {own.size} values")
    frame = frame.reset_index(drop=True)
    if "network_id" not in frame:
        frame = frame.assign(network_id=[f"{i:06d}" for i in range(len(frame))])
    frame = frame.assign(
        network_id=frame["network_id"].astype(str),
        epoch=frame.get("epoch", 0),
        layout_id=[own.id for own in layouts],
        status=frame.get("status", "ok"),
    )
    lengths = np.array([len(v) for v in vectors], np.int64)
    of_network = [c for c in frame if c.startswith("hp.") or c in ("network_id", "layout_id", "status", "configuration")]
    networks = frame[of_network].drop_duplicates("network_id").reset_index(drop=True)
    snapshots = frame[[c for c in frame if c == "network_id" or c not in of_network]].assign(
        shard=0, offset=np.cumsum(lengths) - lengths, length=lengths
    )
    flat = np.concatenate(vectors) if vectors else np.empty(0, np.float32)
    known = ZooHeader.of(header)
    check_columns(networks, snapshots, columns or {})
    kinds = column_kinds(networks, snapshots, known.columns | dict(columns or {}))
    own_layouts = {own.id: own for own in layouts}
    return Zoo(name, replace(known, columns=kinds), own_layouts, networks, snapshots, shards=[flat])
