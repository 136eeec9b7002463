"""Parts of several verbs: what is read, what is held out, what is mapped."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from metanet.constraints import Count, Interval, Seed
from metanet.verbs.keys import key


@dataclass
class Split:
    """Which networks are held out."""

    test: float = key(0.5, "share of the networks kept for the one test score")
    validation: float = key(0.2, "share of the rest that chooses trees and epochs")
    seed: Seed = key(0, "of the permutation of networks")


@dataclass
class View:
    """Which snapshots are read."""

    epoch: str | int | list[int] = key("last", "snapshot of each network: last, all or an epoch")
    converged: bool | None = key(
        None,
        "only networks above the image set's converged accuracy; default: yes for the neural weight space",
    )


@dataclass
class Training:
    """What the training networks show."""

    snapshots: str | int = key(
        "last",
        "of the training networks, each a row of its own: last, all, or so many of the last ones",
    )


@dataclass
class TrainSplit:
    """Which networks are held out."""

    test: float = key(0.5, "share of the networks (where they share configurations, of these) kept for the one test score")
    validation: float = key(0.2, "share of the rest that chooses trees and epochs")
    seed: Seed = key(0, "of the permutation of networks")
    file: str | None = key(
        None,
        "a stored split instead: split.json of a run, a permutation of rows (.csv), or nfn to fetch that one",
    )


@dataclass
class ConvergedView:
    """Which snapshots are read."""

    converged: bool | None = key(
        None,
        "only networks above the image set's converged accuracy; default: yes for the neural weight space",
    )


@dataclass
class Probing:
    """The map."""

    positions: Count = key(100, "of the map, from the first to the last slice of each vector")
    slice: Annotated[int, Interval(16)] | None = key(
        None,
        "values of a slice; default: 5,000, or 500 where the shortest vector is under 10,000",
    )
    part: str | None = key(None, "of the vectors: all, conv or fc; default: the model's, all")
    short: str | None = key(
        None,
        "parts shorter than a slice: run_on into what follows (the default), pad with zeros, or skip the network",
    )
    balance: bool = key(
        True,
        "every class counts alike in a score, however many networks it has, so that chance is 1 / classes",
    )


@dataclass
class ProbeTraining:
    """What the training networks show."""

    snapshots: str | int = key(2, "of the training networks: last, all, or so many of the last ones")


@dataclass
class ProbeSplit:
    """Which networks are held out."""

    test: float = key(0.5, "share of the networks kept for the map")
    validation: float = key(0.2, "share of the rest, for models that choose their length")
    seed: Seed = key(0, "of the permutation of networks")
    file: str | None = key(None, "a stored split instead: split.json of a run")


@dataclass
class TestSplit:
    """Which networks are held out."""

    test: float = key(0.5, "share of the networks kept for the one test score")
    seed: Seed = key(0, "of the permutation of networks")
