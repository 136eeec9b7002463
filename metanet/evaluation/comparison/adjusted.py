"""Means of groups that have not the same test parts, adjusted for how hard each part is."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from metanet.evaluation.comparison.groups import Group
from metanet.runs.records import Record


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


def parts_of(records: Sequence[Record]) -> dict[int, Hashable]:
    """The test part of each record, by its id: of its answers, else that of another run of the same split."""
    known = {r.split: r.part for r in records if r.answers is not None and r.split}
    return {id(r): r.part if r.answers is not None else known.get(r.split, r.split or str(r.folder)) for r in records}
