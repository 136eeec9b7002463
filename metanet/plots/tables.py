"""Tables as pictures."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from metanet.plots.style import brief


def heat_table(table: pd.DataFrame, ax: Axes, title: str = "", low: float = 0.0, high: float = 1.0, form: str = ".3f") -> Axes:
    """Numbers on a coloured grid, index down and columns across; an empty field reads "not measured"."""
    values = table.to_numpy(float)
    ax.imshow(np.ma.masked_invalid(values), cmap="viridis", vmin=low, vmax=high, aspect="auto")
    for (row, column), value in np.ndenumerate(values):
        if np.isfinite(value):
            dark = (value - low) / ((high - low) or 1.0) < 0.6
            ax.text(column, row, f"{value:{form}}", ha="center", va="center", color="white" if dark else "black", fontsize=8)
        else:
            ax.text(column, row, "not measured", ha="center", va="center", color="gray", fontsize=6)
    ax.set_xticks(range(len(table.columns)), [brief(c) for c in table.columns], rotation=30, ha="right")
    ax.set_yticks(range(len(table.index)), [brief(i) for i in table.index])
    ax.set_title(title)
    for side in ("top", "right", "left", "bottom"):
        ax.spines[side].set_visible(False)
    return ax
