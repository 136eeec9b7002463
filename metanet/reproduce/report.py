"""What a study leaves behind: CSV tables, pictures, and one HTML page that needs no server."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from metanet.machine import processor, versions
from metanet.plots.style import save
from metanet.reproduce.published import SOURCE
from metanet.reproduce.study import Exhibit, Study
from metanet.runs.folder import Run

_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; max-width: 75rem; margin: 2rem auto; padding: 0 1rem; color: #222; }
nav a { margin-right: .8rem; white-space: nowrap; }
section { border-top: 1px solid #ccc; margin-top: 2rem; }
table { border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums; }
th, td { padding: .15rem .6rem; text-align: left; border-bottom: 1px solid #eee; white-space: nowrap; }
.wide { overflow-x: auto; max-height: 32rem; margin: .6rem 0; }
img { max-width: 100%; }
.missing { color: #888; }
"""


@dataclass(frozen=True)
class Missing:
    """An item whose zoo was not given: it stands in the report as not measured."""

    name: str
    why: str


def write_exhibit(exhibit: Exhibit, folder: Path) -> None:
    """Tables as CSV, figures as PNG, notes as text."""
    Run(folder)
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
                "recipe": study.zoo(name).header.get("recipe", {}).get("name", "-"),
                "networks": len(study.zoo(name).networks),
                "snapshots": len(study.zoo(name).snapshots),
                "mean test accuracy": study.zoo(name).view().frame["test_accuracy"].mean(),
            }
            for name in study.paths
        ]
    )
    parts = [
        "<!doctype html><html lang='en'><head><meta charset='utf-8'><title>metanet: reproduction</title>",
        f"<style>{_STYLE}</style></head><body><h1>Predicting neural network accuracy from weights, made again</h1>",
        "<p>Tables and figures of Unterthiner et al. 2020 from zoos grown with metanet. A released figure is from the "
        f"{html.escape(SOURCE)}.</p>",
        "<nav>" + " ".join(f"<a href='#{m.name}'>{m.name}</a>" for m in made) + "</nav>",
        "<section><h2>Zoos</h2>" + _table(zoos) + "</section>",
    ]
    for exhibit in made:
        parts.append(f"<section id='{exhibit.name}'>")
        if isinstance(exhibit, Missing):
            parts.append(f"<h2 class='missing'>{exhibit.name}: not measured</h2><p>{html.escape(exhibit.why)}</p></section>")
            continue
        parts.append(f"<h2>{exhibit.name}: {html.escape(exhibit.title)}</h2>")
        for name in exhibit.figures:
            picture = base64.b64encode((study.folder / exhibit.name / f"{name}.png").read_bytes()).decode()
            parts.append(f"<img alt='{html.escape(name)}' src='data:image/png;base64,{picture}'>")
        parts += [_table(table) for table in exhibit.measured()]
        parts += [f"<p>{html.escape(note)}</p>" for note in exhibit.notes]
        parts.append(f"<p class='missing'>{exhibit.seconds:.0f} s</p></section>")
    facts = {"machine": processor(), "threads": study.threads, **versions()}
    config = {k: v for k, v in study.config.items() if k not in ("zoo", "out")}
    parts.append(
        f"<section><h2>Made with</h2><pre>{html.escape(json.dumps(facts | {'config': config}, indent=1))}</pre></section>"
    )
    parts.append("</body></html>")
    path.write_text("\n".join(parts))
    return path


def _table(table: pd.DataFrame) -> str:
    plain = table.rename_axis(columns=None).to_html(index=False, border=0, na_rep="not measured", float_format="{:.3f}".format)
    return f"<div class='wide'>{plain}</div>"
