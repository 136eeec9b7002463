"""One HTML page that needs no server and no network: tables that a click sorts, pictures within it."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from metanet.plots.style import save

STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; max-width: 90rem; margin: 2rem auto; padding: 0 1rem; color: #222; }
nav a { margin-right: .8rem; white-space: nowrap; }
section { border-top: 1px solid #ccc; margin-top: 2rem; }
table { border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums; }
th, td { padding: .15rem .6rem; text-align: left; border-bottom: 1px solid #eee; white-space: nowrap; }
th { cursor: pointer; position: sticky; top: 0; background: #fff; }
th[aria-sort]::after { content: " \\2193"; }
th[aria-sort=ascending]::after { content: " \\2191"; }
.wide { overflow: auto; max-height: 32rem; margin: .6rem 0; }
img { max-width: 100%; vertical-align: top; }
td { max-width: 26rem; overflow: hidden; text-overflow: ellipsis; }
td:hover { white-space: normal; }
dt { font-weight: 600; float: left; clear: left; min-width: 9rem; margin-right: .6rem; }
dd { margin: 0 0 .2rem 9.6rem; }
.missing { color: #888; }
.lead { font-size: 17px; }
"""

# A click, or Enter where the focus is, sorts by a column: numbers by size, the largest first, words by the alphabet; a second one
# turns it round.
SCRIPT = """
document.addEventListener('keydown', event => {
  if (event.key === 'Enter' && event.target.matches('th')) event.target.click();
});
document.addEventListener('click', event => {
  const head = event.target.closest('th');
  if (!head) return;
  const body = head.closest('table').tBodies[0], column = head.cellIndex;
  const rows = [...body.rows], text = row => row.cells[column].textContent.trim();
  const none = row => ['-', 'not measured', ''].includes(text(row));
  const numeric = rows.every(row => none(row) || !isNaN(parseFloat(text(row))));
  const first = numeric ? 'descending' : 'ascending';
  const order = head.getAttribute('aria-sort') === first ? (numeric ? 'ascending' : 'descending') : first;
  const value = row => numeric ? (none(row) ? -Infinity : parseFloat(text(row))) : text(row);
  rows.sort((a, b) => numeric ? value(a) - value(b) : value(a).localeCompare(value(b)));
  if (order === 'descending') rows.reverse();
  head.parentNode.querySelectorAll('th').forEach(other => other.removeAttribute('aria-sort'));
  head.setAttribute('aria-sort', order);
  body.append(...rows);
});
"""


def write_page(path: Path, title: str, parts: Sequence[str]) -> Path:
    """A whole document of parts that are HTML already."""
    head = f"<head><meta charset='utf-8'><title>{html.escape(title)}</title><style>{STYLE}</style></head>"
    path.write_text(
        "\n".join(["<!doctype html><html lang='en'>", head, "<body>", *parts, f"<script>{SCRIPT}</script></body></html>"])
    )
    return path


def html_table(table: pd.DataFrame, missing: str = "-", digits: int = 3, meanings: Mapping[str, str] | None = None) -> str:
    """A table whose columns a click sorts.

    Args:
        meanings: of columns, shown where the pointer rests on their heads.
    """
    plain = table.rename_axis(columns=None).to_html(index=False, border=0, na_rep=missing, float_format=f"{{:.{digits}f}}".format)
    for column in table:
        name = html.escape(str(column))
        title = f" title='{html.escape((meanings or {}).get(str(column), ''))}'" if meanings else ""
        plain = plain.replace(f"<th>{name}</th>", f"<th tabindex='0'{title}>{name}</th>", 1)
    return f"<div class='wide'>{plain}</div>"


def html_picture(figure: Figure | Path, name: str) -> str:
    """A figure, or a PNG that lies somewhere, within the page."""
    if isinstance(figure, Path):
        raw = figure.read_bytes()
    else:
        drawn = io.BytesIO()
        save(figure, drawn)
        raw = drawn.getvalue()
    return f"<img alt='{html.escape(name)}' src='data:image/png;base64,{base64.b64encode(raw).decode()}'>"
