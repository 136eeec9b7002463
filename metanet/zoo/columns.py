"""The kinds of a zoo's columns: as its header declares them, and where it does not, as their values are.

What was inferred is written down with the zoo, so that it is inferred once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pandas as pd

from metanet.errors import MetanetError, did_you_mean
from metanet.zoo.header import check_kinds

# Where weights lie, and keys: columns that no fit reads.
PLACES = frozenset({"shard", "offset", "length", "crc32", "row"})
KEYS = frozenset({"network_id", "layout_id", "status", "configuration"})


def default_kind(column: pd.Series) -> str:
    """``category`` of text and truth values, ``share`` of what is called accuracy and is one, else ``number``."""
    if pd.api.types.is_bool_dtype(column) or not pd.api.types.is_numeric_dtype(column):
        return "category"
    known = column.dropna()
    return "share" if str(column.name).endswith("accuracy") and known.between(0, 1).all() else "number"


def column_kinds(networks: pd.DataFrame, snapshots: pd.DataFrame, declared: Mapping[str, str]) -> dict[str, str]:
    """The kind of every column that can be predicted: hyperparameters and what was measured.

    Args:
        networks, snapshots: the tables of a zoo.
        declared: kinds that are known; those of columns that are not there are left out.
    """
    return {str(c.name): declared.get(str(c.name)) or default_kind(c) for c in _columns(networks, snapshots)}


def check_columns(networks: pd.DataFrame, snapshots: pd.DataFrame, declared: Mapping[str, str]) -> None:
    """Refuse kinds that somebody gave by hand and that columns cannot have.

    Raises:
        MetanetError: an unknown kind or column; text that should be numbers, values above 1 or below 0 that should be shares,
            or values not above 0 that should be read in log10.
    """
    check_kinds(declared)
    found = {str(c.name): c for c in _columns(networks, snapshots)}
    for name, kind in declared.items():
        if name not in found:
            raise MetanetError(f"columns={{'{name}': '{kind}'}}: there is no such column{did_you_mean(name, found)}")
        column = found[name].dropna()
        if kind == "category" or column.empty:
            continue
        if pd.api.types.is_bool_dtype(column) or not pd.api.types.is_numeric_dtype(column):
            raise MetanetError(
                f"column '{name}' holds '{column.iloc[0]}', which is no number, so it cannot be a {kind}; say category"
            )
        if kind == "share" and not column.between(0, 1).all():
            raise MetanetError(f"column '{name}' has values up to {column.max():g}, so it is no share from 0 to 1; say number")
        if kind == "log" and not (column > 0).all():
            raise MetanetError(f"column '{name}' has values down to {column.min():g}, which have no logarithm; say number")


def _columns(networks: pd.DataFrame, snapshots: pd.DataFrame) -> Iterator[pd.Series]:
    yield from (networks[c] for c in networks if str(c).startswith("hp."))
    yield from (snapshots[c] for c in snapshots if c not in PLACES | KEYS)
