"""What a study leaves behind: CSV tables, pictures, and one HTML page that needs no server."""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from metanet.machine import processor, versions
from metanet.plots.page import html_picture, html_table, write_page
from metanet.plots.style import save
from metanet.reproduce.published import SOURCE
from metanet.reproduce.study import Exhibit, Study
from metanet.runs.folder import RunFolder


@dataclass(frozen=True)
class Missing:
    """An item whose zoo was not given: it stands in the report as not measured."""

    name: str
    why: str


def write_exhibit(exhibit: Exhibit, folder: Path) -> None:
    """Tables as CSV, figures as PNG, notes as text."""
    RunFolder(folder)
    for name, table in (exhibit.tables | exhibit.long).items():
        table.to_csv(folder / f"{name}.csv", index=False)
    for name, figure in exhibit.figures.items():
        save(figure, folder / f"{name}.png")
    (folder / "notes.txt").write_text("\n".join([exhibit.title, *exhibit.notes]) + "\n")


def write_report(made: Sequence[Exhibit | Missing], study: Study, path: Path) -> Path:
    """One page with every table and figure; pictures are within it."""
    zoos = pd.DataFrame(
        [
            {
                "zoo": name,
                "image set": study.data(name),
                "recipe": study.zoo(name).header.recipe.name or "-",
                "networks": len(study.zoo(name).networks),
                "snapshots": len(study.zoo(name).snapshots),
                "mean test accuracy": study.zoo(name).view().frame["test_accuracy"].mean(),
            }
            for name in study.paths
        ]
    )
    parts = [
        "<h1>Predicting neural network accuracy from weights, made again</h1>",
        "<p>Tables and figures of Unterthiner et al. 2020 from zoos grown with metanet. A released figure is from the "
        f"{html.escape(SOURCE)}.</p>",
        "<nav>" + " ".join(f"<a href='#{m.name}'>{m.name}</a>" for m in made) + "</nav>",
        "<section><h2>Zoos</h2>" + html_table(zoos) + "</section>",
    ]
    for exhibit in made:
        parts.append(f"<section id='{exhibit.name}'>")
        if isinstance(exhibit, Missing):
            parts.append(f"<h2 class='missing'>{exhibit.name}: not measured</h2><p>{html.escape(exhibit.why)}</p></section>")
            continue
        parts.append(f"<h2>{exhibit.name}: {html.escape(exhibit.title)}</h2>")
        parts += [html_picture(study.folder / exhibit.name / f"{name}.png", name) for name in exhibit.figures]
        parts += [html_table(table, "not measured") for table in exhibit.measured()]
        parts += [f"<p>{html.escape(note)}</p>" for note in exhibit.notes]
        parts.append(f"<p class='missing'>{exhibit.seconds:.0f} s</p></section>")
    facts = {"machine": processor(), "threads": study.threads, **versions()}
    config = {k: v for k, v in study.config.items() if k not in ("zoo", "out")}
    parts.append(
        f"<section><h2>Made with</h2><pre>{html.escape(json.dumps(facts | {'config': config}, indent=1))}</pre></section>"
    )
    return write_page(path, "metanet: reproduction", parts)
