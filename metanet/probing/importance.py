"""Which inputs a GBM's trees split on (Unterthiner et al. 2020, Supplement B, Fig. 5)."""

from __future__ import annotations

import re

import pandas as pd

from metanet.models.gbm import GBM


def importance(model: GBM) -> pd.DataFrame:
    """How often each input was split on: columns input (the paper's short name), feature, splits; the most used first."""
    counts = model.booster.feature_importance(importance_type="split")
    layers: dict[str, int] = {}
    names = [short_name(feature, layers) for feature in model.map.names]
    table = pd.DataFrame({"input": names, "feature": model.map.names, "splits": counts})
    return table.sort_values("splits", ascending=False, kind="stable", ignore_index=True)


def short_name(feature: str, layers: dict[str, int]) -> str:
    """``dense.bias[7]`` -> ``L4-B7``, ``conv1.kernel[123]`` -> ``L1-W123``, ``conv1.kernel.q25`` -> ``L1-W-q25``.

    Args:
        layers: numbers of the layers seen so far, filled in order of appearance.
    """
    match = re.fullmatch(r"(.+)\.(kernel|bias)(?:\[(\d+)\]|\.(\w+))", feature)
    if match is None:
        return feature
    number = layers.setdefault(match[1], len(layers) + 1)
    kind = "W" if match[2] == "kernel" else "B"
    return f"L{number}-{kind}{match[3]}" if match[3] is not None else f"L{number}-{kind}-{match[4]}"


def importance_by_tensor(table: pd.DataFrame) -> pd.DataFrame:
    """Splits of each layer's kernel and bias together, and for each of their inputs: tensor, inputs, splits, per_input."""
    tensor = table["input"].str.extract(r"(L\d+-[WB])", expand=False).fillna("other")
    groups = table.groupby(tensor)["splits"]
    summed = pd.DataFrame({"inputs": groups.size(), "splits": groups.sum()})
    summed["per_input"] = summed["splits"] / summed["inputs"]
    return summed.rename_axis("tensor").reset_index()
