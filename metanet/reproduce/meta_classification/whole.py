"""Figures 2, 3 and 16: hyperparameters from whole networks, and which inputs tell them."""

from __future__ import annotations

import numpy as np
import pandas as pd

from metanet.models.local import Local
from metanet.models.svm import SVMLinear
from metanet.plots.meta import coefficient_points
from metanet.plots.style import new_axes
from metanet.reproduce.meta_classification.claims import (
    hardest,
    most_telling,
)
from metanet.reproduce.meta_classification.fits import (
    bars,
    fit,
    not_empty,
    of_whole_networks,
    rounds_of,
    rows_of,
    targets_of,
    with_batch_norm,
)
from metanet.reproduce.study import TRAINING, Exhibit, Study


def global_bars(study: Study, name: str) -> Exhibit:
    """Figure 2: hyperparameters from whole networks of one architecture."""
    deep = study.config["meta"]["global"]
    models = {
        "linear SVM, 16": ("svm_linear", "measures_global"),
        "linear SVM, by layer": ("svm_linear", "measures"),
        "RBF SVM, 16": ("svm_rbf", "measures_global"),
        "RBF SVM, by layer": ("svm_rbf", "measures"),
        deep: (deep, "stats"),
    }
    rows = []
    for zoo in with_batch_norm(study):
        for target in targets_of(study, zoo, TRAINING):
            for label, (model, features) in models.items():
                rows.append(
                    {"zoo": zoo, "target": target, "model": label} | of_whole_networks(study, zoo, target, model, features)
                )
    table = rows_of(rows, name)
    claims = []
    for zoo, own in table.groupby("zoo", sort=False):
        by_layer = own[own["model"] == "linear SVM, by layer"]
        claims += [claim.row(zoo=zoo) for claim in hardest(by_layer, "batch_size")]
    notes = [
        "Balanced accuracy of converged test networks at the end of training; bars: 95 % intervals over networks; lines: chance.",
        "hyperparameters: a GBM on all the others and the accuracy, without the weights.",
        "The paper: all but the batch size are predicted well by the deep one, the layer-wise linear SVM not far from it.",
    ]
    zoos = list(dict.fromkeys(table["zoo"]))
    tables = {name: table, f"{name}_claims": pd.DataFrame(claims)}
    return Exhibit(name, f"global meta-classification; {', '.join(zoos)}", tables, {name: bars(table, zoos)}, notes)


def coefficient_norms(study: Study, name: str) -> Exhibit:
    """Figures 3 and 16: norms over classes of a linear SVM's coefficients, by layer, kind of weight and measure."""
    wanted = ("dataset", "optimizer") if name == "nws_fig3" else TRAINING
    frames, claims = [], []
    for zoo in with_batch_norm(study):
        for target in targets_of(study, zoo, wanted):
            table, rounds = norms_of(study, zoo, target, lambda t, n, z=zoo: fit(study, z, "svm_linear", t, n, "measures"))
            frames.append(table.assign(zoo=zoo, target=target))
            claims.append(most_telling(table, rounds, target).row(zoo=zoo, target=target))
    table = not_empty(frames, name)
    shown = list(dict.fromkeys(zip(table["zoo"], table["target"], strict=True)))
    figure, axes = new_axes(len(shown), width=6.4, height=3.0, most=2)
    for ax, (zoo, target) in zip(axes, shown, strict=True):
        coefficient_points(table.query("zoo == @zoo and target == @target"), ax, f"{zoo}: {target}")
    note = (
        "A point: the norm over classes of one measure's coefficient (inputs standardised); bar: mean of a kind of weight. "
        "Claims: means and 95 % intervals over the rounds, each of another split."
    )
    title = f"coefficients of linear SVMs; {', '.join(dict.fromkeys(table['zoo']))}"
    tables = {f"{name}_claims": pd.DataFrame(claims)}
    return Exhibit(name, title, tables, {name: figure}, [note], long={name: table})


def norms_of(study: Study, zoo: str, target: str, train) -> tuple[pd.DataFrame, np.ndarray]:  # type: ignore[no-untyped-def]
    """Columns part (layer.kind), measure, norm, sd over rounds, one row an input; and the norms of each round, (rounds, F)."""
    norms, names = [], []
    for number in rounds_of(study, "svm_linear"):
        model = train(target, number).model(study.threads)
        if isinstance(model, Local):
            model = model.model
        assert isinstance(model, SVMLinear)
        names = model.map.names
        norms.append(np.linalg.norm(model.coefficients, axis=0))
    split = [feature.rpartition(".") for feature in names]
    table = pd.DataFrame(
        {
            "part": [part or "slice" for part, _, _ in split],
            "measure": [measure for _, _, measure in split],
            "norm": np.mean(norms, axis=0),
            "sd": np.std(norms, axis=0, ddof=1) if len(norms) > 1 else np.nan,
        }
    )
    return table, np.stack(norms)
