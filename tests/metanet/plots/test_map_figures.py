"""The picture of a probe map shows the map's own numbers."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from matplotlib.collections import QuadMesh

from metanet.plots.maps import map_grid, write_html
from metanet.plots.style import save
from metanet.probing.maps import ProbeMap
from metanet.zoo import Layout


@pytest.fixture
def drawn() -> ProbeMap:
    rng = np.random.default_rng(0)
    said = (rng.uniform(size=(20, 4, 10)) < np.linspace(0.4, 1, 10)).astype(np.float32)
    layout = Layout.build([("a.weight", "a", "kernel", (30, 10)), ("b.weight", "b", "kernel", (70, 10))])
    facts = {"first": 0, "room": 900}
    rest = {"facts": facts, "progress": np.linspace(0, 1, 4), "epochs": np.arange(4.0), "positions": np.linspace(0, 1, 10)}
    strata = np.arange(20) % 2
    return ProbeMap(
        "hp.optimizer", "classification", 0.5, strata, said, np.ones((20, 4)), **rest, length=100, part="all", layout=layout
    )


def test_the_heat_map_holds_the_scores_and_begins_at_chance(drawn: ProbeMap, tmp_path: Path) -> None:
    figure = map_grid([drawn])
    (mesh,) = [c for ax in figure.subfigs[0].axes for c in ax.collections if isinstance(c, QuadMesh) and c.get_array().size == 40]
    np.testing.assert_allclose(mesh.get_array().reshape(4, 10), drawn.scores)
    assert mesh.norm.vmin == 0.5
    heat = mesh.axes
    assert heat.get_ylim()[0] > heat.get_ylim()[1]  # training goes down, as in the paper
    assert {t.get_text() for t in heat.texts} == {"a", "b"}
    top = next(ax for ax in figure.subfigs[0].axes if ax.lines and len(ax.lines[0].get_ydata()) == 10)
    np.testing.assert_allclose(top.lines[0].get_ydata(), drawn.scores.mean(0))
    assert save(figure, tmp_path / "map.png").stat().st_size > 5000


def test_several_maps_share_a_figure(drawn: ProbeMap) -> None:
    assert len(map_grid([drawn] * 3).subfigs) == 4
    assert len(map_grid([drawn] * 3, columns=3).subfigs) == 3


def test_the_page_needs_nothing_from_elsewhere(drawn: ProbeMap, tmp_path: Path) -> None:
    pytest.importorskip("plotly")
    page = write_html([drawn], tmp_path / "map.html").read_text()
    assert not re.search(r"<(script|link|img)[^>]+(src|href)=", page)
    assert "a.weight" in page
    assert "epoch 3" in page
