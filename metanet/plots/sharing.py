"""Figures of zoos that differ in what their networks draw from one seed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.axes import Axes


def share_points(
    table: pd.DataFrame, across: pd.DataFrame, ax: Axes, measure: str, styles: Mapping[str, Mapping[str, Any]]
) -> Axes:
    """A score of each model by what is shared, with its interval; hollow, that of a model trained on another shared seed.

    Args:
        table: shared, model, ``measure`` and its ends ``measure_low``, ``measure_high``.
        across: tested_on (one of ``shared``), model, and the same.
        styles: of :func:`metanet.plots.curves.line_styles`.
    """
    places = {shared: i for i, shared in enumerate(dict.fromkeys(table["shared"]))}
    for number, (model, style) in enumerate(styles.items()):
        shift = (number + 0.5) / len(styles) * 0.7 - 0.35
        for frame, place, fill in ((table, "shared", True), (across, "tested_on", False)):
            if frame.empty:
                continue
            part = frame[(frame["model"] == model) & frame[measure].notna()]
            if part.empty:
                continue
            ends = [part[measure] - part[f"{measure}_low"], part[f"{measure}_high"] - part[measure]]
            where = [places[shared] + shift for shared in part[place]]
            face = style["color"] if fill else "none"
            ax.errorbar(where, part[measure], yerr=ends, linestyle="none", markersize=4, elinewidth=0.8, mfc=face, **style)
    ax.set_xticks(list(places.values()), list(places), rotation=20, ha="right", fontsize=7)
    lowest = min(float(f[f"{measure}_low"].min()) for f in (table, across) if f"{measure}_low" in f)
    ax.set(ylabel={"r2": "R²", "tau": "Kendall's τ"}[measure], ylim=(max(-0.5, lowest - 0.05), 1))
    ax.set_title("hollow: trained on the other seed", fontsize=8)
    return ax
