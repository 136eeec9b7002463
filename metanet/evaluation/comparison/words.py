"""What a comparison found, in words and in tables that people read."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import pandas as pd

from metanet.evaluation.comparison.families import Family
from metanet.evaluation.comparison.groups import some
from metanet.evaluation.differences import SINGLE
from metanet.runs.records import Record

# Of the columns of :func:`readable`.
MEANINGS = {
    "settings": "in which its config differs from other rows; what most of them have is not named",
    "access": "what it reads: W weights, H hyperparameters, F forward passes, A activations, D data",
    "r2": "share of the variance over networks that is explained; 1 is perfect, 0 as good as a constant",
    "tau": "Kendall's rank correlation of predicted and true; 1 is the perfect order",
    "mse": "mean squared error",
    "mad": "mean absolute error",
    "accuracy": "share of the networks whose class is right",
    "balanced_accuracy": "mean over the classes of the share that is right",
    "95 %": "interval of the score over other test networks; what another seed or split would give is in sd",
    "adjusted": "what the score would be, had all rows the same test parts: least squares of row and part; the order is by it",
    "told apart": "whether the interval of best - this is above 0: of 20 tables of equal rows, about one has a yes in any row; "
    "of single runs: what other seeds would give is not known",
    "best - this": "interval of the best row's score minus this one's over other test networks, and over test parts or seeds "
    "where there are several; 95 % for the whole table, the choice of its best included; positive where the best is better",
    "runs": "number of runs, which differ in seeds alone",
    "sd": "standard deviation of the score over these runs",
    "r2_trained": "R2 among the networks that learned something: whose accuracy is above chance by more than its error",
    "r2_hyper": "floor: R2 of a GBM on all hyperparameters, without the weights",
    "accuracy_hyper": "floor: accuracy of a GBM on all known but the weights: other hyperparameters, test accuracy",
    "chance": "share of the commonest class among the test networks",
    "seconds": "of one fit",
}


def verdict(told_apart: str) -> str:
    """``best``, ``yes``, ``no``, ``reversed`` or ``unknown`` of a value of the column told_apart, without its why."""
    word = re.split("[,:]", told_apart)[0]
    return word if word in ("best", "yes", "no", "reversed") else "unknown"


def sentence(family: Family) -> str:
    """Which group is best, and from which it is told apart, in words."""
    others = family.table.iloc[1:]
    best = family.groups[0]
    question = f"{family.target} on {family.zoo}"
    if not best.records:
        return f"{question}: no run has a {family.measure}, so none is best."
    titles: dict[str, list[str]] = {word: [] for word in ("yes", "no", "reversed", "unknown")}
    for group, word in zip(family.groups[1:], others["told_apart"], strict=True):
        titles[verdict(word)].append(group.title)
    single = others["told_apart"].str.contains(SINGLE).any()
    place = "best" if len(titles["yes"]) == len(others) and not single else "ahead"
    level = f"{family.measure} {best.mean(family.measure):.3f}"
    if "adjusted" in family.table:
        level = f"{family.measure} {family.table['adjusted'].iloc[0]:.3f} adjusted for test parts"
    runs = f", mean of {len(best.records)} runs" if len(best.records) > 1 else ""
    lead = f"{question}: {best.title} is {place} ({level}{runs})"
    if others.empty:
        return f"{lead}; there is nothing to compare it with."
    words = []
    if unsure := titles["no"]:
        words.append(f"but not told apart from {some(unsure)}, so any of these {len(unsure) + 1} may be the best")
    if titles["reversed"]:
        words.append(f"though {some(titles['reversed'])} scored better where both were tested")
    if titles["yes"]:
        apart = f"told apart from {len(titles['yes'])} of {len(others) - len(titles['unknown'])} (95 % for the whole table)"
        words.append(apart + (", as single runs: what other seeds would give is not known" if single else ""))
    words += [f"{len(titles['unknown'])} cannot be compared"] if titles["unknown"] else []
    return f"{lead}{', ' if unsure else '; '}{'; '.join(words)}."


def tested(family: Family) -> str:
    """On how many networks."""
    return f"{family.networks} test networks" if family.networks else "test networks that are not known"


def readable(family: Family) -> pd.DataFrame:
    """The columns of a family's table that people read, intervals in one."""
    table = family.table
    columns = {c: table[c] for c in ("model", "features", "settings", "access") if c in table}
    columns[family.measure] = table[family.measure]
    columns["95 %"] = _ends(table["low"], table["high"], "{:.3f} to {:.3f}".format)
    if "adjusted" in table:
        columns["adjusted"] = table["adjusted"]
    columns["told apart"] = table["told_apart"]
    columns["best - this"] = _ends(table["difference_low"], table["difference_high"], "{:+.3f} to {:+.3f}".format)
    columns["runs"] = table["runs"]
    if table["sd"].notna().any():
        columns["sd"] = table["sd"]
    for name in ("r2", "tau", "r2_trained", "accuracy", "balanced_accuracy", "r2_hyper", "accuracy_hyper", "chance", "seconds"):
        if name in table and name != family.measure:
            columns[name] = table[name]
    return pd.DataFrame(columns)


def _ends(low: pd.Series, high: pd.Series, form: Callable[[float, float], str]) -> list[str]:
    return ["-" if pd.isna(a) else form(a, b) for a, b in zip(low, high, strict=True)]


def write_comparison(families: Sequence[Family], folder: Path) -> None:
    """``comparison.csv``: all rows of all families, the measure under its name and in a column of its own."""
    tables = [f.table.assign(target=f.target, zoo=f.zoo, measure=f.measure) for f in families]
    pd.concat(tables, ignore_index=True).to_csv(folder / "comparison.csv", index=False)


def unanswered(records: Iterable[Record]) -> list[str]:
    """Of runs without answers, the folder and why."""
    return [f"{r.folder} ({r.flaw})" for r in records if r.flaw]
