"""Figure 19: networks with and without batch normalisation, vectors with and without its values."""

from __future__ import annotations

import numpy as np

from metanet.evaluation.run_files import hyper_floor
from metanet.plots.meta import score_bars
from metanet.plots.style import new_axes
from metanet.probing.maps import ProbeMap, probe_map
from metanet.reproduce.meta_classification.fits import (
    SLICES,
    fit,
    floored,
    held_out,
    layout_of,
    mapped,
    rounds_of,
    rows_of,
    targets_of,
)
from metanet.reproduce.study import TRAINING, Exhibit, NotFittedError, Study
from metanet.zoo.arrays import zoo_from_arrays
from metanet.zoo.header import ZooHeader
from metanet.zoo.layout import Layout
from metanet.zoo.zoo import View


def batch_norm(study: Study, name: str) -> Exhibit:
    """Figure 19: networks with and without batch normalisation; and vectors without its values and without biases."""
    deep = study.config["meta"]["local"]
    rows = []
    for zoo in study.zoos("nws_fixed"):
        normalised = any(t.kind == "bn_mean" for t in layout_of(study.zoo(zoo)).tensors)
        for target in targets_of(study, zoo, TRAINING):
            whole, stripped, floors = [], [], []
            for number in rounds_of(study, deep):
                try:
                    made = fit(study, zoo, deep, target, number, part="all")
                except NotFittedError:
                    continue
                floors.append(hyper_floor(made.folder, "classification"))
                whole.append(mapped(study, zoo, made, SLICES, every=False))
                path = made.folder / "map-stripped.npz"
                if not path.exists():
                    probe_map(made.model(study.threads), without_vectors(held_out(study, zoo, made)), SLICES).save(path)
                stripped.append(ProbeMap.load(path))
            words = "with" if normalised else "without"
            for label, group in (("all values", whole), ("kernels alone", stripped)):
                label = f"{zoo}, {words} batch norm, {label}"
                rows.append({"zoo": zoo, "model": label, "target": target} | floored(group, floors))
    table = rows_of(rows, name)
    figure, axes = new_axes(1, width=9.0, height=3.4)
    score_bars(table, axes[0], "single slices")
    notes = [
        "Kernels alone: the same meta-classifiers on test vectors without batch normalisation's values and biases.",
        "The paper: no great difference between networks with and without batch normalisation, nor between the vectors.",
    ]
    if len({model.split(", ")[1] for model in table["model"]}) < 2:
        notes.append("Not measured: the other half, which needs a second zoo, grown with recipe.batch_norm=false (or true).")
    zoos = ", ".join(dict.fromkeys(table["zoo"]))
    return Exhibit(name, f"batch normalisation; {zoos}", {name: table}, {name: figure}, notes)


def without_vectors(view: View) -> View:
    """The same networks with their kernels alone."""
    kernels = [t for t in view.layout.tensors if t.kind == "kernel"]
    weights = view.weights()
    layout = Layout.build((t.name, t.layer, t.kind, t.shape, t.axes) for t in kernels)
    values = np.concatenate([weights[:, t.start : t.stop] for t in kernels], axis=1)
    header = ZooHeader(recipe=view.zoo.header.recipe, columns=view.zoo.columns)
    frame = view.frame.drop(columns=["layout_id"])
    return zoo_from_arrays(values, layout, frame, f"{view.zoo.name}, kernels alone", header).view(epoch="all")
