"""Which meta-model is best on a zoo, and which differences are real: runs grouped and paired over test networks.

Runs whose configs differ in seeds alone are one group. All groups of one target on one zoo are scored on the same resampled
networks, so that a difference of two is paired; what their splits or seeds add widens its interval. Two are told apart where
that does not hold 0. Where groups have not the same test parts, they are ordered by means adjusted for how hard each part is.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from metanet.errors import MetanetError, did_you_mean
from metanet.evaluation.resampling import Resamples, rounds_of, score_of, spread_over_runs, widened
from metanet.metrics import percentiles
from metanet.runs.records import Record

SEEDS = ("seed", "split.seed")  # what runs of one group differ in
MEASURES = {"regression": ("r2", "tau", "mse", "mad"), "classification": ("accuracy", "balanced_accuracy")}
SMALLER_IS_BETTER = ("mse", "mad")
MOST = 2 / 3  # a setting that more of the rows have is not named
SINGLE = ", of single runs"  # where no seed or split was repeated
AGREE = 1e-6  # of two metrics that should be the same number
LEAST_NETWORKS = 20  # to compare runs of different test parts on those that both tested
BESIDE = ("r2_trained", "r2_beyond_hyper", "r2_hyper", "accuracy_hyper", "tau_ceiling", "chance", "n_train", "seconds")

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
    "95 %": "bootstrap interval of the score over test networks; what another seed or split would give is in sd",
    "adjusted": "what the score would be, had all rows the same test parts: least squares of row and part; the order is by it",
    "told apart": "whether the interval of best - this is above 0; of single runs: what other seeds would give is not known",
    "best - this": "95 % interval of the best row's score minus this one's over test networks, and over test parts or seeds "
    "where there are several; positive where the best is better",
    "runs": "number of runs, which differ in seeds alone",
    "sd": "standard deviation of the score over these runs",
    "r2_trained": "R2 among the networks that learned something: whose accuracy is above chance by more than its error",
    "r2_hyper": "floor: R2 of a GBM on all hyperparameters, without the weights",
    "accuracy_hyper": "floor: accuracy of a GBM on all known but the weights: other hyperparameters, test accuracy",
    "chance": "share of the commonest class among the test networks",
    "seconds": "of one fit",
}


@dataclass
class Group:
    """Runs that differ in seeds alone.

    Attributes:
        settings: what its config has other than the others' of its family, such as ``num_leaves=15``.
        copies: runs of the same seeds as one of these, which are counted once.
        lacking: runs without the score that decides; they count nowhere.
        draws, points: the score of each run with answers in each resample, (rounds,), and on all its networks, by test part.
    """

    records: list[Record]
    settings: str = ""
    copies: int = 0
    lacking: list[Record] = field(default_factory=list)
    draws: dict[Hashable, list[np.ndarray]] = field(default_factory=dict)
    points: dict[Hashable, list[float]] = field(default_factory=dict)

    @property
    def drawn(self) -> np.ndarray:
        """The mean score of its runs in each resample, (rounds,)."""
        return np.mean([own for draws in self.draws.values() for own in draws], axis=0)

    @property
    def example(self) -> Record:
        """One of its runs, for what all have in common."""
        return (self.records or self.lacking)[0]

    @property
    def first(self) -> dict[str, Any]:
        """Metrics of that one."""
        return self.example.metrics

    def mean(self, measure: str) -> float:
        """Over its runs; nan where one has none."""
        return float(np.mean(self.values(measure))) if self.records else math.nan

    def values(self, measure: str) -> np.ndarray:
        """Of each run; nan where one has none."""
        return np.array([_number(r.metrics.get(measure)) for r in self.records])

    @property
    def title(self) -> str:
        """``gbm on stats, num_leaves=15``."""
        return ", ".join([f"{self.first['model']} on {self.first['features']}", *([self.settings] if self.settings else [])])


@dataclass
class Family:
    """Groups that answer one question: a target of the networks of one zoo.

    Attributes:
        groups: the best first.
        measure: that they are ordered by.
        table: a row a group, see :func:`compare`.
        networks: that any of them tested.
        notes: what could not be compared, and why.
    """

    target: str
    zoo: str
    measure: str
    groups: list[Group]
    table: pd.DataFrame
    networks: int
    notes: list[str]


def _number(value: Any) -> float:
    """A finite number of ``metrics.json``; nan for anything else."""
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if number else math.nan


def compare(records: Sequence[Record], measure: str | None = None, seed: int = 0) -> list[Family]:
    """The families of some runs; of each a table, the best group first.

    Its columns: model, features, settings, access, runs; the measure, ``sd`` over the runs, ``low`` and ``high`` of its 95 %
    interval over networks; ``adjusted``, see :func:`adjusted_means`, where the groups have not the same test parts;
    ``difference_low`` and ``difference_high`` of the best group minus this one, paired over networks, and over test parts or
    seeds where there are several; ``told_apart`` yes, no, or why it cannot be said; further measures.

    Args:
        measure: of :data:`MEASURES`; default r2 and accuracy.

    Raises:
        MetanetError: a measure that no run has.
    """
    known = [m for measures in MEASURES.values() for m in measures]
    if measure is not None and measure not in known:
        raise MetanetError(f"no measure '{measure}'{did_you_mean(measure, known)}")
    plans = {r.zoo: r.plan for r in records if r.plan}
    families: dict[tuple[str, str, str], list[Record]] = {}
    for record in records:
        families.setdefault((record.target, record.epoch, record.plan or plans.get(record.zoo, record.zoo)), []).append(record)
    alike = Counter((own[0].target, own[0].epoch, Path(own[0].zoo).name) for own in families.values())
    made = []
    for own in families.values():
        task = _task(own[0].metrics)
        chosen = measure if measure in MEASURES[task] else MEASURES[task][0]
        family = _family(own, chosen, seed)
        if measure not in (None, chosen):
            family.notes.insert(0, f"measure={measure} is none of a {task}; {chosen} decides")
        if alike[own[0].target, own[0].epoch, family.zoo] > 1:  # zoos of one name
            family.zoo = own[0].zoo
        made.append(family)
    if measure is not None and all(family.measure != measure for family in made):
        raise MetanetError(f"measure={measure}: none of these runs has it; leave it out")
    return made


def grouped(records: Sequence[Record]) -> list[Group]:
    """Runs that differ in nothing but :data:`SEEDS` together; each group told by what its config has other than the rest."""
    told = (*SEEDS, "target", "features", "trained_on")  # by columns of their own
    kept = [{k: v for k, v in record.config.items() if k not in told} for record in records]
    groups: dict[str, Group] = {}
    configs: dict[str, dict[str, Any]] = {}
    for record, config in zip(records, kept, strict=True):
        own = [record.metrics.get(k) for k in ("model", "features", "heads")] + [record.config.get("trained_on")]
        key = json.dumps([own, config], sort_keys=True, default=str)
        group = groups.setdefault(key, Group([]))
        configs[key] = config
        seeds = [record.config.get(k) for k in SEEDS]
        same = [i for i, r in enumerate(group.records) if [r.config.get(k) for k in SEEDS] == seeds]
        if same and any(s is not None for s in seeds):  # the same fit again
            group.copies += 1
            if group.records[same[0]].answers is None:
                group.records[same[0]] = record
        else:
            group.records.append(record)
    for group, words in zip(groups.values(), _differing([configs[k] for k in groups]), strict=True):
        words += [] if group.records[0].config else ["settings not known"]
        words += [f"one of {heads} heads"] if (heads := group.first.get("heads", 1)) > 1 else []
        if (origin := group.first.get("trained_on")) is not None:
            words.append(f"trained on {origin}")
        group.settings = ", ".join(words)
    return list(groups.values())


def _differing(configs: list[dict[str, Any]]) -> list[list[str]]:
    """Words such as ``num_leaves=15`` for the settings in which a config differs from others, without what most of them have.

    Settings of a model or a search are compared among those of the same one.
    """
    found: list[list[str]] = [[] for _ in configs]
    known = [i for i, config in enumerate(configs) if config]  # of the others nothing is known
    for key in dict.fromkeys(key for config in configs for key in config):
        if key == "model.name":  # has a column
            continue
        name = f"{key.partition('.')[0]}.name"
        kinds = {i: None if key == name else configs[i].get(name) for i in known}
        short = key.removeprefix("model.").removesuffix(".name")
        words = {i: f"{short}={_word(configs[i][key])}" if key in configs[i] else f"{short} unset" for i in known}
        counts = Counter((kinds[i], words[i]) for i in known)
        of_kind = Counter(kinds.values())
        for i in known:
            if MOST * of_kind[kinds[i]] >= counts[kinds[i], words[i]]:
                found[i].append(words[i])
    return found


def _word(value: Any) -> str:
    return "null" if value is None else f"[{','.join(map(str, value))}]" if isinstance(value, list) else str(value)


def adjusted_means(groups: Sequence[Group], measure: str, parts: dict[int, Hashable]) -> tuple[np.ndarray, np.ndarray]:
    """What each group's mean score would be, had all the same test parts, and which groups such parts connect, (groups,) each.

    Least squares of a sum of a group's and a test part's effect (incomplete blocks; Yates 1936), at the mean over the parts of
    all runs that common parts connect; the parts' effects are eliminated first. Where all groups have the same parts as often,
    it is the plain mean.

    Args:
        parts: of each record, by its id.
    """
    places: dict[Hashable, int] = {}
    part = np.array([places.setdefault(parts[id(r)], len(places)) for g in groups for r in g.records])
    which = np.repeat(np.arange(len(groups)), [len(g.records) for g in groups])
    counts = np.zeros((len(groups), len(places)))  # runs of each group on each part
    np.add.at(counts, (which, part), 1)
    sums = np.zeros_like(counts)
    np.add.at(sums, (which, part), np.concatenate([g.values(measure) for g in groups]))
    _, component = connected_components(coo_array(counts @ counts.T > 0), directed=False)
    means = sums.sum(1) / counts.sum(1)
    if (counts == counts[0]).all():
        return means, component
    on_part = counts.sum(0)
    left = np.diag(counts.sum(1)) - counts / on_part @ counts.T
    own = np.linalg.lstsq(left, sums.sum(1) - counts / on_part @ sums.sum(0), rcond=None)[0]
    of_part = (sums.sum(0) - own @ counts) / on_part
    for number in np.unique(component):
        runs = counts[component == number].sum(0)
        own[component == number] += runs @ of_part / runs.sum()
    return own, component


def _evaluated_again(records: Sequence[Record]) -> list[Record]:
    """Evaluations that answer what a run that is here too answered on the same networks: it is the same fit."""
    fits = [r for r in records if "trained_on" not in r.config and r.answers is not None]
    evaluations = [r for r in records if "trained_on" in r.config]

    def same(one: Record, other: Record) -> bool:
        if any(one.metrics[key] != other.metrics[key] for key in ("model", "features")) or one.part != other.part:
            return False
        return np.array_equal(one.answers.predicted, other.answers.predicted)  # type: ignore[union-attr]

    return [r for r in evaluations if r.answers is not None and any(same(r, fit) for fit in fits)]


def _parts(records: Sequence[Record]) -> dict[int, Hashable]:
    """The test part of each record, by its id: of its answers, else that of another run of the same split."""
    known = {r.split: r.part for r in records if r.answers is not None and r.split}
    return {id(r): r.part if r.answers is not None else known.get(r.split, r.split or str(r.folder)) for r in records}


def _family(records: list[Record], measure: str, seed: int) -> Family:
    twice = _evaluated_again(records)
    notes = [f"{r.folder}: an evaluation that answers what its run, which is here too, answered; left out" for r in twice]
    groups = grouped([r for r in records if not any(r is other for other in twice)])
    parts = _parts(records)
    for group in groups:
        notes += _set_apart(group, measure)
    sign = -1 if measure in SMALLER_IS_BETTER else 1
    scored = [g for g in groups if g.records]
    adjusted, component = adjusted_means(scored, measure, parts) if scored else (np.empty(0), np.empty(0))
    # what nothing is known of leads no table
    order = sorted(range(len(scored)), key=lambda i: (not scored[i].records[0].config, -sign * adjusted[i]))
    groups = [scored[i] for i in order] + [g for g in groups if not g.records]
    level = {id(scored[i]): adjusted[i] if component[i] == component[order[0]] else math.nan for i in order}
    plain = [g.mean(measure) for g in scored]
    unequal = not np.allclose(adjusted, plain, rtol=0, atol=1e-9)
    if unequal:
        notes.append("rows have not the same test parts, so their order is by means adjusted for how hard each part is")
    if outside := [g.title for g in scored if math.isnan(level[id(g)])]:
        notes.append(f"in the order by their own means, since they share no test part with the best: {_some(outside)}")

    @lru_cache(maxsize=8)
    def resample(networks: tuple[str, ...]) -> Resamples:
        return Resamples(np.array(networks, object), rounds_of(measure), seed)

    networks = _draw(scored, measure, parts, resample)
    rows, reasons = [], Counter[str]()
    for group in groups:
        low, high = percentiles(group.drawn) if group.draws else (np.nan, np.nan)
        row: dict[str, Any] = {
            "model": group.first["model"],
            "features": group.first["features"],
            "settings": group.settings,
            "access": group.first.get("access", ""),
            "runs": len(group.records),
            measure: group.mean(measure),
            "sd": group.values(measure).std(ddof=1) if len(group.records) > 1 else np.nan,
            "low": low,
            "high": high,
            **({"adjusted": level.get(id(group), np.nan)} if unequal else {}),
        }
        if group.copies:
            notes.append(f"{group.title}: {group.copies} more of the same seeds, counted once")
        answered = sum(map(len, group.draws.values()))
        if 0 < answered < len(group.records):
            notes.append(f"{group.title}: its intervals are of {answered} of {len(group.records)} runs")
        low, high, word = np.nan, np.nan, f"no {measure}"
        if group.records:
            word = "best"
            if group is not groups[0]:
                low, high, word = _difference(groups[0], group, measure, resample, sign)
        reasons[word] += 1
        row |= {"difference_low": low, "difference_high": high, "told_apart": word}
        more = [m for m in MEASURES[_task(group.first)] if m != measure]
        rows.append(row | {m: group.mean(m) for m in (*more, *BESIDE) if m in group.first})
    for word, count in reasons.items():
        if word not in ("best", "yes", "no", "yes" + SINGLE):
            notes.append(f"{count} {'row' if count == 1 else 'rows'}: {word}")
    table = pd.DataFrame(rows)
    if not table["settings"].any():
        table = table.drop(columns="settings")
    target, epoch = records[0].target, records[0].epoch
    words = target if epoch == "last" else f"{target} (epoch {epoch})"
    return Family(words, Path(records[0].zoo).name, measure, groups, table, networks, notes)


def agree(one: float, other: float) -> bool:
    """Whether two numbers are the same metric, computed twice."""
    return math.isclose(one, other, rel_tol=AGREE, abs_tol=AGREE)


def _task(metrics: dict[str, Any]) -> str:
    return "classification" if "accuracy" in metrics else "regression"


def _set_apart(group: Group, measure: str) -> list[str]:
    """Take the runs without a score out of a group, and name them and those whose score is not that of their predictions."""
    notes = []
    title, count = group.title, len(group.records)
    scores = group.values(measure)
    group.lacking = [r for r, score in zip(group.records, scores, strict=True) if math.isnan(score)]
    group.records = [r for r, score in zip(group.records, scores, strict=True) if not math.isnan(score)]
    if folders := [str(r.folder) for r in group.lacking]:
        notes.append(f"{title}: without {measure} and not counted: {len(group.lacking)} of {count} runs, {_some(folders)}")
    for record in group.records:
        if record.answers is None:
            continue
        given, found = _number(record.metrics.get(measure)), score_of(record.answers, measure)
        if not agree(given, found):
            notes.append(f"{record.folder}: {measure} is {given:.6g} in metrics.json and {found:.6g} of its predictions")
    return notes


def _draw(
    groups: Sequence[Group], measure: str, parts: dict[int, Hashable], resample: Callable[[tuple[str, ...]], Resamples]
) -> int:
    """Score all groups in the same resamples of all networks that any of them tested; returns how many these are."""
    answered = [(g, r) for g in groups for r in g.records if r.answers is not None]
    if not answered:
        return 0
    universe = {n for networks in {r.part: r.answers.networks for _, r in answered}.values() for n in networks}  # type: ignore[union-attr]
    scores = resample(tuple(sorted(universe))).scores([r.answers for _, r in answered], measure)  # type: ignore[misc]
    for (group, record), own in zip(answered, scores, strict=True):
        group.draws.setdefault(parts[id(record)], []).append(own)
        group.points.setdefault(parts[id(record)], []).append(_number(record.metrics.get(measure)))
    return len(universe)


def _difference(
    best: Group, other: Group, measure: str, resample: Callable[[tuple[str, ...]], Resamples], sign: int
) -> tuple[float, float, str]:
    """The interval of best minus other, positive where the best is better, and whether it holds 0; or why there is none."""
    for group, of in ((best, " of the best"), (other, "")):
        if not group.draws:
            return np.nan, np.nan, group.records[0].flaw + of
    if common := [part for part in best.draws if part in other.draws]:
        gains = [np.mean(best.draws[p], axis=0) - np.mean(other.draws[p], axis=0) for p in common]
        low, high = percentiles(sign * np.mean(gains, axis=0))
        one, two = ([np.array(group.points[p]) for p in common] for group in (best, other))
        half = spread_over_runs(one, two)
        if np.isfinite(half):
            low, high = widened(
                low, high, sign * float(np.mean([a.mean() - b.mean() for a, b in zip(one, two, strict=True)])), half
            )
        parts = len(set(best.draws) | set(other.draws))
        word = _apart(low, high) + (SINGLE if np.isnan(half) and low > 0 else "")
        return low, high, word + ("" if len(common) == parts else f", on the {len(common)} of {parts} test parts that both have")
    # Other test parts: what neither was fitted on is what both tested.
    answers = [[r.answers for r in group.records if r.answers is not None] for group in (best, other)]
    shared = set.intersection(*(set(a.networks) for own in answers for a in own))
    if len(shared) < LEAST_NETWORKS:
        return np.nan, np.nan, f"other test networks ({len(shared)} in common)"
    both = tuple(sorted(shared))
    one_drawn, two_drawn = (
        resample(both).scores([a.of(np.array(both, object)) for a in own], measure).mean(0) for own in answers
    )
    low, high = percentiles(sign * (one_drawn - two_drawn))
    return low, high, f"{_apart(low, high)}, on the {len(both)} networks that both tested"


def _apart(low: float, high: float) -> str:
    """What an interval of the best minus another says."""
    if not np.isfinite([low, high]).all():
        return "no score in the resamples"
    return "yes" if low > 0 else "no" if high >= 0 else "reversed: this one is ahead on what both tested"


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
        words.append(f"but not told apart from {_some(unsure)}, so any of these {len(unsure) + 1} may be the best")
    if titles["reversed"]:
        words.append(f"though {_some(titles['reversed'])} scored better where both were tested")
    if titles["yes"]:
        apart = f"told apart from {len(titles['yes'])} of {len(others) - len(titles['unknown'])}"
        words.append(apart + (" as single runs: what other seeds would give is not known" if single else ""))
    words += [f"{len(titles['unknown'])} cannot be compared"] if titles["unknown"] else []
    return f"{lead}{', ' if unsure else '; '}{'; '.join(words)}."


def _some(titles: Sequence[str], most: int = 5) -> str:
    return "; ".join(titles[:most]) + (f"; {len(titles) - most} more" if len(titles) > most else "")


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
