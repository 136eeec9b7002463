"""Multilayer perceptrons of several widths: Tables 10 and 11 of Unterthiner et al. 2020 (Supplement E)."""

from __future__ import annotations

import numpy as np
import pandas as pd

from metanet.errors import MetanetError
from metanet.evaluation.intervals import score_interval
from metanet.metrics import tau
from metanet.models import MetaModel, create_model
from metanet.plots.style import new_axes
from metanet.plots.tables import heat_table
from metanet.reproduce.scores import answers, gain
from metanet.reproduce.study import Exhibit, Study, readable
from metanet.runs.records import Answers
from metanet.zoo.identity import Seen, left_out
from metanet.zoo.zoo import View

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


def _forest(view: View, study: Study, features: str) -> MetaModel:
    return create_model("random_forest", features=features, seed=study.seed, threads=study.threads).fit(view)


def _rotated(view: View, study: Study, features: str = "stats") -> tuple[np.ndarray, MetaModel, Seen]:
    """Predictions for each network by a forest that did not see it; the forest of the first rotation, and what that has seen."""
    fold = view.draw_folds(ROTATIONS, study.seed)
    predicted, first = np.empty(len(view)), None
    for k in range(ROTATIONS):
        forest = _forest(view.take(np.flatnonzero(fold != k)), study, features)
        first = first or forest
        predicted[fold == k] = forest.predict(view.take(np.flatnonzero(fold == k)))
    assert first is not None
    return predicted, first, Seen.of(view.take(np.flatnonzero(fold != 0)))


def within_sizes(study: Study, name: str) -> Exhibit:
    """Table 10: Kendall's tau of a random forest of 32 trees within each data set and width, beside hyperparameters alone."""
    rows = []
    for (data, width), view in _cells(study).items():
        predicted, _, _ = _rotated(view, study)
        true = view.target("test_accuracy")
        low, high = score_interval([Answers(view.network_ids, true, predicted, units=view.units)], "tau")
        row = {
            "data": data,
            "width": width,
            "networks": len(view),
            "tau": tau(true, predicted),
            "95 %": f"{low:.3f} to {high:.3f}",
        }
        rows.append(row | _beside_hyper(view, study, predicted))
    table = pd.DataFrame(rows)
    figure, axes = new_axes(2, width=4.6, height=1.6 + 0.5 * table["data"].nunique())
    for ax, (measure, title) in zip(axes, (("tau", "Kendall's τ by width"), ("hyper", "hyperparameters alone")), strict=True):
        heat_table(table.pivot(index="data", columns="width", values=measure), ax, title)
    notes = [
        f"Random forest of 32 trees on layer statistics; 80/20 split by network, rotated {ROTATIONS} times so that every network "
        "is tested once by a forest that did not see it (the paper: one 80/20 split of 2,500 networks a width). hyper is the "
        "floor: the same forests on all hyperparameters that vary.",
        f"Weights rank better than the floor in {(table['low'] > 0).sum()} of {len(table)} cells, worse in "
        f"{(table['high'] < 0).sum()}; in the others no difference is shown (95 %).",
    ]
    title, shown = f"MLPs within a width; {', '.join(study.zoos('mlp'))}", table.drop(columns=["low", "high"])
    return Exhibit(name, title, {name: shown}, {name: figure}, notes)


def _beside_hyper(view: View, study: Study, predicted: np.ndarray) -> dict[str, object]:
    """Tau of forests on hyperparameters alone, and the interval of the paired difference."""
    if not readable(view, "hyper"):
        return {"hyper": np.nan, "tau - hyper": "-", "low": np.nan, "high": np.nan}
    expected, _, _ = _rotated(view, study, "hyper")
    own = answers(view, predicted)
    found = gain([(own, own.assign(predicted=expected))], "tau", "tau - hyper")
    ends = {end: found[f"tau - hyper_{end}"] for end in ("low", "high")}
    return {"hyper": tau(own["true"].to_numpy(), expected), "tau - hyper": found["tau - hyper"]} | ends


def across_sizes(study: Study, name: str) -> Exhibit:
    """Table 11: the same forests on all other data sets and widths, beside those on hyperparameters alone."""
    cells = {f"{data}, u={width}": view for (data, width), view in _cells(study).items()}
    read = {"stats": "on layer statistics", "hyper": "on hyperparameters alone"}
    made = {f: _across(cells, study, f) for f in read if all(readable(view, f) for view in cells.values())}
    tables = {features: table for features, (table, _) in made.items()}
    figure, axes = new_axes(len(tables), width=2.5 + 0.7 * len(cells), height=1.6 + 0.4 * len(cells), most=1)
    notes = ["Diagonal: as table10. Elsewhere a forest trained on 80 % of the row's networks ranks all of the column's."]
    apart = ~np.eye(len(cells), dtype=bool)
    for ax, (features, table) in zip(axes, tables.items(), strict=True):
        heat_table(table, ax, f"Kendall's τ {read[features]}, trained on rows, tested on columns")
        away = table.to_numpy()[apart]
        away = away[np.isfinite(away)]
        if len(away):
            notes.append(f"Off the diagonal, {read[features]}: {away.min():.3f} to {away.max():.3f}, mean {away.mean():.3f}.")
    if len(tables) > 1 and apart.any():
        above = (tables["stats"].to_numpy()[apart] > tables["hyper"].to_numpy()[apart]).mean()
        notes.append(f"Off the diagonal tau of weights is the higher one in {above:.0%} of the cells.")
    notes += dict.fromkeys(sentence for _, twins in made.values() for sentence in twins)
    words = {name if features == "stats" else f"{name}_{features}": table.reset_index() for features, table in tables.items()}
    return Exhibit(name, f"MLPs across data sets and widths; {', '.join(study.zoos('mlp'))}", words, {name: figure}, notes)


def _across(cells: dict[str, View], study: Study, features: str) -> tuple[pd.DataFrame, list[str]]:
    """Kendall's tau of the forests of each cell (rows) on each cell (columns), and what is left out of them."""
    table = pd.DataFrame(index=pd.Index(cells, name="trained_on"), columns=list(cells), dtype=float)
    twins = []
    for cell, view in cells.items():
        predicted, forest, seen = _rotated(view, study, features)
        for other, whole in cells.items():
            if other == cell:
                table.loc[cell, other] = tau(view.target("test_accuracy"), predicted)
                continue
            try:
                tested = seen.rest(whole)
            except MetanetError as error:
                twins.append(f"{cell} → {other}: {error}.")
                continue
            table.loc[cell, other] = tau(tested.target("test_accuracy"), forest.predict(tested))
            twins += [f"{cell} → {other}: {note}."] if (note := left_out(whole, tested)) else []
    return table, twins
