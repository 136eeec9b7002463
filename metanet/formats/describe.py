"""What any checkpoint holds: one row of statistics a tensor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from metanet.errors import MetanetError
from metanet.formats.checkpoint import Tensors, read_checkpoint
from metanet.representations.statistics import STATISTICS, segment_statistics


def describe(source: Any) -> pd.DataFrame:
    """Statistics of each floating tensor of a network.

    Args:
        source: a file that :func:`metanet.formats.checkpoint.read_checkpoint` reads, an ``nn.Module`` or a state_dict.

    Returns:
        Columns tensor, shape, values, the seven statistics of :mod:`metanet.representations.statistics` (of float64 in
        float64; nan where a value is nan) and not_finite, the number of values that are nan or infinite; one row a tensor.
        Its ``attrs["left_out"]`` says in a line which tensors have no row and why, or is None.

    Raises:
        MetanetError: the file cannot be read safely, or holds no tensor of numbers.

    Examples:
        >>> import metanet
        >>> import torch
        >>> table = metanet.describe({"fc.weight": torch.tensor([[1.0, 2.0], [3.0, 4.0]])})
        >>> table.loc[0, "shape"], float(table.loc[0, "mean"])
        ('2x2', 2.5)
    """
    found = tensors_of(source)
    rows = [_row(name, array) for name, array in found.arrays.items() if array.size]
    if not rows:
        what = f"'{source}' holds" if isinstance(source, str | Path) else "there is"
        raise MetanetError(f"{what} no tensor of floating numbers{f'; {found.note}' if found.note else ''}")
    table = pd.DataFrame(rows)
    table.attrs["left_out"] = found.note
    return table


def tensors_of(source: Any) -> Tensors:
    """The tensors of a file, a module or a state_dict.

    Raises:
        MetanetError: the file cannot be read safely, or the source is none of these.
    """
    if isinstance(source, str | Path):
        return read_checkpoint(Path(source))
    state = source.state_dict() if hasattr(source, "state_dict") else source
    if not hasattr(state, "items"):
        raise MetanetError(f"a {type(source).__name__} is neither a file, nor a module, nor a state_dict")
    return Tensors.of(state)


def _row(name: str, array: np.ndarray) -> dict[str, Any]:
    wrong = int(array.size - np.isfinite(array).sum())
    plain = not wrong and array.dtype != np.float64
    numbers = segment_statistics(array.reshape(1, -1), [(0, array.size)])[0] if plain else _exactly(array)
    facts = {"tensor": name, "shape": "x".join(map(str, array.shape)) or "1", "values": array.size}
    return facts | dict(zip(STATISTICS, numbers, strict=True)) | {"not_finite": wrong}


def _exactly(array: np.ndarray) -> list[float]:
    """The seven statistics by numpy in float64, (7,): with a nan all are nan; with an infinity the moments are not finite."""
    values = array.astype(np.float64).ravel()
    with np.errstate(all="ignore"):
        return [values.mean(), values.var(), values.min(), *np.percentile(values, [25, 50, 75]), values.max()]
