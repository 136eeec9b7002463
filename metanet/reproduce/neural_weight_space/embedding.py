"""Figure 13: convolutional weights in two dimensions."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd

from metanet.errors import MetanetError
from metanet.plots.nws import embedding_scatter
from metanet.plots.style import new_axes
from metanet.reproduce.study import Exhibit, Study


def embedding(study: Study, name: str) -> Exhibit:
    """Figure 13: UMAP of the first ten principal components of all snapshots' convolutional weights.

    Raises:
        MetanetError: no zoo has one architecture.
    """
    zoos = [zoo for zoo in study.zoos("nws") if len(study.zoo(zoo).layouts) == 1]
    if not zoos:
        raise MetanetError(f"{name} needs a zoo of one architecture: metanet generate recipe=nws_fixed_mini out=zoos/nws_fixed")
    figures, rows, notes = {}, [], []
    for zoo in zoos:
        view = study.zoo(zoo).view(epoch="all")
        components, explained = principal_components(view.weights(), view.layout, 10)
        points, how = _two_dimensions(components, study.seed)
        frame = view.frame.assign(x=points[:, 0], y=points[:, 1], error=1 - view.frame["test_accuracy"])
        drawn = [c for c in frame if c.startswith("hp.") and c != "hp.init_std" and frame[c].nunique() > 1]
        figure, axes = new_axes(len(drawn) + 2, width=3.4, height=3.0, most=3)
        for ax, column in zip(axes, [*drawn, "progress", "error"], strict=True):
            embedding_scatter(frame, ax, column)
        figures[f"{name}_{zoo}"] = figure
        rows.append({"zoo": zoo, "snapshots": len(frame), **{f"PC {i + 1}": v for i, v in enumerate(explained)}})
        notes.append(f"{zoo}: {how}; ten components hold {sum(explained):.0%} of the variance of the convolutional weights.")
    title = f"embedding of convolutional weights; {', '.join(zoos)}"
    return Exhibit(name, title, {name: pd.DataFrame(rows)}, figures, notes)


def principal_components(weights: np.ndarray, layout, count: int) -> tuple[np.ndarray, list[float]]:  # type: ignore[no-untyped-def]
    """The first components of the convolutional weights, (N, count), and their shares of the variance.

    Only kernels and biases of layers called conv*, batch normalisation's vectors included, as in the paper (16,880 values of
    the fixed architecture).
    """
    from sklearn.decomposition import IncrementalPCA

    columns = np.concatenate([np.arange(t.start, t.stop) for t in layout.tensors if t.layer.startswith("conv")])
    pca = IncrementalPCA(min(count, len(weights)))
    batch = max(5 * count, 500)
    chunks = [range(i, min(i + batch, len(weights))) for i in range(0, len(weights), batch)]
    if len(chunks) > 1 and len(chunks[-1]) < count:  # a last batch must hold as many rows as components
        chunks[-2:] = [range(chunks[-2].start, chunks[-1].stop)]
    for chunk in chunks:
        pca.partial_fit(weights[chunk][:, columns])
    points = np.concatenate([pca.transform(weights[chunk][:, columns]) for chunk in chunks])
    return points, pca.explained_variance_ratio_.tolist()


def _two_dimensions(components: np.ndarray, seed: int) -> tuple[np.ndarray, str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that Tensorflow is missing, and that a fixed seed allows one thread only
        try:
            import umap
        except ImportError:
            return components[:, :2], "first two principal components (pip install 'metanet-weights[umap]' for UMAP)"
        return umap.UMAP(random_state=seed).fit_transform(components), "UMAP of ten principal components"
