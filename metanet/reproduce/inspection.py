"""What the GBM on raw weights looks at: Table 9 and Figure 5 of Unterthiner et al. 2020."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from metanet.models.gbm import GBM
from metanet.plots.importance import importance_bars, sensitivity_bars
from metanet.plots.style import new_axes
from metanet.probing.importance import importance, importance_by_tensor
from metanet.probing.sensitivity import changes, summary
from metanet.reproduce.claim import Claim
from metanet.reproduce.study import Exhibit, Study

NETWORKS = 1000  # of the test part, as in Supplement C


def sensitivity_table(study: Study, name: str) -> Exhibit:
    """Table 9: mean change of the prediction of the GBM on W when W is permuted or scaled, and what the paper says of it."""
    zoos = study.zoos("cnn")
    moves, claims = [], []
    figure, axes = new_axes(len(zoos), width=5.0, height=3.8, most=2)
    for ax, zoo in zip(axes, zoos, strict=True):
        fit = study.searched(zoo, "gbm", "flat")
        view = study.test_view(fit, zoo)
        count = min(NETWORKS, len(view))
        chosen = np.sort(np.random.default_rng(study.seed).permutation(len(view))[:count])
        moved = changes(fit.model(study.threads), view.take(chosen), study.seed)
        table = summary(moved)
        sensitivity_bars(table, ax, f"{zoo}: R² {fit.metrics['r2']:.3f}")
        moves.append(table.assign(zoo=zoo, networks=count)[["zoo", "networks", "modification", "mixed", "mad", "mad_se"]])
        claims += [claim.row(zoo=zoo) for claim in claims_of(moved)]
    title = f"sensitivity of the GBM on W (its R² in the titles); {', '.join(zoos)}"
    said = pd.DataFrame(claims)
    notes = ["Claims: those of the paper, of a GBM of R² .97 on CIFAR10-GS; mean |change of prediction| with 95 % over networks."]
    for zoo, part in said.groupby("zoo", sort=False):
        for verdict, own in part.groupby("verdict", sort=False):
            notes.append(f"{zoo}: {verdict}: {'; '.join(f'{r.claim} ({r.here})' for r in own.itertuples())}.")
    tables = {name: pd.concat(moves, ignore_index=True), f"{name}_claims": said}
    return Exhibit(name, title, tables, {name: figure}, notes)


CONVOLUTIONS, LAST, GLOBAL = (f"permuted {where}" for where in ("within each convolution", "within the last layer", "globally"))


def claims_of(moved: Mapping[tuple[str, str], np.ndarray]) -> list[Claim]:
    """What Supplement C says of the changes.

    Args:
        moved: of :func:`metanet.probing.sensitivity.changes`.
    """
    scales = {float(name.split()[-1]): own for (name, _), own in moved.items() if name.startswith("scaled")}
    claims = []
    for mixed, words in (("yes", "kernels and biases mixed"), ("no", "kernels and biases apart")):
        convolutions, last = moved[CONVOLUTIONS, mixed], moved[LAST, mixed]
        claims += [
            _bounded(f"convolutions permuted below .05, {words}", convolutions, below=0.05),
            _bounded(f"permuted globally above .11, {words}", moved[GLOBAL, mixed], above=0.11),
            _bounded(f"the last layer above the convolutions, {words}", last - convolutions, above=0.0),
        ]
    smallest, grown = min(scales), [own for scale, own in scales.items() if scale > 1]
    claims.append(_bounded(f"scaled by {smallest:g} above .11", scales[smallest], above=0.11))
    largest = max(grown, key=lambda own: own.mean())
    factor = next(scale for scale, own in scales.items() if own is largest)
    claims.append(_bounded(f"scaled by more than 1 below .05 (most at {factor:g})", largest, below=0.05))
    return claims


def _bounded(claim: str, values: np.ndarray, below: float = np.inf, above: float = -np.inf) -> Claim:
    """Whether a mean over networks lies on one side of a bound, by its 95 % interval."""
    half = 1.96 * values.std(ddof=1) / np.sqrt(len(values))
    low, high = values.mean() - half, values.mean() + half
    return Claim(claim, low, high, above, below, {"here": f"{values.mean():.3f}, {low:.3f} to {high:.3f}"})


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
