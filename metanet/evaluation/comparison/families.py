"""Families of groups that answer one question, each a table: the best first, and which of the others it is told apart from."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from metanet.errors import MetanetError, did_you_mean
from metanet.evaluation.comparison.adjusted import adjusted_means, parts_of
from metanet.evaluation.comparison.groups import Group, agree, grouped, number, some
from metanet.evaluation.differences import LEAST_OF_CLASS, SINGLE, Scored, Table, difference
from metanet.evaluation.intervals import SHARES, number_interval, score_interval
from metanet.evaluation.resampling import Resamples
from metanet.runs.records import Answers, Record

MEASURES = {"regression": ("r2", "tau", "mse", "mad"), "classification": SHARES}
SMALLER_IS_BETTER = ("mse", "mad")
LEAST_NETWORKS = 20  # to compare runs of different test parts on those that both tested
BESIDE = ("r2_trained", "r2_beyond_hyper", "r2_hyper", "accuracy_hyper", "tau_ceiling", "chance", "n_train", "seconds")


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
    ``difference_low`` and ``difference_high`` of the best group minus this one, over networks, and over test parts or seeds
    where there are several: 95 % for all rows of the table together; ``told_apart`` yes, no, or why it cannot be said; further
    measures.

    Args:
        measure: of :data:`MEASURES`; default r2 and accuracy.
        seed: of what a table's intervals draw, see :func:`metanet.evaluation.differences.level_of`.

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


def _evaluated_again(records: Sequence[Record]) -> list[Record]:
    """Evaluations that answer what a run that is here too answered on the same networks: it is the same fit."""
    fits = [r for r in records if "trained_on" not in r.config and r.answers is not None]
    evaluations = [r for r in records if "trained_on" in r.config]

    def same(one: Record, other: Record) -> bool:
        if any(one.metrics[key] != other.metrics[key] for key in ("model", "features")) or one.part != other.part:
            return False
        return np.array_equal(one.answers.predicted, other.answers.predicted)  # type: ignore[union-attr]

    return [r for r in evaluations if r.answers is not None and any(same(r, fit) for fit in fits)]


def _family(records: list[Record], measure: str, seed: int) -> Family:
    twice = _evaluated_again(records)
    notes = [f"{r.folder}: an evaluation that answers what its run, which is here too, answered; left out" for r in twice]
    groups = grouped([r for r in records if not any(r is other for other in twice)])
    for group in groups:
        notes += _set_apart(group, measure)
    rows = [g for g in groups if g.records]
    networks = _score(rows, measure)
    for group in rows:
        notes += _disagreeing(group, measure)
    sign = -1 if measure in SMALLER_IS_BETTER else 1
    adjusted, component = adjusted_means(rows, measure, parts_of(records)) if rows else (np.empty(0), np.empty(0))
    # what nothing is known of leads no table
    order = sorted(range(len(rows)), key=lambda i: (not rows[i].records[0].config, -sign * adjusted[i]))
    groups = [rows[i] for i in order] + [g for g in groups if not g.records]
    level = {id(rows[i]): adjusted[i] if component[i] == component[order[0]] else math.nan for i in order}
    unequal = not np.allclose(adjusted, [g.mean(measure) for g in rows], rtol=0, atol=1e-9)
    if unequal:
        notes.append("rows have not the same test parts, so their order is by means adjusted for how hard each part is")
    if outside := [g.title for g in rows if math.isnan(level[id(g)])]:
        notes.append(f"in the order by their own means, since they share no test part with the best: {some(outside)}")
    scored = [g.scored for g in groups if g.scored is not None]
    together = Table.of(scored, seed) if scored else None
    lines, reasons = [], Counter[str]()
    for group in groups:
        low, high, word = np.nan, np.nan, f"no {measure}"
        if group.records:
            word = "best"
            if group is not groups[0]:
                low, high, word = _difference(groups[0], group, measure, together)
        reasons[word] += 1
        notes += _incomplete(group)
        lines.append(
            _line(group, measure)
            | ({"adjusted": level.get(id(group), np.nan)} if unequal else {})
            | {"difference_low": low, "difference_high": high, "told_apart": word}
            | {m: group.mean(m) for m in (*MEASURES[_task(group.first)], *BESIDE) if m in group.first and m != measure}
        )
    for word, count in reasons.items():
        if word not in ("best", "yes", "no", "yes" + SINGLE):
            notes.append(f"{count} {'row' if count == 1 else 'rows'}: {word}")
    table = pd.DataFrame(lines)
    if not table["settings"].any():
        table = table.drop(columns="settings")
    target, epoch = records[0].target, records[0].epoch
    words = target if epoch == "last" else f"{target} (epoch {epoch})"
    return Family(words, Path(records[0].zoo).name, measure, groups, table, networks, notes)


def _task(metrics: dict[str, Any]) -> str:
    return "classification" if "accuracy" in metrics else "regression"


def _set_apart(group: Group, measure: str) -> list[str]:
    """Take the runs without a score out of a group, and name them."""
    title, count = group.title, len(group.records)
    scores = group.values(measure)
    group.lacking = [r for r, score in zip(group.records, scores, strict=True) if math.isnan(score)]
    group.records = [r for r, score in zip(group.records, scores, strict=True) if not math.isnan(score)]
    folders = [str(r.folder) for r in group.lacking]
    return [f"{title}: without {measure} and not counted: {len(folders)} of {count} runs, {some(folders)}"] if folders else []


def _score(groups: Sequence[Group], measure: str) -> int:
    """Score all groups in the same resamples of all networks that any of them tested; returns how many these are."""
    parts = {answers.part: answers for group in groups for _, answers in group.answered}
    if not parts:
        return 0
    resamples = Resamples(_all("units", parts.values()))
    for group in groups:
        if answers := [own for _, own in group.answered]:
            group.scored = Scored.of(answers, measure, resamples)
    return len(_all("networks", parts.values()))


def _all(name: str, answers: Any) -> np.ndarray:
    """Networks or units of some answers, each once."""
    return np.array(sorted({value for own in answers for value in getattr(own, name)}), object)


def _disagreeing(group: Group, measure: str) -> list[str]:
    """Names the runs whose score is not that of their predictions."""
    notes = []
    points = {} if group.scored is None else {part: iter(own) for part, own in group.scored.points.items()}
    for record, answers in group.answered:
        given, found = number(record.metrics.get(measure)), next(points[answers.part])
        if not agree(given, found):
            notes.append(f"{record.folder}: {measure} is {given:.6g} in metrics.json and {found:.6g} of its predictions")
    return notes


def _incomplete(group: Group) -> list[str]:
    notes = [f"{group.title}: {group.copies} more of the same seeds, counted once"] if group.copies else []
    if 0 < (answered := len(group.answered)) < len(group.records):
        notes.append(f"{group.title}: its intervals are of {answered} of {len(group.records)} runs")
    return notes


def _line(group: Group, measure: str) -> dict[str, Any]:
    """What a table says of a group alone."""
    low, high = np.nan, np.nan
    if group.scored is not None and measure in SHARES:
        low, high = score_interval([answers for _, answers in group.answered], measure)
    elif group.scored is not None:
        ends = number_interval(group.scored.mean, group.scored.mean_without, measure)
        low, high = (float(end) for end in ends)
    return {
        "model": group.first["model"],
        "features": group.first["features"],
        "settings": group.settings,
        "access": group.first.get("access", ""),
        "runs": len(group.records),
        measure: group.mean(measure),
        "sd": group.values(measure).std(ddof=1) if len(group.records) > 1 else np.nan,
        "low": low,
        "high": high,
    }


def _difference(best: Group, other: Group, measure: str, table: Table | None) -> tuple[float, float, str]:
    """The interval of best minus other, positive where the best is better, and whether it holds 0; or why there is none."""
    for group, of in ((best, " of the best"), (other, "")):
        if group.scored is None:
            return np.nan, np.nan, group.records[0].flaw + of
    assert best.scored is not None
    assert other.scored is not None
    one, two, where = best.scored, other.scored, ""
    parts, common = one.points.keys() | two.points.keys(), one.points.keys() & two.points.keys()
    if not common:  # what neither was fitted on is what both tested
        answers: list[list[Answers]] = [[own for _, own in group.answered] for group in (best, other)]
        shared = set.intersection(*(set(a.networks) for own in answers for a in own))
        if len(shared) < LEAST_NETWORKS:
            return np.nan, np.nan, f"other test networks ({len(shared)} in common)"
        kept = [[a.of(np.array(sorted(shared), object)) for a in own] for own in answers]
        resamples = Resamples(_all("units", kept[0]))
        one, two = (Scored.of(own, measure, resamples) for own in kept)
        where = f", on the {len(shared)} networks that both tested"
    elif len(common) < len(parts):
        where = f", on the {len(common)} of {len(parts)} test parts that both have"
    if (rarest := min(one.rarest, two.rarest)) < LEAST_OF_CLASS:
        return np.nan, np.nan, f"too few of a class to say ({rarest:.0f} test networks)"
    low, high, single = difference(one, two, table)
    if measure in SMALLER_IS_BETTER:
        low, high = -high, -low
    return low, high, _apart(low, high) + (SINGLE if single and low > 0 else "") + where


def _apart(low: float, high: float) -> str:
    """What an interval of the best minus another says."""
    if not np.isfinite([low, high]).all():
        return "no score without some networks"
    return "yes" if low > 0 else "no" if high >= 0 else "reversed: this one is ahead on what both tested"
