"""Transfer: a meta-model applied unchanged to other zoos (Unterthiner et al. 2020, section 5)."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from metanet.evaluation.protocol import Floor, evaluate_on
from metanet.models.base import MetaModel
from metanet.zoo.zoo import View

COLUMNS = [
    "trained_on",
    "tested_on",
    "n_test",
    "tau",
    "tau_low",
    "tau_high",
    "tau_hyper",
    "tau_minus_hyper_low",
    "tau_minus_hyper_high",
    "r2",
    "r2_hyper",
]


def transfer_table(
    models: Mapping[str, MetaModel], floors: Mapping[tuple[str, str], MetaModel], views: Mapping[tuple[str, str], View]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Scores of every model on every zoo beside hyperparameters alone, and the predictions behind them.

    Args:
        models: by the zoo that each was trained on.
        floors: of hyperparameters alone, (trained on, tested on), applied unchanged too; not of all pairs.
        views: (trained on, tested on) -> the networks to test on; those of a model's own zoo are its test part.

    Returns:
        One row a pair with :data:`COLUMNS`, nan where there is no floor; and trained_on, tested_on, true, predicted, one row a
        network and pair.
    """
    rows, predictions = [], []
    for (trained_on, tested_on), view in views.items():
        floor = floors.get((trained_on, tested_on))
        known = {} if floor is None else {"hyper": Floor(floor, floor.predict(view))}
        result = evaluate_on(models[trained_on], view, known)
        pair = {"trained_on": trained_on, "tested_on": tested_on}
        rows.append(result.metrics | pair)
        predictions.append(result.predictions[["true", "predicted"]].assign(**pair))
    return pd.DataFrame(rows).reindex(columns=COLUMNS), pd.concat(predictions, ignore_index=True)
