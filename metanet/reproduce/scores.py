"""Scores of predictions with their intervals, as all exhibits count them (:mod:`metanet.evaluation.differences`).

A table of answers has one row a network: network_id, unit (of resampling), true, predicted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from metanet.evaluation.differences import answers_of, paired_interval
from metanet.evaluation.intervals import score_interval
from metanet.evaluation.resampling import score_of
from metanet.zoo.zoo import View


def answers(view: View, predicted: np.ndarray, target: str = "test_accuracy") -> pd.DataFrame:
    """What a model says of the networks of a view, beside what is true."""
    columns = {"network_id": view.network_ids.astype(str), "unit": view.units, "true": view.target(target)}
    return pd.DataFrame(columns | {"predicted": predicted})


def floor_answers(test: pd.DataFrame, name: str) -> pd.DataFrame | None:
    """The answers of a floor that a run's test predictions stand beside; None where it has none of that name."""
    return test.assign(predicted=test[f"{name}_floor"]) if f"{name}_floor" in test else None


def mean_score(tables: Sequence[pd.DataFrame], measure: str) -> tuple[float, float, float]:
    """The mean of r2 or tau over several tables of answers with its 95 % interval over networks."""
    found = [answers_of(table) for table in tables]
    return float(np.mean([score_of(a, measure) for a in found])), *score_interval(found, measure)


def gain(pairs: Sequence[tuple[pd.DataFrame, pd.DataFrame]], measure: str, name: str) -> dict[str, Any]:
    """How far the first of each pair is above the other: the interval in words as ``name``, its ends as name_low, name_high.

    What the pairs' splits and seeds add widens it; a pair alone says nothing of these.
    """
    answered = [(answers_of(one), answers_of(other)) for one, other in pairs]
    low, high = paired_interval(answered, measure)[:2] if answered else (np.nan, np.nan)
    return {name: interval(low, high), f"{name}_low": low, f"{name}_high": high}


def interval(low: float, high: float) -> str:
    """``+0.010 to +0.020``."""
    return f"{low:+.3f} to {high:+.3f}" if np.isfinite([low, high]).all() else "-"


def without_ends(table: pd.DataFrame) -> pd.DataFrame:
    """A table without the numeric ends of its intervals, which stand in words too."""
    return table.drop(columns=[c for c in table if str(c).endswith(("_low", "_high"))])
