"""Figures of encoders: points and bars are the table's."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from metanet.plots.curves import curves, line_styles, shared_legend, spanned_curves
from metanet.plots.encoders import cost_points, generalisation_bars
from metanet.plots.sharing import share_points
from metanet.plots.style import new_axes


def test_a_point_a_model_with_the_shape_of_its_access() -> None:
    table = pd.DataFrame(
        {"model": ["a", "b"], "access": ["W", "F+W"], "seconds": [1.0, 10.0], "tau": [0.8, 0.9], "tau sd": [0.01, 0.0]}
    )
    ax = cost_points(table, Figure().add_subplot())
    lines = {str(line.get_label()): line for line in ax.lines if not str(line.get_label()).startswith("_")}
    assert [lines[m].get_marker() for m in "ab"] == ["o", "^"]
    assert [float(lines[m].get_ydata()[0]) for m in "ab"] == [0.8, 0.9]
    assert ax.get_xscale() == "log"


def test_bars_of_each_case_and_those_tied_with_the_best_are_filled() -> None:
    table = pd.DataFrame(
        {
            "case": ["x", "x", "y"],
            "access": ["W", "W", "F"],
            "model": ["a", "b", "a"],
            "tau": [0.5, 0.7, 0.2],
            "tied": [False, True, True],
        }
    )
    figure = generalisation_bars(table)
    assert [ax.get_title() for ax in figure.axes] == ["x", "y"]
    widths = [patch.get_width() for patch in figure.axes[0].patches]
    assert widths == pytest.approx([0.5, 0.7])
    colours = {patch.get_facecolor() for patch in figure.axes[0].patches}
    assert len(colours) == 2


def test_lines_of_many_models_are_told_apart() -> None:
    styles = line_styles(f"m{i}" for i in range(50))
    assert len({tuple(s.values()) for s in styles.values()}) == 50
    figure, axes = new_axes(2)
    for ax, names in zip(axes, (["m1", "m12"], ["m12"]), strict=True):
        frame = pd.DataFrame({"x": [1, 2] * len(names), "y": 0.5, "by": np.repeat(names, 2)})
        curves(frame, ax, x="x", y="y", by="by", legend=False, styles=styles)
        shared_legend(figure, styles)
    drawn = [{line.get_label(): (line.get_color(), line.get_marker()) for line in ax.lines} for ax in axes]
    assert drawn[0]["m12"] == drawn[1]["m12"] == ("C2", "s")
    assert len(figure.legends[0].get_texts()) == 50


def test_a_learning_curve_has_a_line_a_model_and_its_intervals() -> None:
    table = pd.DataFrame({"model": ["a", "a", "b", "b"], "networks": [100, 1000] * 2, "tau": [0.5, 0.7, 0.2, 0.9]})
    table = table.assign(tau_low=table["tau"] - 0.1, tau_high=table["tau"] + 0.05)
    ax = spanned_curves(table, Figure().add_subplot(), "tau", "digits", line_styles("ab"))
    assert [line.get_ydata().tolist() for line in ax.lines] == [[0.5, 0.7], [0.2, 0.9]]
    heights = [path.vertices[:, 1] for band in ax.collections for path in band.get_paths()]
    assert [(h.min(), h.max()) for h in heights] == [pytest.approx((0.4, 0.75)), pytest.approx((0.1, 0.95))]


def test_shared_seeds_have_a_place_each_and_the_other_seed_is_hollow() -> None:
    table = pd.DataFrame(
        {"shared": ["own", "one", "one (43)"] * 2, "model": ["a"] * 3 + ["b"] * 3, "r2": [0.5, 0.7, 0.72, 0.4, 0.8, 0.81]}
    )
    table = table.assign(r2_low=table["r2"] - 0.1, r2_high=table["r2"] + 0.1)
    across = (
        table[table["shared"] == "one (43)"]
        .rename(columns={"shared": "tested_on"})
        .assign(r2=[0.1, 0.2], r2_low=0.0, r2_high=0.3)
    )
    styles = line_styles("ab")
    ax = share_points(table, across, Figure().add_subplot(), "r2", styles)
    assert [label.get_text() for label in ax.get_xticklabels()] == ["own", "one", "one (43)"]
    points = [(bar.lines[0].get_markerfacecolor(), bar.lines[0].get_ydata().tolist()) for bar in ax.containers]
    assert points == [("C0", [0.5, 0.7, 0.72]), ("none", [0.1]), ("C1", [0.4, 0.8, 0.81]), ("none", [0.2])]
    assert share_points(table, pd.DataFrame(), Figure().add_subplot(), "r2", styles).containers
