"""Slices: S consecutive weights from anywhere in a vector, of networks of whatever architectures.

Eilertsen et al. 2020, sections 5.3 and F.1: local meta-classifiers are trained on slices at random positions, and asked
at even distances along the vector.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor

from metanet.constraints import Count, OneOf, check
from metanet.errors import MetanetError
from metanet.zoo.wiring import Wiring, wire
from metanet.zoo.zoo import View

Short = Annotated[str, OneOf("run_on", "pad", "skip")]


class Slices:
    """Where the slices of a view lie; values are read only when asked for.

    Args:
        view: snapshots of any architectures.
        length: S, values of a slice.
        part: of the vectors: ``all``, ``conv`` or ``fc``.
        short: what becomes of a vector whose part is shorter than S. ``run_on``: its one slice starts where the part does
            and runs on into the weights behind it (earlier where the vector ends); ``pad``: zeros follow the part;
            ``skip``: the network is left out.

    Attributes:
        view: without what was skipped, N snapshots.
        first: the first possible start of each snapshot's slices, (N,).
        rooms: how many further starts there are, (N,).
        short_networks: networks whose part is shorter than S.

    Raises:
        MetanetError: slices are longer than a vector that is not to be left out, or ``short`` is none of the three words.
    """

    def __init__(self, view: View, length: int, part: str = "all", short: str = "run_on") -> None:
        check("slice", length, Count)
        check("short", short, Short)
        self.length, self.part, self.short = length, part, short
        spans = {layout_id: view.zoo.layouts[layout_id].part(part) for layout_id in view.frame["layout_id"].unique()}
        sizes = {layout_id: view.zoo.layouts[layout_id].size for layout_id in spans}
        ids = view.frame["layout_id"].to_numpy()
        starts, stops = (np.array([spans[i][k] for i in ids], np.int64) for k in (0, 1))
        size = np.array([sizes[i] for i in ids], np.int64)
        is_short = stops - starts < length
        self.short_networks = len(set(view.network_ids[is_short]))
        if short == "run_on" and (beyond := size < length).any():
            names = sorted(set(view.network_ids[beyond]))
            raise MetanetError(
                f"slices of {length} values are longer than the vectors of {len(names)} of {len(set(view.network_ids))} networks "
                f"({', '.join(names[:3])}{', ...' if len(names) > 3 else ''}; the shortest has {size.min()}); give a slice of at "
                f"most {size.min()}, or short=pad or short=skip"
            )
        if short != "run_on" and is_short.all():
            raise MetanetError(
                f"slices of {length} values are longer than part={part} of all {self.short_networks} networks "
                f"(the longest has {(stops - starts).max()} values); give a shorter slice, or short=run_on"
            )
        if short == "skip":
            keep = np.flatnonzero(~is_short)
            view, starts, stops, size, is_short = view.take(keep), starts[keep], stops[keep], size[keep], is_short[keep]
        self.view = view
        self._layout_ids = view.frame["layout_id"].to_numpy()
        self._wirings: dict[str, Wiring] = {}
        self.rooms = np.where(is_short, 0, stops - starts - length)
        self.first = np.where(is_short, np.minimum(starts, np.maximum(size - length, 0)), starts) if short == "run_on" else starts
        self._valid = np.minimum(stops - starts, length) if short == "pad" else np.full(len(view), length)

    def __len__(self) -> int:
        return len(self.view)

    def even_starts(self, positions: int) -> np.ndarray:
        """Starts at even distances from the first to the last possible one: int64 (N, P)."""
        shares = np.linspace(0, 1, positions) if positions > 1 else np.array([0.5])
        return self.first[:, None] + np.round(shares * self.rooms[:, None]).astype(np.int64)

    def random_starts(self, rng: np.random.Generator, index: np.ndarray) -> np.ndarray:
        """One start for each of some snapshots (B,), every possible one equally likely: int64 (B,)."""
        return self.first[index] + rng.integers(0, self.rooms[index] + 1)

    def read(self, index: np.ndarray, starts: np.ndarray, reorder: np.random.Generator | None = None) -> np.ndarray:
        """Slices of some snapshots (B,) from their starts (B,): float32 (B, S).

        Args:
            reorder: draws another order of each network's hidden neurons; the slice is what then lies there.
        """
        valid = self._valid[index]
        if (valid == self.length).all():
            return self._read(index, starts, self.length, reorder)
        out = np.zeros((len(index), self.length), np.float32)
        for size in np.unique(valid):
            own = valid == size
            out[own, :size] = self._read(index[own], starts[own], int(size), reorder)
        return out

    def _read(self, index: np.ndarray, starts: np.ndarray, size: int, reorder: np.random.Generator | None) -> np.ndarray:
        rows = self.view.rows[index]
        if reorder is None:
            return self.view.zoo.read_slices(rows, starts, size)
        positions = np.empty((len(index), size), np.int64)
        for i, (layout_id, start) in enumerate(zip(self._layout_ids[index], starts.tolist(), strict=True)):
            wiring = self._wiring(layout_id)
            positions[i] = wiring.positions(wiring.draw(reorder), start, start + size)
        return self.view.zoo.read_positions(rows, positions)

    def _wiring(self, layout_id: str) -> Wiring:
        if layout_id not in self._wirings:
            self._wirings[layout_id] = wire(self.view.zoo.layouts[layout_id])
        return self._wirings[layout_id]

    def check_wiring(self) -> None:
        """Refuse architectures whose hidden neurons are not known.

        Raises:
            MetanetError: a layout has no order of neurons that can be told.
        """
        for layout_id in np.unique(self._layout_ids):
            try:
                self._wiring(layout_id)
            except MetanetError as error:
                raise MetanetError(f"neurons cannot be reordered: {error}; or train without, by model.augment=none") from None


class SliceBatches:
    """Shuffled batches (slices (B, M, S), codes (B,)) of one epoch after another: M slices of every snapshot, anywhere.

    Args:
        slices: N snapshots.
        codes: what is to be predicted of each, (N,).
        bag: M.
        seed: of order and positions.
        balanced: an epoch has as many snapshots of each class, the members of rare ones more than once.
        permute: every slice is of the network with its hidden neurons in another order.
    """

    def __init__(
        self,
        slices: Slices,
        codes: np.ndarray,
        batch_size: int = 64,
        bag: int = 1,
        seed: int = 0,
        balanced: bool = False,
        permute: bool = False,
    ) -> None:
        self.slices, self.batch_size, self.bag, self.balanced, self.permute = slices, batch_size, bag, balanced, permute
        if permute:
            slices.check_wiring()
        self.codes = torch.from_numpy(codes if codes.dtype == np.int64 else codes.astype(np.float32))
        self.rng = np.random.default_rng(seed)

    def __len__(self) -> int:
        count = len(self.slices)
        if self.balanced:
            classes = len(np.unique(self.codes.numpy()))
            count = classes * (count // classes)
        return max(1, min(-(-count // self.batch_size), count // 2))  # batch normalisation cannot do with batches of one

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        order = balanced_order(self.codes.numpy(), self.rng) if self.balanced else self.rng.permutation(len(self.slices))
        for batch in np.array_split(order, len(self)):
            yield self.draw(batch)

    def draw(self, index: np.ndarray) -> tuple[Tensor, Tensor]:
        """M slices of each of some snapshots (B,), at random positions: (B, M, S), with their codes (B,)."""
        members = np.repeat(index, self.bag)
        values = self.slices.read(members, self.slices.random_starts(self.rng, members), self.rng if self.permute else None)
        return torch.from_numpy(values).view(len(index), self.bag, -1), self.codes[index]


def balanced_order(codes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Positions of N codes, N // classes of each class, shuffled; every member of a class comes before one comes again."""
    classes = np.unique(codes)
    each = len(codes) // len(classes)
    drawn = []
    for code in classes:
        members = np.flatnonzero(codes == code)
        drawn += [np.concatenate([rng.permutation(members) for _ in range(-(-each // len(members)))])[:each]]
    return rng.permutation(np.concatenate(drawn))


class SliceDataModule(pl.LightningDataModule):
    """Training batches of slices."""

    def __init__(self, batches: SliceBatches) -> None:
        super().__init__()
        self.batches = batches

    def train_dataloader(self) -> SliceBatches:
        """An epoch's batches; each epoch draws other positions."""
        return self.batches

    def state_dict(self) -> dict[str, Any]:
        """Of what draws order and positions."""
        return {"drawing": self.batches.rng.bit_generator.state}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.batches.rng.bit_generator.state = state_dict["drawing"]
