"""Splits by network: seeded and stored. Snapshots of one network are always in one part."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from metanet.errors import MetanetError, check_seed

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
        """Read what :meth:`save` wrote."""
        try:
            parts = json.loads(path.read_text())
            return cls(*(tuple(parts[part]) for part in PARTS))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise MetanetError(f"'{path}' is not a stored split (JSON with train, validation and test): {error}") from None

    def save(self, folder: Path) -> Path:
        """Store the split as ``folder/<hash>.json``, once."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{self.hash}.json"
        if not path.exists():
            temporary = path.with_suffix(".tmp")
            temporary.write_text(json.dumps(self.to_json()))
            temporary.replace(path)
        return path


def split_networks(network_ids: Sequence[str], test: float = 0.5, validation: float = 0.2, seed: int = 0) -> Split:
    """Draw a split of networks.

    Args:
        network_ids: the networks to split, in any order; an id may come many times.
        test: share of the networks that are kept for the one test score.
        validation: share of the *training part* that chooses trees, epochs and configurations.
        seed: of the permutation.
    """
    check_seed("split.seed", seed)
    for name, share in (("split.test", test), ("split.validation", validation)):
        if not 0 <= share < 1:
            raise MetanetError(f"{name}={share} is not a share; give a number from 0 up to, not including, 1")
    ids = sorted(set(network_ids))
    order = np.random.default_rng(seed).permutation(len(ids))
    n_test = round(test * len(ids))
    n_validation = round(validation * (len(ids) - n_test))
    n_train = len(ids) - n_test - n_validation
    for name, share, count in (
        ("test", test, n_test),
        ("validation", validation, n_validation),
        ("train", 1.0, n_train),
    ):
        if share > 0 and count == 0:
            raise MetanetError(
                f"split.test={test} split.validation={validation} of {len(ids)} networks leaves the {name} part "
                "empty; take more networks or other shares"
            )
    parts = np.split(order, [n_test, n_test + n_validation])
    test_ids, validation_ids, train_ids = (tuple(ids[i] for i in sorted(part)) for part in parts)
    return Split(train_ids, validation_ids, test_ids)
