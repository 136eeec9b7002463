"""Probe maps: where in a weight vector, and when in training, a local meta-model finds its target.

Eilertsen et al. 2020, section 5.3 and Figures 5, 20 and 21: the meta-model is asked at P positions of every network's
own vector and at every snapshot; a cell of the map is its score over the networks.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from time import perf_counter
from typing import Annotated, Any

import numpy as np
import pandas as pd

from metanet.constraints import Interval, check
from metanet.errors import MetanetError, UnsuitableTargetError
from metanet.evaluation.intervals import mean_share, number_interval
from metanet.models.base import MetaModel
from metanet.models.local import SliceModel
from metanet.models.target import Target
from metanet.zoo.layout import Layout
from metanet.zoo.zoo import View

_ARRAYS = ("strata", "said", "true", "progress", "epochs", "positions")
_PLAIN = ("target", "task", "chance", "length", "part", "facts")
MOST = 10_000  # positions
FEW = 5  # networks, all or of a class, of which fewer tell little


@dataclass(frozen=True)
class ProbeMap:
    """What a local meta-model said of n networks at T snapshots and P positions.

    Attributes:
        target: the column.
        task: ``classification`` (score: accuracy) or ``regression`` (score: R2).
        chance: score of who does not look: 1 / classes, the share of the commonest class where they are not balanced, or 0.
        strata: the class of each network, whose classes then count alike in a score; one class where they do not (n,).
        said: whether each prediction was right, or the prediction, (n, T, P).
        true: the target of each snapshot on its scale (n, T); 1 throughout for a classification.
        progress: mean share of its training that each snapshot stands for, (T,).
        epochs: mean epoch of each snapshot, (T,).
        positions: share of the way from the first to the last slice, (P,).
        length: values of a slice.
        part: of the vectors.
        layout: where all networks share one; else None.
        facts: seconds, networks, what was left out; with a common layout also the ``first`` start of a slice in the vector, and
            the ``room`` from there to the last one's.
    """

    target: str
    task: str
    chance: float
    strata: np.ndarray
    said: np.ndarray
    true: np.ndarray
    progress: np.ndarray
    epochs: np.ndarray
    positions: np.ndarray
    length: int
    part: str
    layout: Layout | None
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def networks(self) -> int:
        """n."""
        return len(self.said)

    @property
    def measure(self) -> str:
        """``accuracy`` or ``r2``."""
        return "accuracy" if self.task == "classification" else "r2"

    @cached_property
    def weights(self) -> np.ndarray:
        """The weight of each network in a score, (n,): every class counts alike."""
        classes, of_network, counts = np.unique(self.strata, return_inverse=True, return_counts=True)
        return 1 / (len(classes) * counts[of_network])

    @cached_property
    def scores(self) -> np.ndarray:
        """The score of each cell, (T, P); nan where a numeric target is the same for all networks of a snapshot."""
        return self._together(self._observed, ())[0]

    @property
    def rarest(self) -> int:
        """Networks of the rarest class."""
        return int(np.unique(self.strata, return_counts=True)[1].min())

    def score(self, cells: Any = slice(None)) -> float:
        """Of some cells together.

        Args:
            cells: an index of the (T, P) cells; default: all.
        """
        gained, possible = (part[(0, *np.index_exp[cells])].sum() for part in self._observed)
        return float(gained / possible)

    def without(self, cells: Any = slice(None)) -> np.ndarray:
        """That score without each network, (n,); nan without the only one of a class."""
        gained, possible = (part[(slice(None), *np.index_exp[cells])].reshape(self.networks, -1).sum(1) for part in self._left)
        return np.divide(gained, possible, out=np.full(len(gained), np.nan), where=possible > 1e-12)

    @cached_property
    def _observed(self) -> tuple[np.ndarray, np.ndarray]:
        return self._gained(lambda values: np.tensordot(self.weights, values, 1)[None])

    @cached_property
    def _left(self) -> tuple[np.ndarray, np.ndarray]:
        """What :meth:`_gained` gives without each network, (n, T, P) each."""
        return self._gained(self._sums_left)

    def _sums_left(self, values: np.ndarray) -> np.ndarray:
        """Weighted sums of values (n, ...) over all networks but each, whose class the others of it stand for, (n, ...)."""
        weighted = np.einsum("n,n...->n...", self.weights, values)
        left = np.tile(weighted.sum(0), (self.networks, *[1] * (values.ndim - 1)))
        for stratum in np.unique(self.strata):
            own = self.strata == stratum
            share = weighted[own].sum(0)
            others = own.sum() - 1
            left[own] += (share - weighted[own]) * (own.sum() / others) - share if others else np.nan
        return left

    @staticmethod
    def _together(parts: tuple[np.ndarray, np.ndarray], axes: tuple[int, ...]) -> np.ndarray:
        """Scores from what :meth:`_gained` gave, cells summed over some of the axes 1 (snapshots) and 2 (positions)."""
        gained, possible = parts
        if axes:
            gained, possible = gained.sum(axes), possible.sum(axes)
        return np.divide(gained, possible, out=np.full_like(gained, np.nan), where=possible > 1e-12)

    def _gained(self, sums: Callable[[np.ndarray], np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """What is explained and what there is to explain, (R, T, P) each; a score is their ratio.

        Of a classification, the weight of the networks told rightly, of 1; of a regression, the variance less the squared
        error, of the variance. Cells are put together by adding both up: a snapshot whose targets hardly differ counts little.

        Args:
            sums: weighted sums of values (n, ...) over networks, in R ways (R, ...).
        """
        if self.task == "classification":
            right = sums(self.said)
            return right, np.ones_like(right)
        error = sums((self.said - self.true[:, :, None]) ** 2)
        variance = (sums(self.true**2) - sums(self.true) ** 2)[:, :, None]
        return variance - error, np.broadcast_to(variance, error.shape)

    def save(self, path: Path) -> None:
        """Write everything as one ``.npz`` without pickles; accuracies as bytes."""
        arrays = {name: getattr(self, name) for name in _ARRAYS}
        if self.task == "classification":
            arrays["said"] = self.said.astype(np.uint8)
        rest = {name: getattr(self, name) for name in _PLAIN}
        rest["layout"] = None if self.layout is None else self.layout.to_json()
        temporary = path.with_suffix(".tmp.npz")
        np.savez_compressed(temporary, rest=np.array(json.dumps(rest)), **arrays)
        temporary.replace(path)

    @classmethod
    def load(cls, path: Path) -> ProbeMap:
        """What :meth:`save` wrote."""
        with np.load(path, allow_pickle=False) as stored:
            rest = json.loads(str(stored["rest"]))
            arrays = {name: stored[name] for name in _ARRAYS}
        arrays["said"] = arrays["said"].astype(np.float32)
        layout = None if rest["layout"] is None else Layout.from_json(rest["layout"])
        return cls(**arrays | rest | {"layout": layout})

    def table(self) -> pd.DataFrame:
        """One row a cell: target, snapshot, progress, epoch, position, score, low, high (95 %), networks, chance.

        Intervals are over networks: of accuracies class by class (:func:`metanet.evaluation.intervals.mean_share`), of R2 the
        jackknife's; there is none of R2 of fewer networks than :data:`FEW`.
        """
        snapshots, positions = self.scores.shape
        margin = self._margin(())
        rows, columns = np.indices((snapshots, positions))
        return pd.DataFrame(
            {
                "target": self.target,
                "snapshot": rows.ravel(),
                "progress": self.progress[rows.ravel()],
                "epoch": self.epochs[rows.ravel()],
                "position": self.positions[columns.ravel()],
                "place": [self.place(p) for p in self.positions] * snapshots,
                "score": self.scores.ravel(),
                "low": margin["low"].ravel(),
                "high": margin["high"].ravel(),
                "networks": self.networks,
                "chance": self.chance,
            }
        )

    def by_position(self) -> pd.DataFrame:
        """The score of all snapshots together at each position, with a 95 % interval: position, score, low, high."""
        return pd.DataFrame({"position": self.positions} | self._margin((1,)))

    def by_progress(self) -> pd.DataFrame:
        """The score of all positions together at each snapshot, with a 95 % interval: progress, epoch, score, low, high."""
        return pd.DataFrame({"progress": self.progress, "epoch": self.epochs} | self._margin((2,)))

    def _margin(self, axes: tuple[int, ...]) -> dict[str, np.ndarray]:
        score = self._together(self._observed, axes)[0]
        if self.task == "classification":
            members = [self.strata == stratum for stratum in np.unique(self.strata)]
            right = self.said.mean(axes) if axes else self.said
            _, low, high = mean_share([right[own] for own in members], [np.ones(own.sum()) for own in members])
        elif self.networks < FEW:
            low = high = np.full_like(score, np.nan)
        else:
            low, high = number_interval(score, self._together(self._left, axes), "r2")
        return {"score": score, "low": low, "high": high}

    def mean(self) -> tuple[float, float, float]:
        """The score of all cells together with its 95 % interval over networks."""
        margin = self._margin((1, 2))
        return float(margin["score"]), float(margin["low"]), float(margin["high"])

    def borders(self) -> list[tuple[str, float, float]]:
        """Layers and where along the map the middle of a slice lies in each, as shares; empty without a common layout."""
        if self.layout is None:
            return []
        start, stop = self.layout.part(self.part)
        room = max(self.facts["room"], 1)
        found: list[tuple[str, float, float]] = []
        for layer in self.layout.layers:
            tensors = [t for t in self.layout.tensors if t.layer == layer and start <= t.start < stop]
            if tensors:
                ends = ((edge - self.facts["first"] - self.length / 2) / room for edge in (tensors[0].start, tensors[-1].stop))
                first, last = (float(np.clip(end, 0, 1)) for end in ends)
                if last > first:
                    found.append((layer, first, last))
        return found

    def place(self, position: float) -> str:
        """What lies at the middle of a slice: the tensor's name; a share of the part without a common layout."""
        if self.layout is None:
            return f"{position:.0%}"
        middle = self.facts["first"] + position * self.facts["room"] + self.length / 2
        return next((t.name for t in self.layout.tensors if t.start <= middle < t.stop), self.layout.tensors[-1].name)


def check_positions(positions: object) -> None:
    """Refuse what is no sensible number of positions."""
    check("probe.positions", positions, Annotated[int, Interval(1, MOST)])  # the paper's maps have 100


def check_local(kind: type[MetaModel]) -> None:
    """Refuse a model that judges whole networks.

    Raises:
        MetanetError: the model judges whole networks.
    """
    if not (issubclass(kind, SliceModel) and kind.local):
        raise MetanetError(
            f"model={kind.name} judges whole networks, and a map asks slices of them; take dmc_local, dmc_local_mini or local"
        )


def probe_map(
    model: MetaModel,
    view: View,
    positions: int = 100,
    balance: bool = True,
    on_progress: Callable[[int, int], None] = lambda done, of: None,
) -> ProbeMap:
    """Ask a fitted local meta-model everywhere.

    Args:
        model: a :class:`metanet.models.local.SliceModel` that reads slices.
        view: all snapshots of networks that the model was not trained on.
        positions: P, from the first to the last slice of each network's own vector.
        balance: of a classification, every class counts alike, so that chance is 1 / classes.
        on_progress: told of snapshots done and all.

    Raises:
        MetanetError: the networks are too short for the slices, or the target is not known of all.
        UnsuitableTargetError: the target has one class.
    """
    check_positions(positions)
    check_local(type(model))
    assert isinstance(model, SliceModel)
    target = model.target
    slices = model.slices(view)
    view = slices.view
    if positions > 1 and not slices.rooms.any():
        raise MetanetError(
            f"part={model.part} of all {slices.short_networks} networks has at most {model.length} values, so that all positions "
            f"are one slice; train on shorter slices (probe.slice=), or give probe.positions=1"
        )
    rows, frame, few = snapshot_grid(view)
    if model.classes and len(known := set(view.target(target.name)[rows[:, 0]].tolist())) < 2:
        raise UnsuitableTargetError(
            f"target '{target.name}' is always '{known.pop()}' in these networks; a map needs two classes"
        )
    starts = slices.even_starts(positions)
    codes = _codes(target, view)
    n, snapshots = rows.shape
    if broken := int((~np.isfinite(codes[rows])).any(1).sum()):
        raise MetanetError(f"target '{target.name}' is not a finite number in {broken} of {n} networks; leave them out by where=")
    said = np.empty((n, snapshots, positions), np.float32)
    true = np.ones((n, snapshots))
    began, forward = perf_counter(), 0.0
    for i in range(n):
        for j in range(snapshots):
            row = rows[i, j]
            values = slices.read(np.full(positions, row), starts[row])
            before = perf_counter()
            logits = model.logits(values)
            forward += perf_counter() - before
            if model.classes:
                said[i, j] = logits.argmax(1) == codes[row]
            else:
                said[i, j], true[i, j] = target.clip(logits[:, 0]), codes[row]
            on_progress(i * snapshots + j + 1, n * snapshots)
    seconds = perf_counter() - began
    strata = codes[rows[:, 0]] if model.classes and balance else np.zeros(n, np.int64)
    shares = np.bincount(codes[rows[:, 0]]) / n if model.classes else np.zeros(1)
    progress = frame["progress"].to_numpy()[rows].mean(0) if "progress" in frame else np.linspace(0, 1, snapshots)
    layouts = view.frame["layout_id"].unique()
    return ProbeMap(
        target=target.name,
        task=target.task,
        chance=float(1 / np.count_nonzero(shares) if model.classes and balance else shares.max()),
        strata=strata,
        said=said,
        true=true,
        progress=progress,
        epochs=frame["epoch"].to_numpy()[rows].mean(0),
        positions=np.linspace(0, 1, positions) if positions > 1 else np.array([0.5]),
        length=model.length,
        part=model.part,
        layout=view.zoo.layouts[layouts[0]] if len(layouts) == 1 else None,
        facts={
            "networks": n,
            "rarest_class": round(n * shares[shares > 0].min()) if model.classes else n,
            "snapshots": snapshots,
            "slice": model.length,
            "networks_short": slices.short_networks,
            "networks_few_snapshots": few,
            "networks_unseen_class": int((codes[rows[:, 0]] >= len(target.classes)).sum()) if model.classes else 0,
            "seconds": seconds,
            **({"first": int(slices.first[0]), "room": int(slices.rooms[0])} if len(layouts) == 1 else {}),
            "share_outside_forward": 1 - forward / seconds if seconds else 0.0,
            "slices_per_second": n * snapshots * positions / seconds if seconds else float("nan"),
        },
    )


def _codes(target: Target, view: View) -> np.ndarray:
    """Codes of a target, (N,); categories that training never saw, which are never told rightly, come after the others."""
    if target.kind != "category":
        return target.encode(view)
    values = view.target(target.name)
    classes = [*target.classes, *sorted(set(values.tolist()) - set(target.classes))]
    return np.array([classes.index(value) for value in values.tolist()], np.int64)


def snapshot_grid(view: View) -> tuple[np.ndarray, pd.DataFrame, int]:
    """Rows of a view by network and snapshot, (n, T), its frame, and how many networks had too few snapshots.

    T is the median number of snapshots of a network. Networks with fewer are left out; of those with more, T at even
    distances are taken, the first and the last among them.
    """
    frame = view.frame
    groups = [own.sort_values("epoch").index.to_numpy() for _, own in frame.groupby("network_id", sort=True)]
    count = int(np.median([len(rows) for rows in groups]))
    kept = [rows for rows in groups if len(rows) >= count]
    places = [np.round(np.linspace(len(rows) - 1, 0, count)).astype(int)[::-1] for rows in kept]  # one: the last
    return np.stack([rows[at] for rows, at in zip(kept, places, strict=True)]), frame, len(groups) - len(kept)
