"""Bars of meta-classifiers: heights, intervals and chances are those of the table; what was not measured has no bar."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from metanet.plots.meta import score_bars


def test_every_bar_has_its_own_chance() -> None:
    table = pd.DataFrame(
        {
            "target": ["optimizer", "optimizer", "w_init", "w_init"],
            "model": ["a", "b", "a", "b"],
            "score": [0.5, 0.6, 0.7, np.nan],
            "low": [0.4, 0.5, 0.6, np.nan],
            "high": [0.6, 0.7, 0.8, np.nan],
            "chance": [0.33, 0.33, 0.25, np.nan],
        }
    )
    ax = score_bars(table, Figure().add_subplot())
    heights = [patch.get_height() for patch in ax.patches]
    np.testing.assert_array_equal(heights, [0.5, 0.7, 0.6, np.nan])  # model by model
    lines = [c for c in ax.collections if isinstance(c, LineCollection) and c.get_linestyle()[0][1] is not None]
    chances = [segment[0, 1] for c in lines for segment in c.get_segments() if len(segment)]
    assert [c for c in chances if np.isfinite(c)] == [0.33, 0.25, 0.33]
    for patch, chance in zip([ax.patches[i] for i in (0, 1, 2)], [0.33, 0.25, 0.33], strict=True):
        (segment,) = [
            s for c in lines for s in c.get_segments() if len(s) and s[0, 0] < patch.get_x() + patch.get_width() / 2 < s[1, 0]
        ]
        assert segment[0, 1] == chance
