"""Multilayer perceptrons of several widths: Tables 10 and 11 of Unterthiner et al. 2020 (Supplement E)."""

from __future__ import annotations

import numpy as np
import pandas as pd

from metanet.errors import MetanetError
from metanet.evaluation.intervals import score_interval
from metanet.evaluation.metrics import tau
from metanet.evaluation.search import fold_of_networks
from metanet.models import MetaModel, create_model
from metanet.plots.style import new_axes
from metanet.plots.tables import heat_table
from metanet.reproduce.study import Exhibit, Study
from metanet.runs.records import Answers
from metanet.zoo.view import View

ROTATIONS = 5  # of the paper's 80/20 split, so that every network is tested once


def _cells(study: Study) -> dict[tuple[str, int], View]:
    """The networks of each data set and width; a zoo's name stands for its data set where two zoos share that."""
    zoos = study.zoos("mlp")
    data = [study.data(zoo) for zoo in zoos]
    cells = {}
    for zoo in zoos:
        view, label = study.zoo(zoo).view(), study.data(zoo) if data.count(study.data(zoo)) == 1 else zoo
        for width in sorted(view.frame["hp.num_units"].unique()):
            cells[label, int(width)] = own = view.where(f"hp.num_units == {width}")
            if len(own) < 2 * ROTATIONS:
                raise MetanetError(
                    f"{zoo} has {len(own)} networks of width {width}; {2 * ROTATIONS} are needed to rotate the split"
                )
    return cells


def _forest(view: View, study: Study) -> MetaModel:
    return create_model("random_forest", features="stats", seed=study.seed, threads=study.threads).fit(view)


def _rotated(view: View, study: Study) -> tuple[np.ndarray, MetaModel]:
    """Predictions for each network by a forest that did not see it, and the forest of the first rotation."""
    folds = fold_of_networks(view.network_ids.tolist(), ROTATIONS, study.seed)
    fold = np.array([folds[i] for i in view.network_ids])
    predicted, first = np.empty(len(view)), None
    for k in range(ROTATIONS):
        forest = _forest(view.take(np.flatnonzero(fold != k)), study)
        first = first or forest
        predicted[fold == k] = forest.predict(view.take(np.flatnonzero(fold == k)))
    assert first is not None
    return predicted, first


def within_sizes(study: Study, name: str) -> Exhibit:
    """Table 10: Kendall's tau of a random forest of 32 trees within each data set and width."""
    rows = []
    for (data, width), view in _cells(study).items():
        predicted, _ = _rotated(view, study)
        true = view.target("test_accuracy")
        low, high = score_interval([Answers(view.network_ids, true, predicted)], "tau")
        row = {"data": data, "width": width, "networks": len(view), "tau": tau(true, predicted)}
        rows.append(row | {"95 %": f"{low:.3f} to {high:.3f}"})
    table = pd.DataFrame(rows)
    figure, (ax,) = new_axes(width=4.6, height=1.6 + 0.5 * table["data"].nunique())
    heat_table(table.pivot_table(index="data", columns="width", values="tau"), ax, "Kendall's τ by width")
    note = (
        f"Random forest of 32 trees on layer statistics; 80/20 split by network, rotated {ROTATIONS} times so that every network "
        "is tested once by a forest that did not see it (the paper: one 80/20 split of 2,500 networks a width)."
    )
    return Exhibit(name, f"MLPs within a width; {', '.join(study.zoos('mlp'))}", {name: table}, {name: figure}, [note])


def across_sizes(study: Study, name: str) -> Exhibit:
    """Table 11: the same forests on all other data sets and widths."""
    cells = {f"{data}, u={width}": view for (data, width), view in _cells(study).items()}
    table = pd.DataFrame(index=pd.Index(cells, name="trained_on"), columns=list(cells), dtype=float)
    for cell, view in cells.items():
        predicted, forest = _rotated(view, study)
        for other, tested in cells.items():
            output = predicted if other == cell else forest.predict(tested)
            table.loc[cell, other] = tau(tested.target("test_accuracy"), output)
    figure, (ax,) = new_axes(width=2.5 + 0.7 * len(cells), height=1.6 + 0.4 * len(cells))
    heat_table(table, ax, "Kendall's τ, trained on rows, tested on columns")
    away = table.to_numpy()[~np.eye(len(table), dtype=bool)]
    notes = ["Diagonal: as table10. Elsewhere a forest trained on 80 % of the row's networks ranks all of the column's."]
    if len(away):
        notes.append(f"Off the diagonal: {away.min():.3f} to {away.max():.3f}, mean {away.mean():.3f}.")
    return Exhibit(
        name,
        f"MLPs across data sets and widths; {', '.join(study.zoos('mlp'))}",
        {name: table.reset_index()},
        {name: figure},
        notes,
    )
