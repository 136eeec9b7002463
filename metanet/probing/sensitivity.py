"""How predictions move when weight vectors are permuted or scaled (Unterthiner et al. 2020, Supplement C, Table 9)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd

from metanet.models.base import MetaModel
from metanet.zoo.arrays import zoo_from_arrays
from metanet.zoo.layout import Layout
from metanet.zoo.zoo import View

SCALES = (0.1, 0.25, 0.5, 0.75, 1.5, 2.0, 5.0, 10.0)


def sensitivity(model: MetaModel, view: View, seed: int = 0) -> pd.DataFrame:
    """Mean absolute change of a regression's prediction under each modification of W.

    Every network is permuted on its own. Columns: modification, mixed ("yes": kernels and biases change places, "no":
    each kind within itself, "-" for scales), mad, mad_se (its standard error over networks); one row a modification.
    """
    return summary(changes(model, view, seed))


def changes(model: MetaModel, view: View, seed: int = 0) -> dict[tuple[str, str], np.ndarray]:
    """(modification, mixed) -> the absolute change of each network's prediction, (N,)."""
    weights, layout = np.array(view.weights(), np.float32), view.layout
    before = model.predict(view)
    found = {}
    for name, mixed, changed in modifications(weights, layout, seed):
        other = zoo_from_arrays(changed, layout, view.frame.drop(columns=["layout_id"]))
        found[name, mixed] = np.abs(model.predict(other.view(epoch="all", status=None)) - before)
    return found


def summary(moved: Mapping[tuple[str, str], np.ndarray]) -> pd.DataFrame:
    """The table of :func:`sensitivity` from :func:`changes`."""
    rows = [
        {"modification": name, "mixed": mixed, "mad": own.mean(), "mad_se": own.std() / np.sqrt(len(own))}
        for (name, mixed), own in moved.items()
    ]
    return pd.DataFrame(rows)


def modifications(weights: np.ndarray, layout: Layout, seed: int = 0) -> Iterator[tuple[str, str, np.ndarray]]:
    """(name, mixed, weights) of each modification of Supplement C; weights are (N, D), new arrays."""
    rng = np.random.default_rng(seed)
    *inner, last = layout.layers
    permuted = {
        "permuted globally": [list(layout.layers)],
        "permuted within each layer": [[layer] for layer in layout.layers],
        "permuted within each convolution": [[layer] for layer in inner],
        "permuted within the last layer": [[last]],
    }
    for name, groups in permuted.items():
        for mixed in (True, False):
            changed = weights.copy()
            for layers in groups:
                for index in _positions(layout, layers, mixed):
                    changed[:, index] = rng.permuted(weights[:, index], axis=1)
            yield name, "yes" if mixed else "no", changed
    for scale in SCALES:
        yield f"scaled by {scale:g}", "-", weights * np.float32(scale)


def _positions(layout: Layout, layers: list[str], mixed: bool) -> list[np.ndarray]:
    """Positions that change places with each other: all of some layers, or their kernels and their biases apart."""
    tensors = [t for t in layout.tensors if t.layer in layers]
    kinds = [tensors] if mixed else [[t for t in tensors if (t.kind == "bias") == bias] for bias in (False, True)]
    return [np.concatenate([np.arange(t.start, t.stop) for t in kind]) for kind in kinds if kind]
