"""What any checkpoint holds: one row of statistics a tensor."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from metanet.errors import MetanetError
from metanet.representations.statistics import STATISTICS, segment_statistics


def describe(source: Any) -> pd.DataFrame:
    """Statistics of each floating tensor of a network.

    Args:
        source: a .safetensors file, a .pt file that holds tensors alone, an ``nn.Module`` or a state_dict.

    Returns:
        Columns tensor, shape, values, and the seven statistics of
        :mod:`metanet.representations.statistics`; one row a tensor.
    """
    if isinstance(source, str | Path):
        state: Any = read_checkpoint(Path(source))
    else:
        state = source.state_dict() if hasattr(source, "state_dict") else source
    rows = []
    for name, value in state.items():
        if hasattr(value, "is_floating_point") and not value.is_floating_point():
            continue
        array = np.asarray(value.detach().float().cpu() if hasattr(value, "detach") else value, np.float32)
        if array.size:
            numbers = segment_statistics(array.reshape(1, -1), [(0, array.size)])[0]
            shape = "x".join(map(str, array.shape)) or "1"
            rows.append(
                {"tensor": str(name), "shape": shape, "values": array.size, **dict(zip(STATISTICS, numbers, strict=True))}
            )
    if not rows:
        raise MetanetError(f"'{source}' holds no tensor of numbers" if isinstance(source, str | Path) else "no tensor was given")
    return pd.DataFrame(rows)


def read_checkpoint(path: Path) -> Mapping[str, Any]:
    """Named tensors of a checkpoint; nothing but tensors is ever unpickled."""
    state: Any
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            state = load_file(path)
        else:
            import torch

            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # each format has its own errors; all mean the same to the reader
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise MetanetError(
            f"'{path}' is no checkpoint that can be read safely (.safetensors or a state_dict): {reason}"
        ) from None
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]
    if not isinstance(state, dict):
        raise MetanetError(f"'{path}' holds a {type(state).__name__}, not a state_dict")
    return {str(k): v for k, v in state.items() if hasattr(v, "is_floating_point") and v.is_floating_point()}
