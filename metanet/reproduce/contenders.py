"""Models of tables and curves by their titles, with their defaults: ``MODEL`` or ``MODEL:FEATURES``.

Two are always among them: hyperparameters alone, the floor under what reads weights, and the GBM on statistics, which the
others are compared with. Models are compared on the same splits and seeds alone.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
import pandas as pd

from metanet.errors import MetanetError
from metanet.models import MetaModel, create_model
from metanet.models.registry import model_class, titled
from metanet.reproduce.scores import answers
from metanet.reproduce.study import NotFittedError, Study, StudyRun, readable
from metanet.zoo.split import Split
from metanet.zoo.zoo import View

BASELINE = "gbm:stats"
FLOOR = "gbm:hyper"  # what is known without any weight
BLIND = {
    "stats": "stats_global",
    "stats+probe": "stats_global+probe:outputs",
    "probe": "probe:outputs",
}  # features of any architecture in the place of others

VALIDATION = 0.2  # of the networks that are not in the test part

Key = tuple[int, int]  # split and seed of a fit
T = TypeVar("T")


class Predicts(Protocol):
    """Whatever answers for networks."""

    def predict(self, view: View) -> np.ndarray: ...


@dataclass(frozen=True)
class Contender:
    """A model of the tables, ``MODEL`` or ``MODEL:FEATURES``."""

    title: str

    @cached_property
    def parsed(self) -> tuple[str, dict[str, Any]]:
        """Its name in the registry, and its settings."""
        return titled(self.title)

    @property
    def model(self) -> str:
        """Its name in the registry."""
        return self.parsed[0]

    @property
    def access(self) -> str:
        """What it reads: W weights, H hyperparameters, F forward passes on images that no data set gave."""
        return create_model(self.model, **self.parsed[1]).access

    def blind(self) -> Contender:
        """The same for networks of any architecture: its title says what is fitted."""
        given = self.parsed[1]
        reads = given.get("beside") or given.get("features") or ("stats" if model_class(self.model).own_input is None else None)
        return Contender(f"{self.model}:{BLIND.get(reads, reads)}") if reads else self

    def fit(self, study: Study, zoo: str, split: int, seed: int, snapshots: str = "last", where: str | None = None) -> StudyRun:
        """A run of it with its defaults.

        Args:
            split, seed: numbers of them, from 0 up.
            snapshots: of the training networks.
            where: which networks, training and test alike.

        Raises:
            NotFittedError: it is not there and ``fit=false``; the floor of a zoo in which no hyperparameter varies.
        """
        if self.title == FLOOR and not readable(study.zoo(zoo).view(), "hyper"):
            raise NotFittedError(f"no hyperparameter of {zoo} varies, so there is nothing to read")
        overrides = seeds_of(study, split, seed) | {"train.snapshots": str(snapshots)} | ({"where": where} if where else {})
        overrides |= {f"model.{key}": value for key, value in self.parsed[1].items() if key != "features"}
        name = f"{self.title}-{snapshots}-split{split}-seed{seed}"
        return study.plain(zoo, self.model, self.parsed[1].get("features", "stats"), name, overrides)

    def create(self, study: Study, seed: int = 0) -> MetaModel:
        """The model with its defaults, not fitted."""
        return create_model(self.model, **self.parsed[1], seed=study.seed + seed, threads=study.threads)


def seeds_of(study: Study, split: int, seed: int) -> dict[str, str]:
    """What the fits of a number of split and a number of seed differ in."""
    return {"split.seed": str(study.config["split"]["seed"] + split), "seed": str(study.seed + seed)}


def contenders(study: Study, section: str) -> list[Contender]:
    """Those that ``SECTION.models`` names; the floor and the baseline are always among them.

    Raises:
        MetanetError: ``models`` is no list of names.
    """
    names = study.config[section]["models"]
    if not isinstance(names, list) or not all(isinstance(n, str) for n in names):
        raise MetanetError(f"{section}.models={names}: give a list of MODEL or MODEL:FEATURES, such as [gbm:stats,deepsets]")
    found = [Contender(name) for name in dict.fromkeys([FLOOR, BASELINE, *names])]
    for one in found:
        _ = one.parsed  # a mistake is found before anything is fitted
    return found


def keys_of(study: Study, section: str) -> list[Key]:
    """All splits and seeds that ``SECTION.splits`` and ``SECTION.seeds`` ask for."""
    given = study.config[section]
    return [(split, seed) for split in range(given["splits"]) for seed in range(given["seeds"])]


def nth_split(study: Study, view: View, number: int = 0) -> Split:
    """One of the splits that fits have: a test part, and a fifth of the rest for validation."""
    given = study.config["split"]
    return view.draw_split(given["test"], VALIDATION, given["seed"] + number)


def collected(keys: Sequence[Key], make: Callable[[int, int], T | None]) -> dict[Key, T]:
    """What a function gives for each split and seed, where it gives something; with ``fit=false`` that may be less."""
    found = {}
    for split, seed in keys:
        with suppress(NotFittedError):
            if (one := make(split, seed)) is not None:
                found[split, seed] = one
    return found


def by_fits(found: Mapping[str, Mapping[Key, Any]], always: Sequence[str]) -> list[tuple[list[Key], list[str]]]:
    """Models that were fitted on the same splits and seeds, the most of these first; each is compared with its like alone.

    Args:
        found: what was fitted, by title.
        always: titles that stand in every group whose fits they have.
    """
    groups: dict[frozenset[Key], list[str]] = {}
    for title, own in found.items():
        if own and title not in always:
            groups.setdefault(frozenset(own), []).append(title)
    if not groups:
        groups = {frozenset(own): [] for title, own in found.items() if own and title in always}
    ordered = sorted(groups.items(), key=lambda group: (-len(group[0]), sorted(group[0])))
    return [
        (sorted(keys), [title for title, own in found.items() if title in titles or (title in always and keys <= own.keys())])
        for keys, titles in ordered
    ]


def in_words(keys: Sequence[Key]) -> str:
    """``5 splits x 3 seeds``, or how many fits on how many splits."""
    splits = len({split for split, _ in keys})
    seeds = len({seed for _, seed in keys})
    plural = [f"{n} {word}{'' if n == 1 else 's'}" for n, word in ((splits, "split"), (seeds, "seed"), (len(keys), "fit"))]
    return f"{plural[0]} x {plural[1]}" if len(keys) == splits * seeds else f"{plural[2]} on {plural[0]}"


def level_of(access: str) -> str:
    """The highest access level of those that a model reads: F before W, then what needs no weights."""
    return next((level for level in ("D", "F", "W") if level in access.split("+")), access)


def predictions(
    study: Study, zoo: str, name: str, fitted: Callable[[], Predicts], test: View, more: Mapping[str, Any] | None = None
) -> pd.DataFrame | None:
    """Answers of a model about some networks, kept below ``fits``; None where ``fit=false`` and they are not there.

    A model that cannot read these networks gives an empty table, with the reason in a file beside it.

    Args:
        more: what else decides them, beside the study's own settings.
    """
    facts = {key: study.config[key] for key in ("split", "seed", "trainer")} | dict(more or {})
    facts["zoos"] = [study.zoo(zoo).header.plan_hash, test.zoo.header.plan_hash]
    key = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:8]
    path: Path = study.folder / "fits" / zoo / "predictions" / f"{name.replace(':', '_').replace('/', '_')}-{key}.parquet"
    if path.exists():
        return pd.read_parquet(path)
    if not study.config["fit"]:
        return None
    study.begin(f"{zoo}: {name}")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        frame = answers(test, fitted().predict(test))
    except MetanetError as error:
        frame = answers(test, np.zeros(len(test))).iloc[:0]
        path.with_suffix(".txt").write_text(str(error))
    frame.to_parquet(path)
    return frame
