"""Leaderboards: one row a fitted meta-model, best first."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from metanet.errors import MetanetError
from metanet.runs.folder import read_metrics

COLUMNS = [
    "model",
    "features",
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
    "r2_beyond_hyper",
    "r2_minus_hyper_low",
    "r2_minus_hyper_high",
    "accuracy",
    "accuracy_low",
    "accuracy_high",
    "accuracy_minus_hyper_low",
    "accuracy_minus_hyper_high",
    "balanced_accuracy",
    "chance",
    "seconds",
]


def leaderboard(rows: Iterable[dict[str, Any]]) -> pd.DataFrame:
    """Metrics of fits -> a table sorted by target, then by r2 or accuracy, the best first.

    Columns that no row fills are left out.
    """
    table = pd.DataFrame(list(rows))
    if table.empty:
        raise MetanetError("no run was given, so there is nothing to compare")
    extra = [c for c in ("zoo", "seed", "run") if c in table]
    table = table.reindex(columns=[*COLUMNS, *extra]).dropna(axis=1, how="all")
    measures = [c for c in ("r2", "accuracy") if c in table]
    return table.sort_values(["target", *measures], ascending=[True, *[False] * len(measures)], ignore_index=True)


def spread(table: pd.DataFrame) -> pd.DataFrame:
    """Mean and standard deviation over seeds and splits: one row a model, features and target."""
    measures = [m for m in ("r2", "tau", "r2_beyond_hyper", "accuracy", "balanced_accuracy") if m in table]
    groups = table.groupby(["target", "model", "features", "access"], sort=False)
    columns = {"runs": groups.size()}
    for measure in measures:
        columns |= {measure: groups[measure].mean(), f"{measure}_sd": groups[measure].std()}
    by = measures[0]
    return pd.DataFrame(columns).reset_index().sort_values(["target", by], ascending=[True, False], ignore_index=True)


def compare_runs(folders: Iterable[str | Path]) -> pd.DataFrame:
    """The leaderboard of run folders; a folder of runs stands for the runs below it."""
    rows = []
    for given in folders:
        folder = Path(given).expanduser()
        found = [folder] if (folder / "metrics.json").exists() else sorted(p.parent for p in folder.glob("**/metrics.json"))
        if not found:
            read_metrics(folder)  # says what is missing
        rows += [read_metrics(run) | {"run": str(run)} for run in found]
    return leaderboard([row for row in rows if "model" in row])
