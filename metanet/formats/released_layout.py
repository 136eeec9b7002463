"""The order in which the Small CNN Zoo was released: ``layout.csv``, and where each of our values lies in it."""

from __future__ import annotations

import io
import re

import numpy as np
import pandas as pd

from metanet.errors import MetanetError
from metanet.zoo.layout import Layout


def released_order(layout: Layout) -> np.ndarray:
    """For each position of a released vector, the position in ours, int64 (D,).

    Raises:
        MetanetError: a layer is none of a small CNN.
    """
    by_layer = {layer: {t.kind: t for t in layout.select([layer])} for layer in layout.layers}
    parts = []
    for layer, tensors in by_layer.items():
        if set(tensors) != {"kernel", "bias"} or len(tensors["kernel"].shape) != (2 if layer == layout.layers[-1] else 4):
            raise MetanetError(
                f"layer '{layer}' is none of a small CNN (convolutions and one dense layer, each with kernel and bias); "
                "format=small_cnn_zoo holds only those"
            )
        positions = layout.unflatten(np.arange(layout.size))
        kernel = positions[tensors["kernel"].name]
        parts += [positions[tensors["bias"].name], kernel.transpose((2, 3, 1, 0) if kernel.ndim == 4 else (1, 0)).ravel()]
    return np.concatenate(parts)


def layout_table(layout: Layout) -> pd.DataFrame:
    """``layout.csv`` of a small CNN."""
    rows, start = [], 0
    for i, layer in enumerate(layout.layers):
        kernel = next(t for t in layout.select([layer]) if t.kind == "kernel")
        convolution = len(kernel.shape) == 4
        name = "dense" if not convolution else "conv2d" if i == 0 else f"conv2d_{i}"
        released = tuple(kernel.shape[a] for a in ((2, 3, 1, 0) if convolution else (1, 0)))
        for variable, shape in (("bias", kernel.shape[:1]), ("kernel", released)):
            size = int(np.prod(shape))
            rows.append((f"sequential/{name}/{variable}:0", start, start + size, size, str(tuple(int(s) for s in shape))))
            start += size
    return pd.DataFrame(rows, columns=["varname", "start_idx", "end_idx", "size", "shape"])


def parse_layout(text: str) -> Layout:
    """A released ``layout.csv``; layers are called conv1 ... and dense, tensors come out as in PyTorch.

    Raises:
        MetanetError: the table does not fit together.
    """
    try:
        table = pd.read_csv(io.StringIO(text))
        rows = [
            (str(r.varname), int(r.start_idx), int(r.end_idx), str(r.shape_))
            for r in table.rename(columns={"shape": "shape_"}).itertuples()
        ]
    except (ValueError, AttributeError) as error:
        raise MetanetError(f"layout.csv cannot be read: {error}") from None
    parts, at = [], 0
    for varname, start, stop, written in rows:
        match = re.fullmatch(r"(?:.*/)?(conv2d|dense)(?:_(\d+))?/(kernel|bias):0", varname)
        shape = tuple(int(s) for s in re.findall(r"\d+", written))
        if match is None or start != at or int(np.prod(shape)) != stop - start:
            raise MetanetError(
                f"layout.csv: '{varname}' from {start} to {stop} of shape {written} does not fit; expected it at {at}"
            )
        layer = "dense" if match[1] == "dense" else f"conv{int(match[2] or 0) + 1}"
        axes = None
        if match[3] == "kernel":
            axes = (2, 3, 1, 0) if len(shape) == 4 else (1, 0)
            shape = tuple(shape[axes.index(i)] for i in range(len(shape)))
        parts.append((f"{layer}.{'weight' if axes else 'bias'}", layer, match[3], shape, axes))
        at = stop
    return Layout.build(parts)
