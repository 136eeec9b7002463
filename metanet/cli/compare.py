"""``metanet compare``: which meta-model is best, and which differences are real."""

from __future__ import annotations

import re
import time
from typing import Any

import pandas as pd

from metanet.cli.compose import required
from metanet.cli.terminal import print_run, print_table
from metanet.errors import MetanetError
from metanet.evaluation.comparison import Family, compare, differing, readable, sentence, tested, unanswered, write_comparison
from metanet.machine import versions
from metanet.reproduce.published import published_of, published_sets
from metanet.runs.folder import RunFolder, folder_for
from metanet.runs.leaderboard import leaderboard
from metanet.runs.records import Found, Record, find_runs
from metanet.runs.tracking import track
from metanet.zoo.query import query_mask

NOT_PAIRED = "other networks, trained on more images and 15,000 of them to learn from, so no difference is computed"
PRINTED, NOTED = 25, 5  # rows and notes of a family in the terminal; files have all


def run(config: dict[str, Any]) -> None:
    """Print a table a family of runs; write them as CSV, Markdown, and where asked as LaTeX and as a page."""
    folders = required(config, "runs", "metanet compare runs/train")
    found = find_runs(folders if isinstance(folders, list) else [folders])
    records = chosen(found.records, config["where"])
    families = compare(records, config["measure"])
    with folder_for(config["out"], "compare", "comparison") as folder:
        _report(config, found, records, families, RunFolder(folder))


def _report(config: dict[str, Any], found: Found, records: list[Record], families: list[Family], record: RunFolder) -> None:
    folders = config["runs"]
    record.write_config(config)
    for stale in record.folder.glob("comparison.*"):
        stale.unlink()
    told = [", ".join(words) or None for words in differing([r.config for r in records], most=1.0)]
    rows = [r.metrics | {"run": str(r.folder), "settings": words} for r, words in zip(records, told, strict=True)]
    leaderboard(rows).to_csv(record.folder / "leaderboard.csv", index=False)
    write_comparison(families, record.folder)
    notes = list(found.notes)
    if len(makers := sorted({r.version or "an unknown version" for r in records})) > 1:
        notes.append(f"these runs were made by metanet {', '.join(makers)}: settings that one did not know count as different")
    others = beside_published(families) if config["published"] else {}
    if config["published"] and not others:
        notes.append(
            f"no published figures stand beside: there are some of networks of {', '.join(published_sets())}, "
            f"not of {', '.join(sorted({r.images or 'images that are not known' for r in records}))}"
        )
    if silent := unanswered(records):
        notes.append(
            f"{len(silent)} of the runs without answers on their test part, so they are in no interval: "
            + ", ".join(silent[:3])
            + (" ..." if len(silent) > 3 else "")
            + "; delete such a folder and give the command that made it again"
        )
    for family in families:
        print_table(readable(family).head(PRINTED), f"target: {family.target}, zoo: {family.zoo}, {tested(family)}")
        if len(family.table) > PRINTED:
            print(f"... and {len(family.table) - PRINTED} more in comparison.csv")
        print(sentence(family))
        for note in family.notes[:NOTED]:
            print(f"  {note}")
        if len(family.notes) > NOTED:
            print(f"  ... and {len(family.notes) - NOTED} more notes in comparison.md")
    for images, table in others.items():
        print_table(table, f"published on {images}: {NOT_PAIRED}")
    for note in notes:
        print(note)
    texts = []
    for f in families:
        table = readable(f).to_markdown(index=False, floatfmt=".3f")
        texts.append("\n\n".join([f"## {f.target} on {f.zoo}, {tested(f)}", sentence(f), table, *f.notes]) + "\n")
    texts += [f"## published on {i}\n\n{NOT_PAIRED}\n\n{t.to_markdown(index=False, floatfmt='.3f')}\n" for i, t in others.items()]
    (record.folder / "comparison.md").write_text("\n".join(texts))
    if config["latex"]:
        latex = ["% \\usepackage{booktabs} is needed"]
        for number, family in enumerate(families):
            caption = _escaped(f"{sentence(family)} On {tested(family)}.")
            latex.append(_latex(readable(family), caption, f"tab:comparison-{number + 1}"))
        for images, table in others.items():
            latex.append(
                _latex(table, _escaped(f"Published on {images}: {NOT_PAIRED}."), f"tab:published-{images.replace('_', '-')}")
            )
        (record.folder / "comparison.tex").write_text("\n".join(latex))
    if config["html"]:
        from metanet.plots.comparison import comparison_page

        made = {
            "runs": ", ".join(map(str, folders)) if isinstance(folders, list) else str(folders),
            **{key: str(config[key]) for key in ("where", "measure") if config[key] is not None},
            "on": time.strftime("%Y-%m-%d %H:%M"),
            "by": ", ".join(
                f"{name} {version}" for name, version in versions().items() if name in ("metanet", "python", "numpy")
            ),
        }
        print(f"page: {comparison_page(families, notes, record.folder / 'comparison.html', others, made)}")
    if config["tracking"]["name"] != "none":
        _track(families, record, config)
    print_run(record.folder)


def beside_published(families: list[Family]) -> dict[str, pd.DataFrame]:
    """Published figures of the image sets of these families, for those that predict the test accuracy."""
    sets = {f.groups[0].example.images for f in families if f.groups[0].first["target"] == "test_accuracy"}
    return {images: table for images in sorted(sets) if len(table := published_of(images))}


def _latex(table: pd.DataFrame, caption: str, label: str) -> str:
    return str(table.to_latex(index=False, float_format="%.3f", escape=True, caption=caption, label=label))


def _escaped(text: str) -> str:
    """For LaTeX."""
    return re.sub(r"([_%&#$])", r"\\\1", text)


def _track(families: list[Family], record: RunFolder, config: dict[str, Any]) -> None:
    """One run in W&B with the tables and the figures; the summary says what is best."""
    from metanet.plots.comparison import figures, zoo_of
    from metanet.plots.style import save

    tables: dict[str, pd.DataFrame] = {}
    summary = {}
    for family in families:
        name = f"{family.target} on {family.zoo}"
        name = name if name not in tables else f"{name} ({len(tables) + 1})"
        tables[name] = readable(family)
        summary[name] = sentence(family)
        for kind, figure in figures(family, zoo_of(family)).items():
            save(figure, record.figures / f"{name.replace(' ', '-').replace('/', '_')}-{kind}.png")
    track(config["tracking"], record, config, summary, "compare", tables=tables)


def chosen(records: list[Record], where: str | None) -> list[Record]:
    """The runs for which a query over their metrics and settings holds.

    Raises:
        MetanetError: no run is left.
    """
    if not records:
        raise MetanetError("none of these folders holds a fitted meta-model, so there is nothing to compare")
    if not where:
        return records
    frame = pd.DataFrame([r.config | r.metrics | {"run": str(r.folder)} for r in records])
    kept = [r for r, keep in zip(records, query_mask(frame, where), strict=True) if keep]
    if not kept:
        raise MetanetError(f"no run is left by where={where}")
    return kept
