"""What the GBM on raw weights looks at: Table 9 and Figure 5 of Unterthiner et al. 2020."""

from __future__ import annotations

import numpy as np
import pandas as pd

from metanet.models.gbm import GBM
from metanet.plots.importance import importance_bars, sensitivity_bars
from metanet.plots.style import new_axes
from metanet.probing.importance import importance, importance_by_tensor
from metanet.probing.sensitivity import sensitivity
from metanet.reproduce.study import Exhibit, Study

NETWORKS = 1000  # of the test part, as in Supplement C


def sensitivity_table(study: Study, name: str) -> Exhibit:
    """Table 9: mean change of the prediction of the GBM on W when W is permuted or scaled."""
    zoos = study.zoos("cnn")
    tables, notes = [], []
    figure, axes = new_axes(len(zoos), width=5.0, height=3.8, most=2)
    for ax, zoo in zip(axes, zoos, strict=True):
        fit = study.searched(zoo, "gbm", "flat")
        view = study.test_view(fit, zoo)
        count = min(NETWORKS, len(view))
        chosen = np.sort(np.random.default_rng(study.seed).permutation(len(view))[:count])
        table = sensitivity(fit.model(study.threads), view.take(chosen), study.seed)
        sensitivity_bars(table, ax, f"{zoo}: R² {fit.metrics['r2']:.3f}")
        tables.append(table.assign(zoo=zoo, networks=count)[["zoo", "networks", "modification", "mixed", "mad", "mad_se"]])
        notes.append(f"{zoo}: {_against_the_paper(table)}")
    title = f"sensitivity of the GBM on W (its R² in the titles); {', '.join(zoos)}"
    paper = (
        "The paper (R² .97 on CIFAR10-GS): .01 to .13; convolutions below .05, last layer .06, global and small scales above .11."
    )
    return Exhibit(name, title, {name: pd.concat(tables, ignore_index=True)}, {name: figure}, [paper, *notes])


def _against_the_paper(table: pd.DataFrame) -> str:
    largest = table.groupby("modification")["mad"].max()  # of kinds mixed and apart
    grown = max(v for k, v in largest.items() if str(k).startswith("scaled") and float(str(k).split()[-1]) > 1)
    return (
        f"larger of mixed and apart: convolutions {largest['permuted within each convolution']:.3f}, last layer "
        f"{largest['permuted within the last layer']:.3f}, globally {largest['permuted globally']:.3f}, scaled by 0.1 "
        f"{largest['scaled by 0.1']:.3f}, by more than 1 at most {grown:.3f}."
    )


def importance_figure(study: Study, name: str) -> Exhibit:
    """Figure 5: the inputs that the GBM on W splits on most often, named as in the paper."""
    zoos = study.zoos("cnn")
    figure, axes = new_axes(len(zoos), width=2.8, height=4.2)
    tops, tensors, notes = [], [], []
    for ax, zoo in zip(axes, zoos, strict=True):
        model = study.searched(zoo, "gbm", "flat").model(study.threads)
        assert isinstance(model, GBM)
        table = importance(model)
        importance_bars(table, ax, zoo)
        tops.append(table.head(25).assign(zoo=zoo))
        by_tensor = importance_by_tensor(table)
        tensors.append(by_tensor.assign(zoo=zoo))
        share = by_tensor.set_index("tensor")["splits"] / by_tensor["splits"].sum()
        per = by_tensor.set_index("tensor")["per_input"]
        inputs = by_tensor.set_index("tensor")["inputs"]
        per_inputs = (inputs["L4-W"] + inputs["L4-B"]) / inputs.sum()
        notes.append(
            f"{zoo}: last layer {share['L4-W'] + share['L4-B']:.0%} of all splits with {per_inputs:.0%} of the inputs; a bias of "
            f"it is split on {per['L4-B']:.1f} times, a weight of it {per['L4-W']:.1f} times, a weight of the second convolution "
            f"{per['L2-W']:.1f} times."
        )
    paper = "The paper: all models use the last layer most, its biases slightly more than its weights."
    tables = {name: pd.concat(tops, ignore_index=True), f"{name}_tensors": pd.concat(tensors, ignore_index=True)}
    return Exhibit(name, f"inputs that the GBM on W splits on; {', '.join(zoos)}", tables, {name: figure}, [paper, *notes])
