"""What a ``metrics.csv.gz`` of the Small CNN Zoo must be, and how resumed, crashed or edited ones differ from it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

import numpy as np
import pandas as pd

from metanet.errors import MetanetError

ROUNDING = 1e-6  # by which a share may miss 0 or 1


def checked_metrics(table: pd.DataFrame, hyperparameters: Sequence[str], numbers: Sequence[str]) -> pd.DataFrame:
    """A copy with whole steps and numbers as numbers, rows as they were.

    Args:
        table: rows 0, 1, ... with columns modeldir (the run), step, ``config.*`` and metrics.
        hyperparameters: columns that one run has one value of.
        numbers: columns that hold numbers, or nothing; those named ``*_accuracy`` shares from 0 to 1.

    Raises:
        MetanetError: names the first row that is wrong, counted from 1 as a reader of the file counts.
    """
    table = table.copy()
    _check(table, table["modeldir"].isna(), "modeldir is empty, so its run is not known")
    for column in ("step", *numbers):
        values = pd.to_numeric(table[column], errors="coerce")
        _check(table, values.isna() & table[column].notna(), f"{column}='{{{column}}}' is no number")
        table[column] = values
    steps = table["step"]
    _check(table, ~(np.isfinite(steps) & (steps >= 0) & (steps == np.floor(steps))), "step={step} is no whole number from 0 up")
    table["step"] = steps.astype(np.int64)
    _check(table, table.duplicated(["modeldir", "step"]), "run '{modeldir}' has a row of step {step} already")
    for column in numbers:
        if column.endswith("_accuracy"):
            outside = (table[column] < -ROUNDING) | (table[column] > 1 + ROUNDING)
            _check(table, outside, f"{column}={{{column}}}, but shares from 0 to 1 are expected; divide percent by 100")
            table[column] = table[column].clip(0, 1)
    for column in hyperparameters:
        first = table.groupby("modeldir")[column].transform("first")
        differs = (table[column] != first) & ~(table[column].isna() & first.isna())
        _check(table, differs, f"run '{{modeldir}}' has {column}={{{column}}} here and another value before")
    return table


def _check(table: pd.DataFrame, wrong: pd.Series, says: str) -> None:
    if wrong.any():
        _refuse(table, int(np.flatnonzero(wrong)[0]), int(wrong.sum()), says)


def _refuse(table: pd.DataFrame, row: int, count: int, says: str) -> NoReturn:
    values = {column: table[column].iloc[row] for column in table}
    for column, value in values.items():
        says = says.replace(f"{{{column}}}", str(value))
    more = f" (and {count - 1} rows more)" if count > 1 else ""
    raise MetanetError(f"metrics.csv.gz, row {row + 1}: {says}{more}")
