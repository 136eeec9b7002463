"""Splits of networks: seeded and stored.

Snapshots of one network are always in one part, and so are networks of one configuration, see :mod:`metanet.zoo.identity`.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from metanet.constraints import Seed, check
from metanet.errors import MetanetError

PARTS = ("train", "validation", "test")


@dataclass(frozen=True)
class Split:
    """Network ids of the three parts; they never overlap."""

    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]

    def __post_init__(self) -> None:
        ids = [*self.train, *self.validation, *self.test]
        if len(set(ids)) != len(ids):
            raise MetanetError("a split has a network in two parts; each network belongs to one")

    @cached_property
    def hash(self) -> str:
        """Content hash of the three parts."""
        return hashlib.sha256(json.dumps(self.to_json()).encode()).hexdigest()[:12]

    def to_json(self) -> dict[str, list[str]]:
        """The parts as plain lists."""
        return {part: list(getattr(self, part)) for part in PARTS}

    @classmethod
    def load(cls, path: Path) -> Split:
        """Read what :meth:`save` wrote.

        Raises:
            MetanetError: the file is no stored split.
        """
        try:
            parts = json.loads(path.read_text())
            return cls(*(tuple(parts[part]) for part in PARTS))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise MetanetError(f"'{path}' is not a stored split (JSON with train, validation and test): {error}") from None

    def parted(self, network_ids: Sequence[str], units: Sequence[str]) -> list[str]:
        """The units that have networks in more than one part, sorted.

        Args:
            network_ids: of a view, in any order; one may come many times.
            units: of each of them.
        """
        unit_of = dict(zip(network_ids, units, strict=True))
        held = [{unit_of[i] for i in getattr(self, part) if i in unit_of} for part in PARTS]
        return sorted({unit for a, b in itertools.combinations(held, 2) for unit in a & b})

    def save(self, folder: Path) -> Path:
        """Store the split as ``folder/<hash>.json``, once."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{self.hash}.json"
        if not path.exists():
            temporary = path.with_suffix(f".{os.getpid()}.tmp")  # other runs may store it too
            temporary.write_text(json.dumps(self.to_json()))
            temporary.replace(path)
        return path


def balanced_networks(network_ids: Sequence[str], classes: Sequence[str], seed: int = 0) -> set[str]:
    """As many networks of each class as the rarest has, drawn at random.

    Args:
        network_ids: one a row; an id may come many times.
        classes: the class of each row, the same for all rows of a network.
        seed: of the draw.
    """
    of_network = dict(zip(network_ids, classes, strict=True))
    members: dict[str, list[str]] = {}
    for network in sorted(of_network):
        members.setdefault(of_network[network], []).append(network)
    rarest = min(len(ids) for ids in members.values())
    rng = np.random.default_rng(seed)
    return {ids[i] for _, ids in sorted(members.items()) for i in rng.permutation(len(ids))[:rarest]}


def fold_networks(
    network_ids: Sequence[str], folds: int, seed: int, setting: str = "folds", units: Sequence[str] | None = None
) -> np.ndarray:
    """The fold of each row, shape (N,): of units, in equal numbers but for one.

    Args:
        network_ids: of each row; an id may come many times.
        folds: how many.
        seed: of the permutation.
        setting: what asks for so many folds, for the error.
        units: as for :func:`split_networks`.

    Raises:
        MetanetError: there are too few networks for so many folds.
    """
    rows = network_ids if units is None else units
    names = sorted(set(rows))
    if len(names) < 2 * folds:
        what = _words(len(names), network_ids)
        raise MetanetError(f"{len(names)} {what} are too few for {setting}={folds}; give at least two {what} a fold")
    order = np.random.default_rng(seed).permutation(len(names))
    fold = {names[i]: position % folds for position, i in enumerate(order)}
    return np.array([fold[name] for name in rows])


def _words(units: int, network_ids: Sequence[str]) -> str:
    """What so many units are."""
    return "networks" if units == len(set(network_ids)) else "configurations"


def split_networks(
    network_ids: Sequence[str],
    test: float = 0.5,
    validation: float = 0.2,
    seed: int = 0,
    units: Sequence[str] | None = None,
) -> Split:
    """Draw a split of networks.

    Args:
        network_ids: the networks to split, in any order; an id may come many times.
        test: share of the units that are kept for the one test score.
        validation: share of the *training part* that chooses trees, epochs and configurations.
        seed: of the permutation.
        units: of each of ``network_ids``, what is drawn as a whole, see :attr:`metanet.zoo.zoo.View.units`; default: each
            network by itself.

    Raises:
        MetanetError: a share is none, or leaves a part empty.
    """
    check("split.seed", seed, Seed)
    for name, share in (("split.test", test), ("split.validation", validation)):
        if not 0 <= share < 1:
            raise MetanetError(f"{name}={share} is not a share; give a number from 0 up to, not including, 1")
    unit_of = dict(zip(network_ids, network_ids if units is None else units, strict=True))
    names = sorted(set(unit_of.values()))
    order = np.random.default_rng(seed).permutation(len(names))
    n_test = round(test * len(names))
    n_validation = round(validation * (len(names) - n_test))
    n_train = len(names) - n_test - n_validation
    what = _words(len(names), network_ids)
    for name, share, count in (
        ("test", test, n_test),
        ("validation", validation, n_validation),
        ("train", 1.0, n_train),
    ):
        if share > 0 and count == 0:
            raise MetanetError(
                f"split.test={test} split.validation={validation} of {len(names)} {what} leaves the {name} part "
                f"empty; take more {what} or other shares"
            )
    part_of = {names[i]: part for part, own in enumerate(np.split(order, [n_test, n_test + n_validation])) for i in own}
    parts: list[list[str]] = [[], [], []]
    for network in sorted(unit_of):
        parts[part_of[unit_of[network]]].append(network)
    test_ids, validation_ids, train_ids = map(tuple, parts)
    return Split(train_ids, validation_ids, test_ids)
