"""Writing a zoo of networks that were trained elsewhere: network by network, in any folder that is new."""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from metanet.errors import MetanetError
from metanet.zoo.columns import PLACES, check_columns
from metanet.zoo.files import ExplainOSErrors, local_shard, write_vectors
from metanet.zoo.header import DataFacts, RecipeFacts, ZooHeader, check_kinds
from metanet.zoo.layout import Layout
from metanet.zoo.reading import open_zoo
from metanet.zoo.writer import write_zoo
from metanet.zoo.zoo import Zoo

SHARD_VALUES = 1 << 26  # of a weights file: 256 MB; no more is held in memory
RESERVED = PLACES | {"network_id", "epoch"}

KEPT = ("recipe", "data", "columns", "identity", "shared", "wiring", "seed", "trainer", "plan_hash")  # of a zoo that is copied

Snapshot = tuple[int, np.ndarray, Mapping[str, Any]]


class ZooBuilder:
    """Writes a zoo network by network; weights go to disk as they come, and the folder is a zoo when all is there.

    Use as a context manager: an error takes away what was written, and the end of the block makes the zoo.

        with ZooBuilder("zoos/mine", data={"name": "mine", "chance": 0.1}) as zoo:
            for name, state in ...:
                zoo.add(name, layout, [(10, layout.flatten(state), {"test_accuracy": 0.9})], hp={"optimizer": "adam"})

    Args:
        out: a folder that is new or empty.
        recipe: what is known of how the networks were trained, see :class:`metanet.zoo.header.RecipeFacts`: ``name``,
            ``losses_include_l2`` ...
        data: facts of the images, see :class:`metanet.zoo.header.DataFacts`: ``name``, ``classes``, ``chance``, ``n_test``,
            ``shape`` (H, W, C), ``converged``.
        columns: the kind of each column that is not plainly a number, such as ``{"hp.learning_rate": "log"}``: ``number``,
            ``share`` (from 0 to 1), ``log`` (numbers above 0, scored in log10) or ``category``. By default text and truth values
            are categories, and what is called accuracy is a share.
        header: that of another zoo, or more facts with the names of ``zoo.json``.

    Attributes:
        finished: the zoo, when the block has ended.

    Raises:
        MetanetError: the folder holds something; the disk is full; a fact is not of its type, or a column not of its kind.

    Examples:
        >>> import tempfile
        >>> import metanet
        >>> import numpy as np
        >>> layout = metanet.Layout.build([("fc.weight", "fc", "kernel", (2, 3)), ("fc.bias", "fc", "bias", (2,))])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with metanet.ZooBuilder(f"{folder}/mine") as zoo:
        ...         zoo.add("net-1", layout, [(10, np.zeros(8), {"test_accuracy": 0.9})], hp={"optimizer": "adam"})
        ...     print(zoo.finished.networks["hp.optimizer"].tolist())
        ['adam']
    """

    finished: Zoo

    def __init__(
        self,
        out: str | Path,
        recipe: Mapping[str, Any] | None = None,
        data: Mapping[str, Any] | None = None,
        columns: Mapping[str, str] | None = None,
        header: ZooHeader | Mapping[str, Any] | None = None,
    ) -> None:
        self.folder = Path(out).expanduser()
        check_new(self.folder)
        known = ZooHeader.of(header)
        self.header = known if known.recipe != RecipeFacts() else replace(known, recipe=RecipeFacts(imported=True))
        self._declared: dict[str, str] = {}
        self.declare(recipe, data, columns)
        self._layouts: dict[str, Layout] = {}
        self._networks: list[dict[str, Any]] = []
        self._snapshots: list[dict[str, Any]] = []
        self._histories: list[pd.DataFrame] = []
        self._known: set[str] = set()
        self._vectors: list[np.ndarray] = []
        self._held = 0
        self._shards: list[int] = []
        self._digest = hashlib.sha256()
        self._adopted: tuple[pd.DataFrame, pd.DataFrame] | None = None

    def __enter__(self) -> ZooBuilder:
        with ExplainOSErrors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if error is None:
            try:
                self.finished = self.finish()
            except BaseException:
                self._clean()
                raise
            return
        self._clean()
        if isinstance(error, OSError):
            words = f"{error.filename}: {error.strerror}" if error.filename else str(error)
            raise MetanetError(f"the zoo '{self.folder}' could not be made, and nothing of it is left: {words}") from None

    def declare(
        self,
        recipe: Mapping[str, Any] | None = None,
        data: Mapping[str, Any] | None = None,
        columns: Mapping[str, str] | None = None,
        **facts: Any,
    ) -> None:
        """State what is known only when files are read; the arguments are the constructor's, and replace what was known.

        Args:
            facts: of :class:`metanet.zoo.header.ZooHeader`, such as ``plan_hash``.

        Raises:
            MetanetError: a fact is not of its type; there is no such kind.
        """
        if recipe is not None:
            facts["recipe"] = RecipeFacts.from_json({"imported": True} | dict(recipe))
        if data is not None:
            facts["data"] = DataFacts.from_json(data)
        check_kinds(columns or {})
        self._declared |= dict(columns or {})
        self.header = replace(self.header, **facts, columns=self.header.columns | self._declared)

    def add(
        self,
        network_id: str,
        layout: Layout,
        snapshots: Iterable[Snapshot],
        hp: Mapping[str, Any] | None = None,
        history: pd.DataFrame | None = None,
        status: str | None = None,
        **facts: Any,
    ) -> None:
        """Add a network with all its snapshots.

        Args:
            snapshots: (epoch, vector of ``layout.size`` values, metrics such as ``{"test_accuracy": .9}``), by epoch. A vector
                that is not finite is left out, and the network's status is ``nan``.
            hp: hyperparameters, names without ``hp.``.
            history: metrics of every epoch, columns epoch and metrics; default: those of the snapshots.
            status: ``ok`` or ``nan``; default: by the vectors.
            facts: more columns of the networks table.

        Raises:
            MetanetError: the network is there already; an epoch comes twice; a vector does not fit the layout.
        """
        if network_id in self._known:
            raise MetanetError(f"network '{network_id}' was added before; give each network once, with all its snapshots")
        self._known.add(network_id)
        self._layouts.setdefault(layout.id, layout)
        rows, finite, epochs = [], True, set()
        for epoch, vector, metrics in snapshots:
            if epoch in epochs:
                raise MetanetError(f"network '{network_id}' has two snapshots of epoch {epoch}")
            epochs.add(epoch)
            if taken := sorted(RESERVED & set(metrics)):
                raise MetanetError(f"network '{network_id}' has a metric '{taken[0]}', which is a column of ours; rename it")
            values = np.ascontiguousarray(vector, np.float32).ravel()
            if len(values) != layout.size:
                raise MetanetError(f"network '{network_id}': a vector of {len(values)} values, its layout has {layout.size}")
            finite = bool(np.isfinite(values).all())
            if finite:
                rows.append({"network_id": network_id, "epoch": int(epoch), **metrics, **self._place(values)})
        longest = max(epochs, default=0)
        for row in rows:
            row.setdefault("step", row["epoch"])
            row.setdefault("progress", row["epoch"] / max(longest, 1))
        self._snapshots += rows
        own = {"network_id": network_id, "layout_id": layout.id, "status": status or ("ok" if rows and finite else "nan")}
        self._networks.append(own | facts | {f"hp.{name}": value for name, value in (hp or {}).items()})
        if history is not None:
            self._histories.append(history.assign(network_id=network_id))

    def adopt(
        self,
        layouts: Mapping[str, Layout],
        networks: pd.DataFrame,
        snapshots: pd.DataFrame,
        shards: Sequence[int],
        files: Mapping[str, str] | None = None,
    ) -> None:
        """Take whole tables of networks whose weights lie in shards already, in this folder or mapped elsewhere.

        Args:
            snapshots: with their places: shard, offset, length, crc32.
            shards: values of each.
            files: path of each shard that lies elsewhere, by its number.
        """
        self._layouts, self._adopted = dict(layouts), (networks, snapshots)
        self.header = replace(self.header, shards=tuple(shards), files=dict(files or {}))

    def finish(self) -> Zoo:
        """Write the tables and ``zoo.json``; returns the zoo. The end of a ``with`` block does so.

        Raises:
            MetanetError: no network was added, or none is finite.
        """
        if self._adopted is not None:
            check_columns(*self._adopted, self._declared)
            write_zoo(self.folder, self._hashed(self._adopted[0]), self._layouts, *self._adopted)
            return open_zoo(self.folder)
        if not self._networks:
            raise MetanetError(f"no network was added, so '{self.folder}' would be an empty zoo")
        with ExplainOSErrors(self.folder):
            self._write_shard()
        networks = pd.DataFrame(self._networks)
        snapshots = pd.DataFrame(self._snapshots)
        if snapshots.empty:
            raise MetanetError(f"none of {len(networks)} networks has finite weights, so '{self.folder}' would be an empty zoo")
        check_columns(networks, snapshots, self._declared)
        history = pd.concat(self._histories, ignore_index=True) if self._histories else None
        header = replace(self._hashed(networks), shards=tuple(self._shards))
        write_zoo(self.folder, header, self._layouts, networks, snapshots, history)
        return open_zoo(self.folder)

    def _hashed(self, networks: pd.DataFrame) -> ZooHeader:
        """The header with a hash of all that was added, where the networks' plan is not known."""
        if self.header.plan_hash is not None:
            return self.header
        known = json.dumps(self.header.to_json(), sort_keys=True, default=str)
        self._digest.update(networks.to_csv(index=False).encode() + known.encode())
        return replace(self.header, plan_hash=self._digest.hexdigest()[:16])

    def _place(self, values: np.ndarray) -> dict[str, int]:
        """Where a vector comes to lie; a shard that is full goes to disk first."""
        if self._held + len(values) > SHARD_VALUES and self._vectors:
            with ExplainOSErrors(self.folder):
                self._write_shard()
        crc32 = zlib.crc32(values.data)
        self._digest.update(crc32.to_bytes(4, "little"))
        place = {"shard": len(self._shards), "offset": self._held, "length": len(values), "crc32": crc32}
        self._vectors.append(values)
        self._held += len(values)
        return place

    def _write_shard(self) -> None:
        write_vectors(self._vectors, local_shard(self.folder, len(self._shards)))
        self._shards.append(self._held)
        self._vectors, self._held = [], 0

    def _clean(self) -> None:
        """Of an import that failed nothing is of use."""
        for path in [*self.folder.glob("weights-*.npy"), *self.folder.glob("*.tmp"), *self.folder.glob("*.parquet")]:
            path.unlink(missing_ok=True)
        if self.folder.is_dir() and not any(self.folder.iterdir()):
            self.folder.rmdir()


def check_new(out: Path) -> None:
    """Refuse a folder that holds anything.

    Raises:
        MetanetError: the folder holds something.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise MetanetError(f"out='{out}' is not empty; give a new folder for the zoo")


def save_zoo(zoo: Zoo, folder: str | Path) -> Zoo:
    """Write a zoo, in memory or from elsewhere, to a new folder: its networks, snapshots, history and facts."""
    metrics = [c for c in zoo.snapshots if c not in RESERVED]
    rows_of = {str(name): rows for name, rows in zoo.snapshots.groupby("network_id", sort=False).indices.items()}
    kept = ZooHeader(**{name: getattr(zoo.header, name) for name in KEPT})
    epochs, records = zoo.snapshots["epoch"].to_numpy(), zoo.snapshots[metrics].to_dict("records")
    histories = dict(iter(zoo.history.groupby("network_id", sort=False))) if zoo.folder is not None else {}
    with ZooBuilder(folder, header=kept) as build:
        for network in zoo.networks.to_dict("records"):
            name = str(network.pop("network_id"))
            layout = zoo.layouts[str(network.pop("layout_id"))]
            hp = {c.removeprefix("hp."): network.pop(c) for c in list(network) if c.startswith("hp.")}
            snapshots = ((int(epochs[i]), zoo.read_one(int(i)), records[i]) for i in rows_of.get(name, ()))
            build.add(name, layout, snapshots, hp, histories.get(name), **network)
    return open_zoo(folder)
