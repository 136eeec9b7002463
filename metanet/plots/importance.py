"""Figures of what a model looks at."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes


def importance_bars(table: pd.DataFrame, ax: Axes, title: str = "", most: int = 25) -> Axes:
    """The inputs that were split on most often (Fig. 5); ``table`` of :func:`metanet.probing.importance.importance`."""
    top = table.head(most).iloc[::-1]
    bias = top["input"].str.contains("-B")
    order = list(top["input"])
    for kind, part, colour in (("bias", top[bias], "tab:orange"), ("weight", top[~bias], "tab:blue")):
        ax.barh([order.index(name) for name in part["input"]], part["splits"], color=colour, label=kind)
    ax.set_yticks(range(len(order)), order)
    ax.legend(frameon=False, fontsize="small", loc="lower right")
    ax.set(xlabel="splits", title=title)
    ax.tick_params(axis="y", labelsize=6)
    return ax


def sensitivity_bars(table: pd.DataFrame, ax: Axes, title: str = "") -> Axes:
    """Mean change of the prediction by modification (Table 9); ``table`` of :func:`metanet.probing.sensitivity.sensitivity`."""
    shown = table.iloc[::-1]
    labels = [
        f"{r.modification}{'' if r.mixed == '-' else ', mixed' if r.mixed == 'yes' else ', kinds apart'}"
        for r in shown.itertuples()
    ]
    ax.barh(labels, shown["mad"], xerr=1.96 * shown["mad_se"], color="tab:blue")
    ax.set(xlabel="mean |change of prediction|", title=title)
    ax.tick_params(axis="y", labelsize=7)
    return ax
