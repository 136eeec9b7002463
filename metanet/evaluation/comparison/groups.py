"""Runs that differ in seeds alone, and what tells such groups apart."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from metanet.evaluation.differences import Scored
from metanet.runs.records import Answers, Record

SEEDS = ("seed", "split.seed")  # what runs of one group differ in
MOST = 2 / 3  # a setting that more of the rows have is not named
AGREE = 1e-6  # of two metrics that should be the same number


@dataclass
class Group:
    """Runs that differ in seeds alone.

    Attributes:
        settings: what its config has other than the others' of its family, such as ``num_leaves=15``.
        copies: runs of the same seeds as one of these, which are counted once.
        lacking: runs without the score that decides; they count nowhere.
        scored: those with answers; None where there is none.
    """

    records: list[Record]
    settings: str = ""
    copies: int = 0
    lacking: list[Record] = field(default_factory=list)
    scored: Scored | None = None

    @property
    def answered(self) -> list[tuple[Record, Answers]]:
        """The runs with answers."""
        return [(record, record.answers) for record in self.records if record.answers is not None]

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
        return np.array([number(r.metrics.get(measure)) for r in self.records])

    @property
    def title(self) -> str:
        """``gbm on stats, num_leaves=15``."""
        return ", ".join([f"{self.first['model']} on {self.first['features']}", *([self.settings] if self.settings else [])])


def number(value: Any) -> float:
    """A finite number of ``metrics.json``; nan for anything else."""
    known = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if known else math.nan


def agree(one: float, other: float) -> bool:
    """Whether two numbers are the same metric, computed twice."""
    return math.isclose(one, other, rel_tol=AGREE, abs_tol=AGREE)


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
    for group, words in zip(groups.values(), differing([configs[k] for k in groups]), strict=True):
        words += [] if group.records[0].config else ["settings not known"]
        words += [f"one of {heads} heads"] if (heads := group.first.get("heads", 1)) > 1 else []
        if (origin := group.first.get("trained_on")) is not None:
            words.append(f"trained on {origin}")
        group.settings = ", ".join(words)
    return list(groups.values())


def differing(configs: list[dict[str, Any]], most: float = MOST) -> list[list[str]]:
    """Words such as ``num_leaves=15`` for the settings in which a config differs from others.

    Settings of a model or a search are compared among those of the same one.

    Args:
        configs: flat, by dotted keys.
        most: what more than this share of them have in common is not named; 1 names all in which any two differ.
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
            if (count := counts[kinds[i], words[i]]) < of_kind[kinds[i]] and count <= most * of_kind[kinds[i]]:
                found[i].append(words[i])
    return found


def _word(value: Any) -> str:
    return "null" if value is None else f"[{','.join(map(str, value))}]" if isinstance(value, list) else str(value)


def some(titles: Sequence[str], most: int = 5) -> str:
    """The first few of a list, and how many more there are."""
    return "; ".join(titles[:most]) + (f"; {len(titles) - most} more" if len(titles) > most else "")
