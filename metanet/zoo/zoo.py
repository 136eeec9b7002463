"""Zoos and views: networks and their snapshots, and lazy selections of these."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from metanet.errors import MetanetError, did_you_mean
from metanet.zoo.columns import PLACES, column_kinds
from metanet.zoo.files import read_table, shard_path
from metanet.zoo.header import DataFacts, ZooHeader
from metanet.zoo.identity import units_of
from metanet.zoo.layout import Layout
from metanet.zoo.query import query_mask
from metanet.zoo.split import Split, fold_networks, split_networks


class Zoo:
    """Networks and their snapshots, opened for reading; weights stay on disk until a view reads them.

    Examples:
        >>> import metanet
        >>> import numpy as np
        >>> import pandas as pd
        >>> layout = metanet.Layout.build([("fc.weight", "fc", "kernel", (2, 3)), ("fc.bias", "fc", "bias", (2,))])
        >>> weights = np.random.default_rng(0).standard_normal((40, layout.size))
        >>> zoo = metanet.zoo_from_arrays(weights, layout, pd.DataFrame({"test_accuracy": np.linspace(0, 1, 40)}), name="mine")
        >>> zoo.networks.shape[0], zoo.view(epoch="last")
        (40, View(40 snapshots of mine))
    """

    def __init__(
        self,
        name: str,
        header: ZooHeader,
        layouts: dict[str, Layout],
        networks: pd.DataFrame,
        snapshots: pd.DataFrame,
        *,
        folder: Path | None = None,
        shards: Sequence[np.ndarray] | None = None,
    ) -> None:
        self.name = name
        self.header = header
        self.layouts = layouts
        self.networks = networks
        self.snapshots = snapshots
        self.folder = folder
        self._shards: dict[int, np.ndarray] = dict(enumerate(shards or ()))
        self._checked = np.zeros(len(snapshots), bool)  # snapshots that slices were read from

    def __repr__(self) -> str:
        return f"Zoo('{self.name}': {len(self.networks)} networks, {len(self.snapshots)} snapshots)"

    @cached_property
    def history(self) -> pd.DataFrame:
        """Metrics of every epoch that was evaluated, weights kept or not."""
        if self.folder is None:
            return self.snapshots.drop(columns=list(PLACES), errors="ignore")
        return read_table(self.folder / "history.parquet", self.header.checksums.get("history.parquet"))

    @cached_property
    def units(self) -> pd.Series:
        """The unit of splitting of each network, by network_id; printed where that is not plainly the network.

        See :func:`metanet.zoo.identity.units_of`.
        """
        units, note = units_of(self.networks, self.header)
        if note:
            print(f"{self.name}: {note}")
        return units

    @property
    def data(self) -> DataFacts:
        """Facts of the image set."""
        return self.header.data

    @property
    def columns(self) -> dict[str, str]:
        """The kind of each column that can be predicted: ``number``, ``share``, ``log`` or ``category``, as the header declares
        it; what it says nothing of is as its values are, see :mod:`metanet.zoo.columns`.
        """
        return column_kinds(self.networks, self.snapshots, self.header.columns)

    def kind(self, column: str) -> str:
        """The kind of a column, see :attr:`columns`; ``final_`` columns are of the kind of what they are the last of."""
        return self.columns.get(column) or self.columns.get(column.removeprefix("final_"), "number")

    def view(
        self,
        epoch: str | int | Sequence[int] = "last",
        status: str | None = "ok",
        where: str | None = None,
        converged: bool = False,
    ) -> View:
        """Select snapshots.

        Args:
            epoch: ``"last"`` (of each network), ``"all"``, one epoch or several.
            status: ``"ok"``, ``"nan"``, or None for both.
            where: a pandas query over the view's columns, ``hp.*`` as written.
            converged: keep networks whose last snapshot is above the accuracy that the data config calls converged.

        Raises:
            MetanetError: there is no such epoch, or the zoo does not say when a network has converged.
        """
        epochs = self.snapshots["epoch"].to_numpy()
        keep = np.ones(len(epochs), bool)
        if status is not None:
            known = self.networks.loc[self.networks["status"] == status, "network_id"]
            keep &= self.snapshots["network_id"].isin(set(known)).to_numpy()
        if epoch == "last":
            last = self.snapshots.groupby("network_id")["epoch"].transform("max").to_numpy()
            keep &= epochs == last
        elif epoch != "all":
            wanted: list[Any] = list(epoch) if isinstance(epoch, list | tuple) else [epoch]
            if not all(isinstance(e, int) and not isinstance(e, bool) for e in wanted):
                raise MetanetError(f"epoch={epoch} is not known; give last, all, a number or a list of numbers")
            if missing := sorted(set(wanted) - set(epochs.tolist())):
                raise MetanetError(f"no snapshot at epoch {missing[0]}; this zoo has {sorted(set(epochs.tolist()))}")
            keep &= np.isin(epochs, wanted)
        view = View(self, np.flatnonzero(keep))
        if converged:
            if self.data.converged is None:
                raise MetanetError(f"{self.name} does not say which accuracy counts as converged; use where=")
            view = view.of_networks(self._converged())
        return view if where is None else view.where(where)

    def _converged(self) -> set[str]:
        """The networks whose last test accuracy is above what their image set calls converged."""
        bound: Any = self.data.converged
        frame = self.view(status=None).frame
        if isinstance(bound, dict):
            bound = frame["hp.dataset"].map(bound)
        return set(frame.loc[frame["test_accuracy"] > bound, "network_id"])

    def save(self, folder: str | Path) -> Zoo:
        """Write this zoo to a new folder; returns it as it lies there. See :mod:`metanet.zoo.build`."""
        from metanet.zoo.build import save_zoo

        return save_zoo(self, folder)

    def read(self, rows: np.ndarray, size: int) -> np.ndarray:
        """The vectors of some snapshots, all of length ``size``: float32 (N, size), checked."""
        table = self.snapshots
        shards = table["shard"].to_numpy()[rows]
        offsets = table["offset"].to_numpy()[rows]
        if len(rows) and (shards == shards[0]).all() and (np.diff(offsets) == size).all():
            whole = self._shard(int(shards[0]))[offsets[0] : offsets[0] + len(rows) * size].reshape(-1, size)
            self._check(rows, whole)
            return whole
        out = np.empty((len(rows), size), np.float32)
        for shard in np.unique(shards):
            values = self._shard(int(shard))
            for i in np.flatnonzero(shards == shard):
                out[i] = values[offsets[i] : offsets[i] + size]
        self._check(rows, out)
        return out

    def read_one(self, row: int) -> np.ndarray:
        """The vector of one snapshot, float32 (D,), checked."""
        entry = self.snapshots.iloc[row]
        vector = self._shard(int(entry["shard"]))[entry["offset"] : entry["offset"] + entry["length"]]
        self._check(np.array([row]), vector[None])
        return vector

    def read_slices(self, rows: np.ndarray, starts: np.ndarray, length: int) -> np.ndarray:
        """Consecutive values of some snapshots, from a position of each vector on: float32 (N, length).

        A snapshot is checked when it is first read from, not at every slice.

        Args:
            rows: of the snapshots table, (N,); one may come many times.
            starts: positions in the vectors, (N,); the slices end within them.
        """
        out = np.empty((len(rows), length), np.float32)
        for i, (shard, offset, start) in enumerate(zip(*self._checked_places(rows), starts.tolist(), strict=True)):
            out[i] = self._shard(shard)[offset + start : offset + start + length]
        return out

    def read_positions(self, rows: np.ndarray, positions: np.ndarray) -> np.ndarray:
        """Values from anywhere in the vectors of some snapshots: rows (N,), positions (N, S) -> float32 (N, S).

        Checked as in :meth:`read_slices`.
        """
        out = np.empty(positions.shape, np.float32)
        for i, (shard, offset) in enumerate(zip(*self._checked_places(rows), strict=True)):
            out[i] = self._shard(shard)[offset + positions[i]]
        return out

    def _checked_places(self, rows: np.ndarray) -> tuple[list[int], list[int]]:
        """Shard and offset of some snapshots; their vectors are checked when they are first asked for."""
        for row in np.unique(rows[~self._checked[rows]]).tolist():
            self.read_one(row)
            self._checked[row] = True
        return self.snapshots["shard"].to_numpy()[rows].tolist(), self.snapshots["offset"].to_numpy()[rows].tolist()

    def _shard(self, index: int) -> np.ndarray:
        if index not in self._shards:
            assert self.folder is not None
            path = shard_path(self.folder, self.header, index)
            try:
                values = np.load(path, mmap_mode="r", allow_pickle=False).reshape(-1)
            except (OSError, ValueError, EOFError, SyntaxError) as error:  # numpy's, for a damaged header
                raise MetanetError(f"shard '{path}' cannot be read: {error}; restore it from a copy") from None
            if values.dtype != np.dtype("<f4") or values.shape != (self.header.shards[index],):
                raise MetanetError(
                    f"shard '{path}' holds {values.dtype} of shape {values.shape}, float32 of shape "
                    f"({self.header.shards[index]},) was written; restore it from a copy"
                )
            self._shards[index] = values
        return self._shards[index]

    def _check(self, rows: np.ndarray, vectors: np.ndarray) -> None:
        if "crc32" not in self.snapshots:
            return
        expected = self.snapshots["crc32"].to_numpy()[rows]
        for row, vector, crc in zip(rows, vectors, expected, strict=True):
            if zlib.crc32(vector) != crc:
                entry = self.snapshots.iloc[row]
                raise MetanetError(
                    f"{self.name}: the weights of network {entry['network_id']} at epoch {entry['epoch']} differ from "
                    f"their checksum (weights-{entry['shard']:05d}.npy is damaged); restore that file from a copy, "
                    "or delete the zoo and generate it again"
                )


class View:
    """Some snapshots of a zoo, in a fixed order; weights are read only when asked for.

    Attributes:
        zoo: where the snapshots lie.
        rows: positions in ``zoo.snapshots``, shape (N,).

    Examples:
        >>> import metanet
        >>> import numpy as np
        >>> import pandas as pd
        >>> layout = metanet.Layout.build([("fc.weight", "fc", "kernel", (2, 3)), ("fc.bias", "fc", "bias", (2,))])
        >>> weights = np.random.default_rng(0).standard_normal((40, layout.size))
        >>> zoo = metanet.zoo_from_arrays(weights, layout, pd.DataFrame({"test_accuracy": np.linspace(0, 1, 40)}), name="mine")
        >>> view = zoo.view()
        >>> train, test = view.split(test=0.5, seed=0)  # by network
        >>> train.weights().shape, len(set(train.network_ids) & set(test.network_ids))
        ((20, 8), 0)
    """

    def __init__(self, zoo: Zoo, rows: np.ndarray) -> None:
        self.zoo = zoo
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __repr__(self) -> str:
        return f"View({len(self)} snapshots of {self.zoo.name})"

    @cached_property
    def frame(self) -> pd.DataFrame:
        """One row a snapshot: network_id, epoch, step, progress, the metrics, ``hp.*``, and ``configuration`` with many seeds."""
        networks = self.zoo.networks.set_index("network_id")
        frame = self.zoo.snapshots.iloc[self.rows].drop(columns=list(PLACES), errors="ignore").reset_index(drop=True)
        of_network = [c for c in networks.columns if c.startswith("hp.") or c in ("status", "layout_id", "configuration")]
        return frame.join(networks[of_network], on="network_id")

    @property
    def network_ids(self) -> np.ndarray:
        """The network of each snapshot, shape (N,)."""
        return self.frame["network_id"].to_numpy(dtype=object)

    @cached_property
    def units(self) -> np.ndarray:
        """The unit of splitting of each snapshot, shape (N,) of str.

        Where networks share a configuration, the configuration; else the network itself, as where all networks of this view
        are of one configuration. Splits, folds, validation parts and resamples are of units; see
        :func:`metanet.zoo.identity.units_of`.
        """
        units = self.zoo.units.loc[self.network_ids].to_numpy(object)
        return self.network_ids if len(set(units)) == 1 else units

    @property
    def layout(self) -> Layout:
        """The one layout of all snapshots; an error where architectures are mixed.

        Raises:
            MetanetError: the view mixes layouts.
        """
        ids = self.frame["layout_id"].unique()
        if len(ids) != 1:
            raise MetanetError(
                f"this view mixes {len(ids)} layouts, so its vectors have no common positions; "
                "take view.by_layout(), view.vectors() or an input of any length such as features=stats_global"
            )
        return self.zoo.layouts[ids[0]]

    def by_layout(self) -> Iterator[tuple[Layout, np.ndarray]]:
        """Pairs of a layout and the positions in this view of its snapshots."""
        for layout_id, positions in self.frame.groupby("layout_id", sort=False).indices.items():
            yield self.zoo.layouts[str(layout_id)], np.asarray(positions)

    def weights(self) -> np.ndarray:
        """All weight vectors, float32 of shape (N, D).

        A memory-mapped array without a copy where the snapshots lie end to end in one shard, else a
        new array into which only the rows of this view were read.
        """
        return self.zoo.read(self.rows, self.layout.size)

    def vectors(self) -> Iterator[np.ndarray]:
        """The weight vectors one by one, of whatever length, shape (D_i,)."""
        for row in self.rows:
            yield self.zoo.read_one(int(row))

    def take(self, positions: np.ndarray | Sequence[int]) -> View:
        """The snapshots at some positions of this view."""
        return View(self.zoo, self.rows[np.asarray(positions)])

    def union(self, other: View) -> View:
        """The snapshots of two views of one zoo, each once, in the zoo's order."""
        return View(self.zoo, np.union1d(self.rows, other.rows))

    def where(self, query: str) -> View:
        """Keep the rows for which a pandas query over :attr:`frame` holds; ``hp.*`` as written."""
        return self.take(np.flatnonzero(query_mask(self.frame, query)))

    def of_networks(self, network_ids: Iterable[str]) -> View:
        """Keep the snapshots of some networks."""
        return self.take(np.flatnonzero(self.frame["network_id"].isin(set(network_ids))))

    def target(self, name: str) -> np.ndarray:
        """A column to predict: a metric such as ``test_accuracy`` or a hyperparameter such as ``hp.optimizer``.

        Categories are text even where they are numbers.
        ``final_test_accuracy`` is the metric of each network's last snapshot, whatever snapshot the view holds.

        Raises:
            MetanetError: the zoo has no such column, or no value in it.
        """
        frame = self.frame
        if name.startswith("final_") and name.removeprefix("final_") in frame.columns:
            last = self.zoo.view(epoch="last").frame.set_index("network_id")[name.removeprefix("final_")]
            column = frame["network_id"].map(last)
        elif name in frame.columns:
            column = frame[name]
        else:
            raise MetanetError(f"no target '{name}' in {self.zoo.name}{did_you_mean(name, self.targets())}")
        if column.isna().all():
            raise MetanetError(f"target '{name}' has no value in {self.zoo.name}: this zoo does not measure it")
        values = column.to_numpy()
        number = pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)
        return values.astype(np.float64) if number and self.zoo.kind(name) != "category" else values.astype(str)

    def targets(self) -> list[str]:
        """Names that :meth:`target` takes."""
        named = {"network_id", "layout_id", "status", "configuration"}
        columns = [c for c in self.frame.columns if c not in named]
        return columns + [f"final_{c}" for c in columns if c.endswith(("_accuracy", "_loss"))]

    def split(self, test: float = 0.5, seed: int = 0) -> tuple[View, View]:
        """Training and test part of this view's networks, see :meth:`draw_split`."""
        split = self.draw_split(test=test, validation=0.0, seed=seed)
        return self.part(split, "train"), self.part(split, "test")

    def draw_split(self, test: float = 0.5, validation: float = 0.2, seed: int = 0) -> Split:
        """A split of this view's networks that parts no unit; see :func:`metanet.zoo.split.split_networks`."""
        return split_networks(self.network_ids.tolist(), test, validation, seed, units=self.units.tolist())

    def draw_folds(self, folds: int, seed: int, setting: str = "folds") -> np.ndarray:
        """The fold of each snapshot, shape (N,), which part no unit; see :func:`metanet.zoo.split.fold_networks`."""
        return fold_networks(self.network_ids.tolist(), folds, seed, setting, self.units.tolist())

    def part(self, split: Split, *names: str) -> View:
        """The snapshots of one or more parts of a stored split; an error where none is left.

        Raises:
            MetanetError: the part is empty in this view.
        """
        ids = {i for name in names for i in getattr(split, name)}
        view = self.of_networks(ids)
        if len(view) == 0:
            raise MetanetError(
                f"the {' + '.join(names)} part of the split is empty in this view of {self.zoo.name} "
                f"({len(self)} snapshots); loosen `where` and `view.*`, or choose other split shares"
            )
        return view
