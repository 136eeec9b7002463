"""Leaderboards: one row a fitted meta-model, best first."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pandas as pd

from metanet.errors import MetanetError

_OF_FLOOR = (("r2", ""), ("r2_beyond", ""), ("r2_minus", "_low"), ("r2_minus", "_high"))
COLUMNS = [
    "model",
    "features",
    "settings",
    "access",
    "target",
    "n_train",
    "n_test",
    "r2",
    "r2_low",
    "r2_high",
    "mse",
    "mad",
    "tau",
    "tau_ceiling",
    "r2_trained",
    "tau_trained",
    "r2_hyper",
    "r2_beyond_hyper",
    "r2_minus_hyper_low",
    "r2_minus_hyper_high",
    "tau_hyper",
    "tau_minus_hyper_low",
    "tau_minus_hyper_high",
    *(f"{key}_{floor}{end}" for floor in ("so_far", "so_far_hyper") for key, end in _OF_FLOOR),
    "floor",
    *(f"{key}_floor{end}" for key, end in _OF_FLOOR),
    "accuracy",
    "accuracy_low",
    "accuracy_high",
    "accuracy_hyper",
    "accuracy_minus_hyper_low",
    "accuracy_minus_hyper_high",
    "accuracy_floor",
    "accuracy_minus_floor_low",
    "accuracy_minus_floor_high",
    "balanced_accuracy",
    "chance",
    "seconds",
]


def leaderboard(rows: Iterable[dict[str, Any]]) -> pd.DataFrame:
    """Metrics of fits -> a table sorted by target, then by r2 or accuracy, the best first.

    Columns that no row fills are left out. ``settings`` are those in which a row differs from others of its model.

    Raises:
        MetanetError: there is no row.
    """
    table = pd.DataFrame(list(rows))
    if table.empty:
        raise MetanetError("no run was given, so there is nothing to compare")
    extra = [c for c in ("zoo", "seed", "split.seed", "run") if c in table]
    table = table.reindex(columns=[*COLUMNS, *extra]).dropna(axis=1, how="all")
    measures = [c for c in ("r2", "accuracy") if c in table]
    return table.sort_values(["target", *measures], ascending=[True, *[False] * len(measures)], ignore_index=True)
