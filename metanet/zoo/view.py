"""Views: lazy selections of the snapshots of a zoo."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from metanet.errors import MetanetError, did_you_mean
from metanet.zoo.layout import Layout
from metanet.zoo.split import Split, fold_networks, split_networks

if TYPE_CHECKING:
    from data_modules.loaders import Loader
    from metanet.zoo.store import Zoo


_DOTTED = re.compile(r"(?<![`'\"\w.])[A-Za-z_]\w*(?:\.\w+)+")


class View:
    """Some snapshots of a zoo, in a fixed order; weights are read only when asked for.

    Attributes:
        zoo: where the snapshots lie.
        rows: positions in ``zoo.snapshots``, shape (N,).
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
        hidden = ["shard", "offset", "length", "crc32", "row"]
        frame = self.zoo.snapshots.iloc[self.rows].drop(columns=hidden, errors="ignore").reset_index(drop=True)
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
        """The one layout of all snapshots; an error where architectures are mixed."""
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

    def loader(
        self, kind: str, batch_size: int = 64, seed: int | None = None, on_device: bool = False, width: int = 64
    ) -> Loader:
        """Batches for a training loop of one's own, see :class:`data_modules.loaders.Loader`.

        Args:
            kind: ``flat``, ``tensors``, ``tokens`` (one for each neuron) or ``graph``.
        """
        from data_modules.loaders import Loader  # the one import upwards: data modules are built on views

        return Loader(self, kind, batch_size, seed, on_device, width)

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

        Hyperparameters that the recipe draws from a list are categories, text even where they are numbers.
        ``final_test_accuracy`` is the metric of each network's last snapshot, whatever snapshot the view holds.
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
        category = pd.api.types.is_bool_dtype(column) or name.removeprefix("hp.") in self.zoo.choices
        return values.astype(np.float64) if pd.api.types.is_numeric_dtype(column) and not category else values.astype(str)

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
        """The snapshots of one or more parts of a stored split; an error where none is left."""
        ids = {i for name in names for i in getattr(split, name)}
        view = self.of_networks(ids)
        if len(view) == 0:
            raise MetanetError(
                f"the {' + '.join(names)} part of the split is empty in this view of {self.zoo.name} "
                f"({len(self)} snapshots); loosen `where` and `view.*`, or choose other split shares"
            )
        return view


def query_mask(frame: pd.DataFrame, query: str) -> np.ndarray:
    """Evaluate a pandas query with dotted column names written as they are; shape (N,) of bool."""
    quoted = _DOTTED.sub(lambda m: _quoted(m[0], frame), query)
    try:
        mask = frame.eval(quoted)
    except Exception as error:  # pandas raises many kinds; each is the query's fault
        raise MetanetError(f"where='{query}' is not a query over this table: {_mend(query, frame, error)}") from None
    mask = np.asarray(mask)
    if mask.dtype != bool or mask.shape != (len(frame),):
        raise MetanetError(f"where='{query}' gives no true or false for each row; compare a column with a value, by ==, < or >")
    return mask


def _quoted(word: str, frame: pd.DataFrame) -> str:
    """A dotted word of a query with the longest beginning that is a column in backticks: methods may follow."""
    parts = word.split(".")
    for count in range(len(parts), 1, -1):
        if (column := ".".join(parts[:count])) in frame.columns:
            return ".".join([f"`{column}`", *parts[count:]])
    return word


def _mend(query: str, frame: pd.DataFrame, error: Exception) -> str:
    """What is wrong with a query, and how to mend it."""
    missing = [word for word in _DOTTED.findall(query) if word not in frame.columns and word.count(".") == 1]
    if isinstance(error, pd.errors.UndefinedVariableError):
        missing += re.findall("'(.+)'", str(error))
    elif not isinstance(error, AttributeError) or not missing:
        return str(error).splitlines()[0]
    if re.search(rf"[=<>]\s*{re.escape(missing[0])}\b", query):
        return f"text stands in quotes, '{missing[0]}'"
    return f"it has no column '{missing[0]}'{did_you_mean(missing[0], frame.columns)}"
