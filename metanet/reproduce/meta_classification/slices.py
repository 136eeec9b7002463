"""Figures 4, 5, 17, 18, 20 and 21: hyperparameters from slices of the weights; and votes of slices."""

from __future__ import annotations

from contextlib import suppress
from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from metanet.errors import MetanetError
from metanet.models.local import default_length
from metanet.plots.maps import map_grid
from metanet.plots.meta import size_curves
from metanet.plots.style import new_axes
from metanet.probing.maps import ProbeMap
from metanet.reproduce.meta_classification.claims import (
    half_width,
    local_claims,
    signed,
)
from metanet.reproduce.meta_classification.fits import (
    MISSING,
    SLICES,
    bars,
    fit,
    many_architectures,
    mapped,
    not_empty,
    of_single_slices,
    of_whole_networks,
    rows_of,
    targets_of,
    with_batch_norm,
)
from metanet.reproduce.meta_classification.whole import norms_of
from metanet.reproduce.study import ARCHITECTURE, TRAINING, Exhibit, NotFittedError, Study

BAG = 8  # slices of a vector that attention sees at once


def slice_coefficient_norms(study: Study, name: str) -> Exhibit:
    """Figure 17: the same for slices, whose 16 measures know no layer."""
    frames = []
    for zoo in many_architectures(study):
        for target in targets_of(study, zoo, TRAINING):
            table, _ = norms_of(study, zoo, target, lambda t, n, z=zoo: fit(study, z, "local", t, n, estimator="svm_linear"))
            frames.append(table.assign(zoo=zoo, target=target))
    table = not_empty(frames, name)
    shown = list(dict.fromkeys(zip(table["zoo"], table["target"], strict=True)))
    figure, axes = new_axes(len(shown), width=4.0, height=2.6, most=3)
    for ax, (zoo, target) in zip(axes, shown, strict=True):
        own = table.query("zoo == @zoo and target == @target")
        ax.bar(own["measure"], own["norm"], color=["tab:orange" if m.endswith("_d") else "tab:blue" for m in own["measure"]])
        ax.tick_params(axis="x", rotation=90, labelsize=6)
        ax.set_title(f"{zoo}: {target}")
    note = "Norms over classes of a linear SVM on slices; in orange the measures of differences."
    return Exhibit(
        name, f"coefficients on slices; {', '.join(dict.fromkeys(table['zoo']))}", {name: table}, {name: figure}, [note]
    )


def local_bars(study: Study, name: str) -> Exhibit:
    """Figure 4: hyperparameters from slices of 5,000 weights, of all, convolutional and fully connected ones."""
    deep, parts = study.config["meta"]["local"], study.config["meta"]["parts"]
    rows, claims = [], []
    for zoo in many_architectures(study):
        maps: dict[tuple[str, str], ProbeMap] = {}
        for target in targets_of(study, zoo, (*TRAINING, *ARCHITECTURE)):
            for estimator in ("svm_linear", "svm_rbf"):
                row, _ = of_single_slices(study, zoo, target, "local", estimator=estimator)
                rows.append({"zoo": zoo, "target": target, "model": f"{estimator}, 16"} | row)
            for part in parts:
                row, drawn = of_single_slices(study, zoo, target, deep, part=part)
                rows.append({"zoo": zoo, "target": target, "model": f"{deep}, {part}"} | row)
                if drawn:
                    maps[target, part] = drawn[0]
        ours = [row for row in rows if row["zoo"] == zoo and row["model"] == f"{deep}, {parts[0]}"]
        own = pd.DataFrame([row for row in ours if row["verdict"] != MISSING["verdict"]])
        claims += [claim.row(zoo=zoo) for claim in (local_claims(own, maps) if len(own) else [])]
    table = rows_of(rows, name)
    notes = [
        f"Balanced accuracy of single slices ({SLICES} of each converged test network's last snapshot); bars: 95 % intervals "
        "over networks; lines: chance.",
        "The paper: the deep ones are far above the SVMs, initialisation is told best, the data set better from convolutions.",
    ]
    zoos = list(dict.fromkeys(table["zoo"]))
    tables = {name: table, f"{name}_claims": pd.DataFrame(claims)}
    return Exhibit(name, f"local meta-classification; {', '.join(zoos)}", tables, {name: bars(table, zoos)}, notes)


def maps(study: Study, name: str) -> Exhibit:
    """Figures 5, 20 and 21: score by position and progress; 20 and 21 also for convolutional and fully connected weights.

    Raises:
        MetanetError: no hyperparameter varies.
    """
    deep, positions = study.config["meta"]["local"], int(study.config["meta"]["positions"])
    parts = study.config["meta"]["parts"] if name != "nws_fig5" else ["all"]
    figures, rows, cells = {}, [], []
    zoos = [
        *many_architectures(study),
        *(with_batch_norm(study) if name == "nws_fig5" else []),
    ]  # of one architecture, borders are drawn
    for zoo in dict.fromkeys(zoos):
        drawn = []
        for target, part in product(targets_of(study, zoo, ARCHITECTURE if name == "nws_fig21" else TRAINING), parts):
            with suppress(NotFittedError):  # with fit=false
                made = fit(study, zoo, deep, target, 0, part=part)
                drawn.append((target, part, mapped(study, zoo, made, positions, every=True)))
        if not drawn:
            continue
        figures[f"{name}_{zoo}"] = map_grid([m for _, _, m in drawn], columns=len(parts) if len(parts) > 1 else 2)
        for target, part, own in drawn:
            rows.append({"zoo": zoo, "target": target, "part": part} | _ends(own))
            cells.append(own.table().assign(zoo=zoo, part=part))
    if not rows:
        raise MetanetError(f"{name}: none of its hyperparameters varies in these zoos")
    notes = [
        "Balanced accuracy of slices of converged test networks; the scale of each map begins at chance.",
        "The paper: the optimizer is told best near the first layers; the initialisation fades first in the first layers.",
    ]
    words, long = ", ".join(dict.fromkeys(r["zoo"] for r in rows)), {f"{name}_cells": pd.concat(cells, ignore_index=True)}
    return Exhibit(name, f"probe maps; {words}", {name: pd.DataFrame(rows)}, figures, notes, long=long)


def _ends(drawn: ProbeMap) -> dict[str, object]:
    """Means of a map, and what its first tenth of positions and its end of training have more than the rest, with intervals."""
    mean, low, high = drawn.mean()
    first = max(1, len(drawn.positions) // 10)
    start, end, head, rest = 0, -1, slice(None, first), slice(first, None)
    contrasts: dict[str, tuple[list[Any], list[Any]]] = {  # cells that count for and against
        "first tenth - rest": ([np.s_[:, head]], [np.s_[:, rest]]),
        "end - start": ([np.s_[end, :]], [np.s_[start, :]]),
        "that, first tenth - rest": ([np.s_[end, head], np.s_[start, rest]], [np.s_[start, head], np.s_[end, rest]]),
    }
    words: dict[str, object] = {}
    for label, (plus, minus) in contrasts.items():
        gap = sum(drawn.score(cells) for cells in plus) - sum(drawn.score(cells) for cells in minus)
        without = np.sum([drawn.without(cells) for cells in plus], 0) - np.sum([drawn.without(cells) for cells in minus], 0)
        words[label] = signed(gap, half_width(without, drawn))
    return {"score": mean, "low": low, "high": high, "chance": drawn.chance, "networks": drawn.networks} | words


def subset_sizes(study: Study, name: str) -> Exhibit:
    """Figure 18: score of single slices by their length."""
    deep = study.config["meta"]["local"]
    rows = []
    for zoo in many_architectures(study):
        shortest = min(layout.size for layout in study.zoo(zoo).layouts.values())
        usual = default_length(study.zoo(zoo).view(converged=True))
        for target in targets_of(study, zoo, ("dataset", "augmentation", "optimizer", "activation", "w_init")):
            for size in study.config["meta"]["slices"]:
                if int(size) <= shortest:
                    length = {} if int(size) == usual else {"slice": int(size)}  # the usual one is fitted for other figures too
                    row, _ = of_single_slices(study, zoo, target, deep, part="all", **length)
                    rows.append({"zoo": zoo, "target": target, "slice": int(size)} | row)
    table = rows_of(rows, name)
    fits = [
        {"zoo": zoo, "target": target} | _logarithmic(own["slice"].to_numpy(float), own["score"].to_numpy())
        for (zoo, target), own in table.groupby(["zoo", "target"], sort=False)
    ]
    zoos = list(dict.fromkeys(table["zoo"]))
    figure, axes = new_axes(len(zoos), width=5.0, height=3.6)
    for ax, zoo in zip(axes, zoos, strict=True):
        size_curves(table[table["zoo"] == zoo], ax, zoo)
    note = "The paper: about logarithmic in the length, steepest for the activation. A length that some vector lacks is left out."
    tables = {name: table, f"{name}_slopes": pd.DataFrame(fits)}
    return Exhibit(name, f"subset size; {', '.join(zoos)}", tables, {name: figure}, [note])


def _logarithmic(sizes: np.ndarray, scores: np.ndarray) -> dict[str, float]:
    """Gain for ten times the length, and the R2 of straight lines over log length and over length."""
    sizes, scores = sizes[np.isfinite(scores)], scores[np.isfinite(scores)]
    if len(sizes) < 3 or np.ptp(scores) == 0:
        return {"per ten times": np.nan, "R2 over log length": np.nan, "R2 over length": np.nan}
    slope = np.polyfit(np.log10(sizes), scores, 1)[0]
    both = [np.corrcoef(x, scores)[0, 1] ** 2 for x in (np.log10(sizes), sizes)]
    return {"per ten times": float(slope), "R2 over log length": float(both[0]), "R2 over length": float(both[1])}


def votes(study: Study, name: str) -> Exhibit:
    """Beyond the paper: whole networks judged by the local model, by one slice, by the vote of 20, by attention over 20."""
    deep, wide = study.config["meta"]["local"], study.config["meta"]["global"]
    epochs = max(1, int(study.config["meta"]["epochs_local"]) // BAG)  # the same number of slices in all
    rows = []
    for zoo in dict.fromkeys([*with_batch_norm(study), *many_architectures(study)]):
        one_layout = zoo in study.zoos("nws_fixed")
        for target in targets_of(study, zoo, TRAINING):
            single, _ = of_single_slices(study, zoo, target, deep, part="all")
            scored = {
                "one slice": single,
                "vote of 20 slices": of_whole_networks(study, zoo, target, deep, part="all"),
                "attention over 20 slices": of_whole_networks(study, zoo, target, deep, attention=True, bag=BAG, epochs=epochs),
            }
            if one_layout:
                scored[wide] = of_whole_networks(study, zoo, target, wide)
            rows += [{"zoo": zoo, "target": target, "model": label} | row for label, row in scored.items()]
    table = rows_of(rows, name)
    zoos = list(dict.fromkeys(table["zoo"]))
    notes = [
        "Balanced accuracy of whole converged test networks at the end of training, on the same split; all but the global model "
        "read any architecture and size. All local ones learned from as many slices, attention from eight of a vector at once.",
    ]
    return Exhibit(name, f"votes of slices; {', '.join(zoos)}", {name: table}, {name: bars(table, zoos)}, notes)
