"""Which meta-model is best on a zoo, and which differences are real: runs grouped and paired over test networks.

Runs whose configs differ in seeds alone are one group. All groups of one target on one zoo are scored on the same resampled
networks, so that a difference of two is paired; it is told apart where its 95 % interval does not hold 0. Where groups have
not the same test parts, they are ordered by means adjusted for how hard each part is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from metanet.errors import MetanetError, did_you_mean
from metanet.evaluation.metrics import BOOTSTRAP_ROUNDS, BOOTSTRAP_TAU_ROUNDS, tau
from metanet.runs.records import Answers, Record

SEEDS = ("seed", "split.seed")  # what runs of one group differ in
MEASURES = {"regression": ("r2", "tau", "mse", "mad"), "classification": ("accuracy", "balanced_accuracy")}
SMALLER_IS_BETTER = ("mse", "mad")
LEAST_NETWORKS = 20  # to compare runs of different test parts on those that both tested
BESIDE = ("r2_trained", "r2_beyond_hyper", "r2_hyper", "accuracy_hyper", "tau_ceiling", "chance", "n_train", "seconds")

# Of the columns of :func:`readable`.
MEANINGS = {
    "settings": "in which its config differs from those of other rows",
    "access": "what it reads: W weights, H hyperparameters, F forward passes, A activations, D data",
    "r2": "share of the variance over networks that is explained; 1 is perfect, 0 as good as a constant",
    "tau": "Kendall's rank correlation of predicted and true; 1 is the perfect order",
    "mse": "mean squared error",
    "mad": "mean absolute error",
    "accuracy": "share of the networks whose class is right",
    "balanced_accuracy": "mean over the classes of the share that is right",
    "95 %": "bootstrap interval of the score over test networks; what another seed or split would give is in sd",
    "adjusted": "what the score would be, had all rows the same test parts: least squares of row and part; the order is by it",
    "told apart": "whether the 95 % interval of best - this is above 0; or why it cannot be said",
    "best - this": "95 % interval of the best row's score minus this one's, positive where the best is better",
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
        scores, runs_of: its mean score in each resample, (rounds,), and how many runs that is of, by test part.
    """

    records: list[Record]
    settings: str = ""
    copies: int = 0
    scores: dict[int, np.ndarray] = field(default_factory=dict)
    runs_of: dict[int, int] = field(default_factory=dict)

    @property
    def drawn(self) -> np.ndarray:
        """The mean score of its runs in each resample, (rounds,)."""
        return np.average(list(self.scores.values()), axis=0, weights=list(self.runs_of.values()))

    @property
    def first(self) -> dict[str, Any]:
        """Metrics of one of its runs, for what all have in common."""
        return self.records[0].metrics

    def mean(self, measure: str) -> float:
        """Over its runs."""
        return float(np.mean(self.values(measure)))

    def values(self, measure: str) -> np.ndarray:
        """Of each run; nan where one has none."""
        found = (r.metrics.get(measure) for r in self.records)
        return np.array([v if isinstance(v, int | float) else np.nan for v in found], float)

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


def compare(records: Sequence[Record], measure: str | None = None, seed: int = 0) -> list[Family]:
    """The families of some runs; of each a table, the best group first.

    Its columns: model, features, settings, access, runs; the measure, ``sd`` over the runs, ``low`` and ``high`` of its 95 %
    interval over networks; ``adjusted``, see :func:`adjusted_means`, where the groups have not the same test parts;
    ``difference_low`` and ``difference_high`` of the best group minus this one, paired; ``told_apart`` yes, no, or why it cannot
    be said; further measures.

    Args:
        measure: of :data:`MEASURES`; default r2 and accuracy.

    Raises:
        MetanetError: a measure that no run has.
    """
    known = [m for measures in MEASURES.values() for m in measures]
    if measure is not None and measure not in known:
        raise MetanetError(f"measure={measure}: give {', '.join(known)}{did_you_mean(measure, known)}")
    families: dict[tuple[str, str, str], list[Record]] = {}
    for record in records:
        families.setdefault(record.question, []).append(record)
    made = []
    for own in families.values():
        task = "classification" if "accuracy" in own[0].metrics else "regression"
        chosen = measure if measure in MEASURES[task] else MEASURES[task][0]
        family = _family(own, chosen, seed)
        if measure not in (None, chosen):
            family.notes.insert(0, f"measure={measure} is none of a {task}; {chosen} decides")
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
        if any(s is not None for s in seeds) and any([r.config.get(k) for k in SEEDS] == seeds for r in group.records):
            group.copies += 1  # the same fit again
        else:
            group.records.append(record)
    varying = _varying([configs[k] for k in groups])
    for key, group in groups.items():
        config = configs[key]
        words = [f"{k.removeprefix('model.').removesuffix('.name')}={_word(config[k])}" for k in varying if k in config]
        words += [] if group.records[0].config else ["settings not known"]
        words += [f"one of {heads} heads"] if (heads := group.first.get("heads", 1)) > 1 else []
        if (origin := group.first.get("trained_on")) is not None:
            words.append(f"trained on {origin}")
        group.settings = ", ".join(words)
    return list(groups.values())


def _varying(configs: list[dict[str, Any]]) -> list[str]:
    """Keys whose values differ; settings of a model or a search among the groups that have the same one."""
    found: dict[str, None] = {}
    configs = [config for config in configs if config]  # of the others nothing is known
    for key in dict.fromkeys(key for config in configs for key in config):
        own: dict[Any, set[str]] = {}
        name = f"{key.partition('.')[0]}.name"
        for config in configs:  # a config without the key differs from one that has it
            word = json.dumps(config[key], default=str) if key in config else ""
            own.setdefault(None if key == name else config.get(name), set()).add(word)
        if any(len(values) > 1 for values in own.values()):
            found[key] = None
    return [key for key in found if key != "model.name"]  # has a column


def _word(value: Any) -> str:
    return "null" if value is None else f"[{','.join(map(str, value))}]" if isinstance(value, list) else str(value)


def adjusted_means(groups: Sequence[Group], measure: str) -> np.ndarray:
    """What each group's mean score would be, had all the same test parts, (groups,); nan where a run has no score.

    Least squares of a sum of a group's and a test part's effect (incomplete blocks; Yates 1936), at the mean over the parts of
    all runs that common parts connect. Where all groups have the same parts as often, it is the plain mean.
    """
    means = np.array([g.mean(measure) for g in groups])
    whole = [g for g, mean in zip(groups, means, strict=True) if np.isfinite(mean)]
    if not whole:
        return means
    which = np.repeat(np.arange(len(whole)), [len(g.records) for g in whole])
    places: dict[Hashable, int] = {}
    part = np.array([places.setdefault(r.part, len(places)) for g in whole for r in g.records]) + len(whole)
    count = len(whole) + len(places)
    design = np.zeros((len(which), count))
    design[np.arange(len(which)), which] = design[np.arange(len(which)), part] = 1
    effects = np.linalg.lstsq(design, np.concatenate([g.values(measure) for g in whole]), rcond=None)[0]
    _, component = connected_components(coo_array((np.ones(len(which)), (which, part)), shape=(count, count)), directed=False)
    level = [effects[part[component[part] == own]].mean() for own in component[: len(whole)]]
    means[np.isfinite(means)] = effects[: len(whole)] + level
    return means


def _evaluated_again(records: Sequence[Record]) -> list[Record]:
    """Evaluations of runs that are here too, on the very networks that these were tested on."""
    if not any("trained_on" in r.config for r in records):
        return []
    fits = {str(r.folder.resolve()): r for r in records}
    found = ((r, fits.get(str(r.config.get("trained_on")))) for r in records)
    return [r for r, fit in found if fit is not None and fit.part == r.part]


def _family(records: list[Record], measure: str, seed: int) -> Family:
    twice = _evaluated_again(records)
    notes = [f"{r.folder}: an evaluation on the networks that its run, which is here too, was tested on; left out" for r in twice]
    groups = grouped([r for r in records if not any(r is other for other in twice)])
    sign = -1 if measure in SMALLER_IS_BETTER else 1
    adjusted = adjusted_means(groups, measure)
    order = np.argsort(-np.nan_to_num(sign * adjusted, nan=-np.inf), kind="stable")
    groups, adjusted = [groups[i] for i in order], adjusted[order]
    unequal = not np.allclose(adjusted, [g.mean(measure) for g in groups], rtol=0, atol=1e-9, equal_nan=True)
    if unequal:
        notes.append("rows have not the same test parts, so their order is by means adjusted for how hard each part is")
    resample = partial(Resamples, rounds=_rounds(measure), seed=seed)
    networks = _draw(groups, measure, resample)
    rows = []
    for group, level in zip(groups, adjusted, strict=True):
        if bad := [r.folder for r, value in zip(group.records, group.values(measure), strict=True) if not np.isfinite(value)]:
            notes.append(f"{group.title}: {len(bad)} of {len(group.records)} runs have no {measure}, such as {bad[0]}")
        low, high = _interval(group.drawn) if group.scores else (np.nan, np.nan)
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
            **({"adjusted": level} if unequal else {}),
        }
        if group.copies:
            notes.append(f"{group.title}: {group.copies} more of the same seeds, counted once")
        if group is groups[0]:
            low, high, word = np.nan, np.nan, "best"
        else:
            low, high, word = _difference(groups[0], group, measure, resample, sign)
            notes += [] if word in ("yes", "no") else [f"{group.title}: {word}"]
        row |= {"difference_low": low, "difference_high": high, "told_apart": word}
        more = [m for m in MEASURES["classification" if "accuracy" in group.first else "regression"] if m != measure]
        rows.append(row | {m: group.mean(m) for m in (*more, *BESIDE) if m in group.first})
    target, epoch, _ = records[0].question
    table = pd.DataFrame(rows)
    if not table["settings"].any():
        table = table.drop(columns="settings")
    words = target if epoch == "last" else f"{target} (epoch {epoch})"
    return Family(words, Path(str(records[0].metrics.get("zoo", ""))).name, measure, groups, table, networks, notes)


def _draw(groups: Sequence[Group], measure: str, resample: Callable[[np.ndarray], Resamples]) -> int:
    """Score all groups in the same resamples of all networks that any of them tested; returns how many these are."""
    answers = [r.answers for g in groups for r in g.records if r.answers is not None]
    if not answers:
        return 0
    universe = {n for networks in {a.part: a.networks for a in answers}.values() for n in networks}
    scores = iter(resample(np.array(sorted(universe), object)).scores(answers, measure))
    for group in groups:
        by_part: dict[int, list[np.ndarray]] = {}
        for record in group.records:
            if record.answers is not None:
                by_part.setdefault(record.answers.part, []).append(next(scores))
        group.scores = {part: np.mean(own, axis=0) for part, own in by_part.items()}
        group.runs_of = {part: len(own) for part, own in by_part.items()}
    return len(universe)


def _difference(
    best: Group, other: Group, measure: str, resample: Callable[[np.ndarray], Resamples], sign: int
) -> tuple[float, float, str]:
    """The interval of best minus other, positive where the best is better, and whether it holds 0; or why there is none."""
    for group, of in ((best, " of the best"), (other, "")):
        if not group.scores:
            return np.nan, np.nan, group.records[0].flaw + of
    if common := [part for part in best.scores if part in other.scores]:
        low, high = _interval(sign * np.mean([best.scores[p] - other.scores[p] for p in common], axis=0))
        parts = len(set(best.scores) | set(other.scores))
        only = "" if len(common) == parts else f", on the {len(common)} of {parts} test parts that both have"
        return low, high, _apart(low, high) + only
    # Other test parts: what neither was fitted on is what both tested.
    answers = [[r.answers for r in group.records if r.answers is not None] for group in (best, other)]
    shared = set.intersection(*(set(a.networks) for own in answers for a in own))
    if len(shared) < LEAST_NETWORKS:
        return np.nan, np.nan, f"other test networks ({len(shared)} in common)"
    both = np.array(sorted(shared), object)
    drawn = resample(both)
    one, two = (drawn.scores([a.of(both) for a in own], measure).mean(0) for own in answers)
    low, high = _interval(sign * (one - two))
    return low, high, f"{_apart(low, high)}, on the {len(both)} networks that both tested"


def paired_interval(
    pairs: Sequence[tuple[pd.DataFrame, pd.DataFrame]], measure: str, rounds: int | None = None, seed: int = 0
) -> tuple[float, float]:
    """95 % interval of the mean difference of a measure over several fits; networks are drawn once for all of them.

    Args:
        pairs: test predictions of one model and of the other, for each fit: network_id, true, predicted, of the same networks.
    """
    sides: tuple[list[Answers], list[Answers]] = [], []
    for pair in pairs:
        if not np.array_equal(pair[0]["network_id"], pair[1]["network_id"]):
            raise MetanetError("two fits were scored on different networks, so their difference is not paired")
        for side, frame in zip(sides, pair, strict=True):
            side.append(Answers(*(frame[c].to_numpy() for c in ("network_id", "true", "predicted"))))
    drawn = Resamples(np.unique(np.concatenate([a.networks for a in sides[0]])), rounds or _rounds(measure), seed)
    one, other = (drawn.scores(side, measure) for side in sides)
    return _interval((one - other).mean(0))


def _rounds(measure: str) -> int:
    """A rank correlation takes longer."""
    return BOOTSTRAP_TAU_ROUNDS if measure == "tau" else BOOTSTRAP_ROUNDS


def _apart(low: float, high: float) -> str:
    """What an interval of the best minus another says."""
    if not np.isfinite([low, high]).all():
        return "no score in the resamples"
    return "yes" if low > 0 else "no" if high >= 0 else "no: this one is ahead on the networks of both"


def verdict(told_apart: str) -> str:
    """``best``, ``yes``, ``no`` or ``unknown`` of a value of the column told_apart, without its why."""
    word = re.split("[,:]", told_apart)[0]
    return word if word in ("best", "yes", "no") else "unknown"


def _interval(values: np.ndarray) -> tuple[float, float]:
    finite = values[np.isfinite(values)]
    low, high = np.percentile(finite, [2.5, 97.5]) if len(finite) else (np.nan, np.nan)
    return float(low), float(high)


class Resamples:
    """The same bootstrap resamples of networks (Efron 1979) for any number of runs.

    Args:
        networks: that are drawn from, (U,).
        rounds: number of resamples.
    """

    def __init__(self, networks: np.ndarray, rounds: int, seed: int = 0) -> None:
        count = len(networks)
        self.place = {name: i for i, name in enumerate(networks)}
        drawn = np.random.default_rng(seed).integers(0, count, (rounds, count))
        self.times = np.stack([np.bincount(row, minlength=count) for row in drawn]).astype(np.float64)  # (rounds, U)
        self._rows: dict[int, np.ndarray] = {}

    def scores(self, answers: Sequence[Answers], measure: str) -> np.ndarray:
        """The measure of each run in each resample, (R, rounds); nan where a resample leaves it undefined."""
        rows = [self._places(a) for a in answers]
        if measure == "tau":
            return np.stack([self._taus(a, own) for a, own in zip(answers, rows, strict=True)])
        if measure == "balanced_accuracy":
            return np.stack([self._recalls(a, own) for a, own in zip(answers, rows, strict=True)])
        losses = np.stack([self._sums(_loss(a, measure), own) for a, own in zip(answers, rows, strict=True)])
        total, count = losses @ self.times.T, self._each(answers, rows, lambda a: np.ones(len(a.true)))
        with np.errstate(divide="ignore", invalid="ignore"):
            if measure != "r2":
                return total / count
            sums = self._each(answers, rows, lambda a: a.true - a.true.mean())  # centred, against cancellation
            squares = self._each(answers, rows, lambda a: (a.true - a.true.mean()) ** 2)
            spread = squares - sums**2 / count
            return np.where(spread > 0, 1 - total / spread, np.nan)

    def _places(self, answers: Answers) -> np.ndarray:
        if answers.part not in self._rows:
            self._rows[answers.part] = np.array([self.place[n] for n in answers.networks])
        return self._rows[answers.part]

    def _sums(self, values: np.ndarray, rows: np.ndarray) -> np.ndarray:
        return np.bincount(rows, values, self.times.shape[1])

    def _each(self, answers: Sequence[Answers], rows: list[np.ndarray], of: Any) -> np.ndarray:
        """A sum that depends on the test part alone, (R, rounds); computed once a part."""
        made: dict[int, np.ndarray] = {}
        for own, a in zip(rows, answers, strict=True):
            if a.part not in made:
                made[a.part] = self.times @ self._sums(of(a), own)
        return np.stack([made[a.part] for a in answers])

    def _taus(self, answers: Answers, rows: np.ndarray) -> np.ndarray:
        picked = (np.repeat(np.arange(len(rows)), times[rows].astype(int)) for times in self.times)
        return np.array([tau(answers.true[rows], answers.predicted[rows]) for rows in picked])

    def _recalls(self, answers: Answers, rows: np.ndarray) -> np.ndarray:
        right = answers.true == answers.predicted
        classes = [answers.true == c for c in np.unique(answers.true.astype(str))]
        with np.errstate(divide="ignore", invalid="ignore"):
            recalls = [(self.times @ self._sums(right * c, rows)) / (self.times @ self._sums(c * 1.0, rows)) for c in classes]
        return np.nanmean(recalls, axis=0)


def _loss(answers: Answers, measure: str) -> np.ndarray:
    if measure == "accuracy":
        return (answers.true == answers.predicted).astype(np.float64)
    error = answers.true - answers.predicted
    return np.abs(error) if measure == "mad" else error**2


def sentence(family: Family) -> str:
    """Which group is best, and from which it is told apart, in words."""
    others = family.table.iloc[1:]
    best = family.groups[0]
    verdicts = [verdict(word) for word in others["told_apart"]]
    unsure = [group.title for group, word in zip(family.groups[1:], verdicts, strict=True) if word == "no"]
    known, unknown = len(verdicts) - verdicts.count("unknown"), verdicts.count("unknown")
    place = "best" if not unsure and not unknown else "ahead"
    level = f"{family.measure} {best.mean(family.measure):.3f}"
    if "adjusted" in family.table:
        level = f"{family.measure} {family.table['adjusted'].iloc[0]:.3f} adjusted for test parts"
    runs = f", mean of {len(best.records)} runs" if len(best.records) > 1 else ""
    lead = f"{family.target} on {family.zoo}: {best.title} is {place} ({level}{runs})"
    if others.empty:
        return f"{lead}; there is nothing to compare it with."
    apart = verdicts.count("yes")
    words = [f"told apart from {apart} of {known}"] if apart else []
    if unsure:
        named = "; ".join(unsure[:5]) + (f"; {len(unsure) - 5} more" if len(unsure) > 5 else "")
        words.insert(0, f"but not told apart from {named}, so any of these {len(unsure) + 1} may be the best")
    words += [f"{unknown} cannot be compared"] if unknown else []
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
    for name in ("tau", "r2_trained", "balanced_accuracy", "r2_hyper", "accuracy_hyper", "chance", "seconds"):
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
