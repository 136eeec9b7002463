"""Transfer: a meta-model applied unchanged to other zoos (Unterthiner et al. 2020, section 5)."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from metanet.evaluation.intervals import score_interval
from metanet.evaluation.metrics import r2, tau
from metanet.models.base import MetaModel
from metanet.runs.records import Answers
from metanet.zoo.view import View


def transfer_table(models: Mapping[str, MetaModel], views: Mapping[tuple[str, str], View]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Scores of every model on every zoo, and the predictions behind them.

    Args:
        models: by the zoo that each was trained on.
        views: (trained on, tested on) -> the networks to test on; those of a model's own zoo are its test part.

    Returns:
        One row a pair: trained_on, tested_on, n_test, tau with its 95 % interval, r2; and trained_on, tested_on, true,
        predicted, one row a network and pair.
    """
    rows, predictions = [], []
    for (trained_on, tested_on), view in views.items():
        model = models[trained_on]
        true, predicted = model.target.true(view), model.predict(view)
        low, high = score_interval([Answers(view.network_ids, true, predicted)], "tau")
        pair = {"trained_on": trained_on, "tested_on": tested_on}
        score = {"tau": tau(true, predicted), "tau_low": low, "tau_high": high, "r2": r2(true, predicted)}
        rows.append(pair | {"n_test": len(view)} | score)
        predictions.append(pd.DataFrame(pair | {"true": true, "predicted": predicted}))
    return pd.DataFrame(rows), pd.concat(predictions, ignore_index=True)
