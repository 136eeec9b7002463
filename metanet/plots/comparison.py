"""Figures of a comparison: scores with intervals, predictions, calibration, errors by hyperparameter, losses, learning curves."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from metanet.errors import MetanetError
from metanet.evaluation.comparison import MEANINGS, Family, readable, sentence, tested, verdict
from metanet.plots.page import html_picture, html_table, write_page
from metanet.plots.predictions import confusion, fit_losses, predicted_against_true
from metanet.plots.style import new_axes
from metanet.runs.records import Answers, Record
from metanet.zoo.reading import open_zoo
from metanet.zoo.zoo import Zoo

SHOWN = 4  # groups that have a picture of their own, the best first
BINS = 8


def scores(table: pd.DataFrame, measure: str, ax: Axes) -> Axes:
    """A row a group: its score with the interval over networks; full colour where it is not told apart from the best.

    Args:
        table: of :class:`metanet.evaluation.comparison.Family`, with a column title.
    """
    shown = table.iloc[:30][::-1].reset_index(drop=True)
    for place, row in shown.iterrows():
        apart = verdict(str(row["told_apart"]))
        colour, alpha = "0.6" if apart == "unknown" else "C0", 0.35 if apart == "yes" else 1.0
        ax.plot([row["low"], row["high"]], [place, place], color=colour, alpha=alpha, linewidth=2)
        ax.plot(row[measure], place, "o", color=colour, alpha=alpha, markersize=5)
    ax.set_yticks(range(len(shown)), [_short(t) for t in shown["title"]], fontsize=7)
    ax.set_ylim(-0.6, len(shown) - 0.4)
    ax.set(xlabel=f"{measure} with its 95 % interval\nfull colour: not told apart from the best; grey: not comparable")
    return ax


def calibration(answers: dict[str, Answers], ax: Axes) -> Axes:
    """By tenths of the predicted values the mean true one, a line a group; of classes the share that is right, by tenths of the
    confidence. On the dotted line a prediction means what it says.
    """
    for title, own in answers.items():
        said, found = own.predicted, own.true
        if own.true.dtype == object:
            if own.confidence is None:
                continue
            said, found = own.confidence, own.true == own.predicted
        tenths = pd.qcut(said, 10, labels=False, duplicates="drop") if np.ptp(said) > 0 else np.zeros(len(said))  # ties together
        means = pd.DataFrame({"said": said, "found": found.astype(float)}).groupby(tenths).mean()
        ax.plot(means["said"], means["found"], "o-", markersize=3, label=_short(title))
    ends = np.array(ax.get_xlim())
    ax.plot(ends, ends, color="black", linewidth=0.8, linestyle=":")
    words = (
        ("confidence (mean of a tenth)", "share that is right")
        if own.true.dtype == object
        else ("predicted (mean of a tenth)", "true (mean)")
    )
    ax.set(xlabel=words[0], ylabel=words[1], title="calibration")
    ax.legend(frameon=False, fontsize=6)
    return ax


def errors_by(answers: dict[str, Answers], values: pd.Series, ax: Axes) -> Axes:
    """Mean absolute error, or share wrong, by a hyperparameter, its numbers in bins of as many networks; a line a group, with a
    95 % interval of each mean (1.96 standard errors).

    Args:
        values: by network_id.
    """
    for title, own in answers.items():
        error = own.true != own.predicted if own.true.dtype == object else np.abs(own.true - own.predicted)
        given = values.reindex(own.networks).reset_index(drop=True)
        if pd.api.types.is_numeric_dtype(given) and given.nunique() > BINS:
            given = pd.qcut(given, BINS, duplicates="drop").map(lambda interval: interval.mid).astype(float)
        rows = pd.DataFrame({"network": own.networks, "given": given, "error": error.astype(float)})
        bins = rows.groupby(["given", "network"])["error"].mean().groupby("given")  # a network counts once
        means = bins.mean()
        at = means.index if means.index.dtype != object else means.index.astype(str)
        form = "o-" if pd.api.types.is_numeric_dtype(values) else "o"
        ax.errorbar(at, means, 1.96 * bins.sem(), fmt=form, markersize=3, elinewidth=0.7, label=_short(title))
    ax.set(xlabel=str(values.name))
    ax.tick_params(axis="x", labelsize=6)
    if not pd.api.types.is_numeric_dtype(values):
        ax.tick_params(axis="x", rotation=20)
    return ax


def by_training_networks(table: pd.DataFrame, measure: str, ax: Axes) -> Axes:
    """The score by the number of training snapshots, a colour a model and features that have several; a point a row."""
    for (model, features), rows in table.groupby(["model", "features"], sort=False):
        if rows["n_train"].nunique() > 1:
            ax.plot(rows["n_train"], rows[measure], "o", markersize=4, label=_short(f"{model} on {features}"))
    ax.set(xlabel="training snapshots", ylabel=measure, xscale="log", title="learning curves")
    ax.legend(frameon=False, fontsize=6)
    return ax


def _short(title: str) -> str:
    """Head and end of a long title: settings, in which titles differ, stand at its end."""
    return title if len(title) < 60 else f"{title[:28]} ... {title[-28:]}"


def figures(family: Family, zoo: Zoo | None) -> dict[str, Figure]:
    """The pictures of one family, by name; those of predictions are of a run of each group.

    Args:
        zoo: of :func:`zoo_of`; without it no errors by hyperparameter are drawn.
    """
    table = family.table.assign(title=[g.title for g in family.groups])
    made: dict[str, Figure] = {}
    figure, (ax,) = new_axes(1, width=8.0, height=1.2 + 0.22 * min(30, len(table)))
    scores(table, family.measure, ax)
    made["scores"] = figure
    shown = _shown(family)
    best = {title: record.answers for title, record in shown.items() if record.answers is not None}
    if not best:
        return made
    numbers = all(a.true.dtype != object for a in best.values())
    figure, axes = new_axes(len(best))
    for ax, (title, own) in zip(axes, best.items(), strict=True):
        draw = predicted_against_true if numbers else confusion
        draw(pd.DataFrame({"true": own.true, "predicted": own.predicted}), ax, _short(title) + (":" if numbers else ""))
        ax.title.set_fontsize(7)
    made["predictions"] = figure
    if numbers or any(a.confidence is not None for a in best.values()):
        figure, (ax,) = new_axes()
        calibration(best, ax)
        made["calibration"] = figure
    hyper = pd.DataFrame() if zoo is None else _hyperparameters(zoo)
    if zoo is not None and len(hyper.columns):
        figure, axes = new_axes(len(hyper.columns), width=3.0, height=2.6)
        for ax, name in zip(axes, hyper, strict=True):
            errors_by(best, hyper[name], ax)
            if zoo.kind(f"hp.{name}") == "log":
                ax.set_xscale("log")
        axes[0].set_ylabel("mean absolute error" if numbers else "share wrong")
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", frameon=False, fontsize=6, ncols=2)
        made["errors_by_hyperparameter"] = figure
    fitted = [(title, record.curve) for title, record in shown.items()]
    if learned := [(title, curve) for title, curve in fitted if curve is not None and curve.size]:
        figure, axes = new_axes(len(learned))
        for ax, (title, curve) in zip(axes, learned, strict=True):
            fit_losses(curve, ax)
            ax.set_title(_short(title), fontsize=7)
        made["losses"] = figure
    if "n_train" in table and (table.groupby(["model", "features"])["n_train"].nunique() > 1).any():
        figure, (ax,) = new_axes()
        by_training_networks(table, family.measure, ax)
        made["learning_curves"] = figure
    return made


def _shown(family: Family) -> dict[str, Record]:
    """A run of each of the best groups, by title: of the best one's first test part where there is one, else it is said."""
    shown: dict[str, Record] = {}
    for group in family.groups:
        answered = [r for r in group.records if r.answers is not None]
        if not answered or len(shown) == SHOWN:
            continue
        part = next(iter(shown.values())).part if shown else answered[0].part
        same = [r for r in answered if r.part == part]
        shown[group.title + ("" if same else " (other test networks)")] = (same or answered)[0]
    return shown


def zoo_of(family: Family) -> Zoo | None:
    """The zoo of a family's networks; None where it is not there any more, or another one is."""
    record = family.groups[0].example
    try:
        zoo = open_zoo(record.zoo)
    except MetanetError:
        return None
    return zoo if record.plan in ("", str(zoo.header.plan_hash)) else None


def _hyperparameters(zoo: Zoo) -> pd.DataFrame:
    """What varies among the networks of a zoo, by network_id."""
    frame = zoo.networks.set_index("network_id")
    varying = [c for c in frame if c.startswith("hp.") and frame[c].nunique() > 1]
    return frame[varying].rename(columns=lambda c: c.removeprefix("hp."))


def comparison_page(
    families: Sequence[Family], notes: Sequence[str], path: Path, published: Mapping[str, pd.DataFrame], made: Mapping[str, str]
) -> Path:
    """All families on one page: the answer in a sentence, the table, the pictures; published figures by image set.

    Args:
        notes: what was left out, and why.
        made: how and when, by name.
    """
    parts = ["<h1>Which meta-model is best, and is the difference real?</h1>"]
    parts.append(
        "<nav>"
        + " ".join(f"<a href='#f{i}'>{html.escape(f'{f.target} on {f.zoo}')}</a>" for i, f in enumerate(families))
        + " <a href='#read'>how to read it</a></nav>"
    )
    columns: dict[str, None] = {}
    for i, family in enumerate(families):
        table = readable(family)
        columns |= dict.fromkeys(table)
        parts.append(f"<section id='f{i}'><h2>{html.escape(f'{family.target} on {family.zoo}')}</h2>")
        parts.append(f"<p class='lead'>{html.escape(sentence(family))}</p>")
        parts.append(
            f"<p>{len(family.groups)} rows of {sum(len(g.records) for g in family.groups)} runs, on {tested(family)}.</p>"
        )
        parts.append(html_table(table, meanings=MEANINGS))
        parts += [f"<p>{html.escape(note)}</p>" for note in family.notes]
        zoo = zoo_of(family)
        parts += [html_picture(figure, name) for name, figure in figures(family, zoo).items()]
        if zoo is None:
            words = f"The zoo is not at {family.groups[0].first.get('zoo')}, so no errors by hyperparameter are drawn."
            parts.append(f"<p class='missing'>{html.escape(words)}</p>")
        parts.append("</section>")
    for images, table in published.items():
        lead = f"<section><h2>Published on {html.escape(images)}</h2><p>Other networks: no difference is computed.</p>"
        parts += [lead, html_table(table), "</section>"]
    parts.append(
        "<section id='read'><h2>How to read it</h2><p>Runs that differ in seeds alone are one row. Differences are of the best "
        "row minus another on the same test networks; their intervals hold for the whole table, the choice of its best included: "
        "where all rows are equal, one table in twenty tells any of them apart. "
        "Pictures of predictions and losses are of a run of each row. A click on a column's head sorts.</p><dl>"
    )
    parts += [f"<dt>{html.escape(c)}</dt><dd>{html.escape(MEANINGS[c])}</dd>" for c in columns if c in MEANINGS]
    parts.append("</dl></section><section><h2>How it was made</h2><dl>")
    parts += [f"<dt>{html.escape(name)}</dt><dd>{html.escape(value)}</dd>" for name, value in made.items()]
    parts.append("</dl>")
    parts += [f"<p class='missing'>{html.escape(note)}</p>" for note in notes]
    return write_page(path, "metanet: comparison", [*parts, "</section>"])
