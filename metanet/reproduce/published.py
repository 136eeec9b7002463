"""What others score on the Small CNN Zoo, to stand beside our own scores: ``published.csv``.

R2 of the best configurations released with Unterthiner et al. 2020, in cross-validation on 15,000 training networks a
collection (the figures of the paper's own Table 2 are not machine-readable), and Kendall's tau of later papers.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pandas as pd

SOURCE = "released best configurations, R2 in cross-validation on 15,000 training networks"

ESTIMATORS = ("gbm", "dnn", "logit_linear")

# The smallest Kendall tau of the paper's transfer matrix (Table 3): from SVHN-GS to MNIST.
SMALLEST_TRANSFER_TAU = 0.6


@cache
def published() -> pd.DataFrame:
    """All figures: source, collection, model, features, measure (r2 or tau), value."""
    return pd.read_csv(Path(__file__).with_name("published.csv"))


def published_of(collection: str) -> pd.DataFrame:
    """The figures of one image set, the best of each measure first; empty where there are none."""
    rows = published()
    own = rows[rows["collection"] == collection].drop(columns="collection")
    return own.sort_values(["measure", "value"], ascending=[True, False], ignore_index=True)


def published_sets() -> list[str]:
    """Image sets that there are figures of."""
    return sorted(published()["collection"].unique())


def released_r2(collection: str, estimator: str, features: str) -> float | None:
    """R2 of a released configuration; None where there is none."""
    rows = published()
    found = rows[
        (rows["measure"] == "r2")
        & (rows["collection"] == collection)
        & (rows["model"] == estimator)
        & (rows["features"] == features)
    ]
    return None if found.empty else float(found["value"].iloc[0])
