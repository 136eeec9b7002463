"""The zoo on disk: a folder that is readable without metanet.

    zoo.json            format version, status, recipe, data, seeds, versions, layouts by id, shards, tables' CRC-32
    networks.parquet    one row a network: network_id, layout_id, hp.*, status, stopped_by, epochs_run, seconds
    snapshots.parquet   one row a snapshot: network_id, epoch, step, progress, metrics, shard, offset, length, crc32
    history.parquet     metrics of every epoch that the recipe evaluates
    plan.parquet        what was to be trained, drawn up front
    weights-NNNNN.npy   float32, one-dimensional, snapshots end to end
    README.md           the zoo card

While a zoo grows, each shard's rows lie in ``growing/NNNNN/``, which appears by one rename after
the shard's weights are on disk: a shard is there with its rows or not at all. ``finish`` joins
the rows into the tables and marks the zoo complete. Reading never unpickles, and every snapshot is
checked against its CRC-32 when it is read.
"""

from __future__ import annotations

import errno
import io
import json
import os
import re
import shutil
import zlib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import IO, Any

import numpy as np
import pandas as pd
from filelock import FileLock, Timeout

from metanet.errors import MetanetError
from metanet.zoo.identity import units_of
from metanet.zoo.layout import Layout
from metanet.zoo.view import View

FORMAT_VERSION = 1
TABLES = ("networks", "snapshots", "history")
BRIEF_LOCK_SECONDS = 600  # how long the writer of a share waits for the others to begin or join the tables
HEADER_KEYS = {"status", "groups", "layouts", "shards", "tables", "plan_hash"}


class Zoo:
    """Networks and their snapshots, opened for reading; weights stay on disk until a view reads them."""

    def __init__(
        self,
        name: str,
        header: dict[str, Any],
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
            return self.snapshots.drop(columns=["shard", "offset", "length", "crc32", "row"], errors="ignore")
        return _read_table(self.folder / "history.parquet", self.header["tables"]["history"])

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
    def data(self) -> dict[str, Any]:
        """Facts of the image set: name, n_train, n_test, chance, converged; empty where unknown."""
        return self.header.get("data", {})

    @property
    def log_uniform(self) -> frozenset[str]:
        """Hyperparameters that the recipe draws log-uniformly, without the ``hp.`` prefix."""
        drawn = self.header.get("recipe", {}).get("hyperparameters", {})
        return frozenset(k for k, v in drawn.items() if isinstance(v, dict) and "log_uniform" in v)

    @property
    def choices(self) -> frozenset[str]:
        """Hyperparameters that the recipe draws from a list, without the ``hp.`` prefix: as targets they are categories."""
        drawn = self.header.get("recipe", {}).get("hyperparameters", {})
        return frozenset(k for k, v in drawn.items() if isinstance(v, list))

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
            if "converged" not in self.data:
                raise MetanetError(f"{self.name} does not say which accuracy counts as converged; use where=")
            view = view.of_networks(self._converged())
        return view if where is None else view.where(where)

    def _converged(self) -> set[str]:
        """The networks whose last test accuracy is above what their image set calls converged."""
        bound = self.data["converged"]
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
            if values.dtype != np.dtype("<f4") or values.shape != (self.header["shards"][index],):
                raise MetanetError(
                    f"shard '{path}' holds {values.dtype} of shape {values.shape}, float32 of shape "
                    f"({self.header['shards'][index]},) was written; restore it from a copy"
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


def open_zoo(path: str | Path) -> Zoo:
    """Open a finished zoo folder. Raises :class:`MetanetError` where it is none, unfinished, newer or truncated."""
    folder = Path(path).expanduser()
    header = read_header(folder)
    if header["status"] != "complete":
        done, total = progress(folder, header)
        raise MetanetError(
            f"zoo '{folder}' is unfinished: {done} of {total} groups are there; "
            "give the generate command that began it again to go on"
        )
    for index, length in enumerate(header["shards"]):
        path = shard_path(folder, header, index)
        expected = 4 * length
        size = path.stat().st_size if path.exists() else 0
        if not path.exists() and path.parent != folder:
            raise MetanetError(f"zoo '{folder}' maps the file '{path}', which is gone; put it back or import it again")
        if size < expected:
            raise MetanetError(
                f"shard '{path}' is truncated: {size:,} bytes, at least {expected:,} expected; restore it from a copy"
            )
    networks, snapshots = (_read_table(folder / f"{t}.parquet", header["tables"][t]) for t in TABLES[:2])
    layouts = {k: Layout.from_json(v) for k, v in header["layouts"].items()}
    return Zoo(str(folder), header, layouts, networks, snapshots, folder=folder)


def zoo_from_arrays(
    weights: np.ndarray | Sequence[np.ndarray],
    layout: Layout | Sequence[Layout],
    frame: pd.DataFrame,
    name: str = "arrays",
    header: dict[str, Any] | None = None,
) -> Zoo:
    """A zoo in memory from your own networks.

    Args:
        weights: float array of shape (N, D), or N vectors of any lengths.
        layout: what the positions are; one for all, or one for each vector.
        frame: N rows of columns to predict or to filter by (``test_accuracy``, ``hp.optimizer`` ...).
            ``network_id`` and ``epoch`` are made where they are missing; ``configuration`` says which networks are seeds of
            one, and no split parts these.
        header: more facts, as in ``zoo.json``: with ``recipe`` and ``data`` (``shape`` and ``classes``) networks can be run.
    """
    vectors = [np.ascontiguousarray(w, np.float32) for w in weights]
    layouts = [layout] * len(vectors) if isinstance(layout, Layout) else list(layout)
    if not len(vectors) == len(frame) == len(layouts):
        raise MetanetError(f"{len(vectors)} weight vectors, {len(layouts)} layouts and {len(frame)} rows do not match")
    for i, (vector, own) in enumerate(zip(vectors, layouts, strict=True)):
        if vector.shape != (own.size,):
            raise MetanetError(f"vector {i} has shape {vector.shape}, its layout has {own.size} values")
    frame = frame.reset_index(drop=True)
    if "network_id" not in frame:
        frame = frame.assign(network_id=[f"{i:06d}" for i in range(len(frame))])
    frame = frame.assign(
        network_id=frame["network_id"].astype(str),
        epoch=frame.get("epoch", 0),
        layout_id=[own.id for own in layouts],
        status=frame.get("status", "ok"),
    )
    lengths = np.array([len(v) for v in vectors], np.int64)
    of_network = [c for c in frame if c.startswith("hp.") or c in ("network_id", "layout_id", "status", "configuration")]
    networks = frame[of_network].drop_duplicates("network_id").reset_index(drop=True)
    snapshots = frame[[c for c in frame if c == "network_id" or c not in of_network]].assign(
        shard=0, offset=np.cumsum(lengths) - lengths, length=lengths
    )
    flat = np.concatenate(vectors) if vectors else np.empty(0, np.float32)
    return Zoo(name, header or {}, {own.id: own for own in layouts}, networks, snapshots, shards=[flat])


def read_header(folder: Path) -> dict[str, Any]:
    """``zoo.json`` of a folder, its format version checked."""
    path = folder / "zoo.json"
    if not folder.is_dir():
        raise MetanetError(f"no folder '{folder}'; give the folder of a zoo, or make one with metanet generate")
    if not path.exists():
        raise MetanetError(f"'{folder}' is no zoo: it has no zoo.json; give the folder that metanet generate wrote")
    try:
        header = json.loads(path.read_text())
        version = header["format_version"]
        if not isinstance(version, int):
            raise TypeError(f"format version {version!r}")
        if version <= FORMAT_VERSION and (missing := HEADER_KEYS - set(header)):
            raise KeyError(f"no {min(missing)}")
    except (ValueError, KeyError, TypeError) as error:
        raise MetanetError(f"'{path}' is damaged ({error}); restore it from a copy") from None
    if version > FORMAT_VERSION:
        raise MetanetError(
            f"zoo '{folder}' has format version {version}, this metanet reads up to {FORMAT_VERSION}; update metanet"
        )
    return header


def progress(folder: Path, header: dict[str, Any]) -> tuple[int, int]:
    """Groups committed so far and groups planned."""
    done = header["groups"] if header["status"] == "complete" else len(_committed(folder))
    return done, header["groups"]


class ZooWriter:
    """Writes one zoo; one writer at a time, or one for each share of it, resumable after any interruption.

    Use as a context manager: entering takes the lock and creates the folder or picks up what is
    there; :attr:`done` holds the groups that need not be trained again, :attr:`share` those that are this writer's.

    Args:
        part: (i, n) for the i-th of n shares of the groups, i from 1; None for all of them.
    """

    def __init__(
        self,
        folder: str | Path,
        header: dict[str, Any],
        layouts: dict[str, Layout],
        plan: pd.DataFrame,
        groups: int,
        part: tuple[int, int] | None = None,
    ) -> None:
        self.folder = Path(folder).expanduser()
        self.header = header | {
            "format_version": FORMAT_VERSION,
            "status": "growing",
            "groups": groups,
            "layouts": {k: v.to_json() for k, v in layouts.items()},
            "shards": [],
            "tables": {},
        }
        self.plan = plan
        self.done: set[int] = set()
        first, step = (0, 1) if part is None else (part[0] - 1, part[1])
        self.share = range(first, groups, step)
        self._division = None if part is None else part[1]
        # A share holds a lock of its own, and the zoo's only while it begins and ends.
        self._zoo_lock = FileLock(self.folder / ".lock", timeout=0 if part is None else BRIEF_LOCK_SECONDS)
        self._own_lock = self._zoo_lock if part is None else FileLock(self.folder / f".lock-{part[0]}-of-{part[1]}", timeout=0)

    @property
    def complete(self) -> bool:
        """True when the zoo on disk is finished."""
        return self.header["status"] == "complete"

    def __enter__(self) -> ZooWriter:
        with ExplainOSErrors(self.folder):
            self._refuse_foreign_folder()
            self.folder.mkdir(parents=True, exist_ok=True)
            try:
                self._own_lock.acquire()
                with self._zoo_lock:
                    self._refuse_other_divisions()
                    self._begin_or_resume()
            except Timeout:
                self._own_lock.release()
                raise MetanetError(
                    f"zoo '{self.folder}' is being written by another process; wait for it, or choose another out="
                ) from None
            except BaseException:
                self._own_lock.release()
                raise
        return self

    def __exit__(self, *_: object) -> None:
        self._own_lock.release()

    def _refuse_other_divisions(self) -> None:
        """Shares of one division write side by side; those of two would write the same groups."""
        division = self._division or "none"
        for path in self.folder.glob(".lock-*"):
            if not path.name.endswith(f"-of-{division}"):
                with FileLock(path, timeout=0):
                    pass

    def _refuse_foreign_folder(self) -> None:
        if self.folder.exists() and not self.folder.is_dir():
            raise MetanetError(f"out='{self.folder}' is a file; give a folder for the zoo")
        if self.folder.is_dir() and not (self.folder / "zoo.json").exists():
            ours = {".lock", "plan.parquet", "growing"}
            names = (p.name for p in self.folder.iterdir() if p.suffix != ".tmp")
            if foreign := sorted(name for name in names if name not in ours and not name.startswith(".lock-")):
                raise MetanetError(f"out='{self.folder}' holds '{foreign[0]}' and is no zoo; give a new or empty folder")

    def _begin_or_resume(self) -> None:
        growing = self.folder / "growing"
        if not (self.folder / "zoo.json").exists():
            growing.mkdir(exist_ok=True)
            _write_table(self.plan, self.folder / "plan.parquet")
            self._write_header()
            return
        existing = read_header(self.folder)
        if existing["plan_hash"] != self.header["plan_hash"]:
            raise MetanetError(
                f"zoo '{self.folder}' was begun with another plan ({describe_difference(existing, self.header)}); "
                "give the command that began it, or choose another out="
            )
        self.header = existing
        self.done = set(range(existing["groups"])) if self.complete else _committed(self.folder)
        if self.complete:  # a kill may have come after the header was written
            shutil.rmtree(growing, ignore_errors=True)
        for leftover in [*self.folder.glob("*.tmp"), *growing.glob("*.tmp")]:
            if (number := re.search(r"\d{5}", leftover.name)) and int(number[0]) not in self.share:
                continue  # another share may be writing it
            shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()

    def commit(
        self,
        group: int,
        weights: Sequence[np.ndarray],
        networks: pd.DataFrame,
        snapshots: pd.DataFrame,
        history: pd.DataFrame,
    ) -> None:
        """Store one group: its shard, then its rows, each by an atomic rename.

        Args:
            group: number of the group and of its shard.
            weights: one float32 vector a row of ``snapshots``, in its order.
            networks, snapshots, history: the group's rows; the position columns are added here.
        """
        vectors = [np.ascontiguousarray(w, np.float32).ravel() for w in weights]
        lengths = np.array([len(v) for v in vectors], np.int64)
        snapshots = snapshots.assign(
            shard=np.int64(group),
            offset=np.cumsum(lengths) - lengths,
            length=lengths,
            crc32=np.array([zlib.crc32(v.data) for v in vectors], np.int64),
        )
        with ExplainOSErrors(self.folder):
            write_vectors(vectors, local_shard(self.folder, group))
            rows = self.folder / "growing" / f"{group:05d}"
            temporary = rows.with_name(rows.name + ".tmp")
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir(parents=True)
            for name, table in zip(TABLES, (networks, snapshots, history), strict=True):
                _write_table(table, temporary / f"{name}.parquet")
            os.replace(temporary, rows)
            _sync_folder(rows.parent)
        self.done.add(group)

    def finish(self) -> None:
        """Join the groups' rows into the tables, mark the zoo complete, remove the scaffolding.

        The writer of a share does so only where it is the last; else the zoo stays as it is.
        """
        if self.complete:
            return
        groups = range(self.header["groups"])
        if missing := sorted(set(self.share) - self.done):
            raise MetanetError(f"zoo '{self.folder}' cannot be finished: {len(missing)} groups are missing")
        try:
            with self._zoo_lock:
                self.header = read_header(self.folder)
                if not self.complete and _committed(self.folder) >= set(groups):
                    self._join(groups)
        except Timeout:
            raise MetanetError(
                f"zoo '{self.folder}' is held by another process; its groups are all there: give the same command again"
            ) from None

    def _join(self, groups: range) -> None:
        growing = self.folder / "growing"
        with ExplainOSErrors(self.folder):
            tables = {}
            for name in TABLES:
                tables[name] = pd.concat(
                    [_read_table(growing / f"{g:05d}" / f"{name}.parquet") for g in groups], ignore_index=True
                )
                by = ["network_id"] if name == "networks" else ["network_id", "epoch"]
                _write_table(tables[name].sort_values(by, ignore_index=True), self.folder / f"{name}.parquet")
            self.header["tables"] = {t: zlib.crc32((self.folder / f"{t}.parquet").read_bytes()) for t in TABLES}
            ends = tables["snapshots"].assign(end=lambda t: t["offset"] + t["length"]).groupby("shard")["end"].max()
            self.header["shards"] = [int(ends.get(g, 0)) for g in groups]
            _write_text(zoo_card(self.header, tables["networks"], tables["snapshots"]), self.folder / "README.md")
            self.header["status"] = "complete"
            self._write_header()
            shutil.rmtree(growing)

    def _write_header(self) -> None:
        _write_text(json.dumps(self.header, indent=1) + "\n", self.folder / "zoo.json")


def write_zoo(
    folder: Path,
    header: dict[str, Any],
    layouts: dict[str, Layout],
    networks: pd.DataFrame,
    snapshots: pd.DataFrame,
    history: pd.DataFrame | None = None,
) -> None:
    """Write the tables and header of a zoo whose shards are there already, as an import does; ``zoo.json`` comes last.

    Args:
        header: with ``shards`` (values of each), ``plan_hash``, and ``files`` for shards that lie elsewhere.
        snapshots: with their positions: shard, offset, length, crc32.
        history: metrics of every epoch; default: those of the snapshots.
    """
    with ExplainOSErrors(folder):
        hidden = ["shard", "offset", "length", "crc32", "row"]
        tables = {
            "networks": networks,
            "snapshots": snapshots,
            "history": snapshots.drop(columns=[c for c in hidden if c in snapshots]) if history is None else history,
        }
        for name, table in tables.items():
            _write_table(table, folder / f"{name}.parquet")
        whole = header | {
            "format_version": FORMAT_VERSION,
            "status": "complete",
            "groups": len(header["shards"]),
            "layouts": {k: v.to_json() for k, v in layouts.items()},
            "tables": {t: zlib.crc32((folder / f"{t}.parquet").read_bytes()) for t in TABLES},
        }
        _write_text(zoo_card(whole, networks, snapshots), folder / "README.md")
        _write_text(json.dumps(whole, indent=1) + "\n", folder / "zoo.json")


def describe_difference(old: dict[str, Any], new: dict[str, Any]) -> str:
    """The first key in which two headers differ, for an error line."""

    def flat(value: Any, prefix: str = "") -> dict[str, Any]:
        if not isinstance(value, dict):
            return {prefix: value}
        return {k: v for key, child in value.items() for k, v in flat(child, f"{prefix}.{key}" if prefix else key).items()}

    keys = ("n", "seed", "recipe", "data", "engine", "group_size", "trainer")
    a, b = (flat({k: h.get(k) for k in keys}) for h in (old, new))
    for key in [*a, *b]:
        if a.get(key) != b.get(key):
            return f"there {key}={a.get(key)}, here {b.get(key)}"
    return "drawn by other code or libraries"


def zoo_card(header: dict[str, Any], networks: pd.DataFrame, snapshots: pd.DataFrame) -> str:
    """The zoo's README: what it holds, how it came to be, how to read it."""
    data, recipe = header.get("data", {}), header.get("recipe", {})
    status = networks["status"].value_counts().to_dict()
    last = snapshots.loc[snapshots.groupby("network_id")["epoch"].idxmax()]
    accuracy = last["test_accuracy"].describe()
    if recipe.get("imported"):
        losses, origin = "Losses are as published, with the l2 penalty.", f"Imported; its files: {header.get('files') or 'here'}."
    else:
        losses = "Losses are plain cross-entropy, without the l2 penalty."
        origin = (
            f"Seed {header.get('seed')}, device {header.get('device')}, engine {header.get('engine')}, {header.get('created')}."
        )
    images = " ".join(
        f"{name}: {facts.get('n_train')} training and {facts.get('n_test')} test images, {facts.get('classes')} classes."
        for name, facts in data.get("sets", {data.get("name", "?"): data}).items()
    )
    drawn = "\n".join(f"- {k}: {v}" for k, v in recipe.get("hyperparameters", {}).items())
    return f"""# Zoo: {recipe.get("name", "?")} on {data.get("name", "?")}

{len(networks)} networks ({", ".join(f"{v} {k}" for k, v in status.items())}), {len(snapshots)} snapshots at epochs
{sorted(snapshots["epoch"].unique().tolist())}. Test accuracy of the last snapshots: mean {accuracy["mean"]:.3f},
quartiles {accuracy["25%"]:.3f} / {accuracy["50%"]:.3f} / {accuracy["75%"]:.3f}.

{images} {losses}
{origin}

## Hyperparameters drawn
{drawn}

## Reading it without metanet
`snapshots.parquet` says for each snapshot its shard, offset and length: the weights are
`numpy.load("weights-SSSSS.npy", mmap_mode="r")[offset:offset + length]`, laid out as `layouts` in `zoo.json` says.
"""


def shard_path(folder: Path, header: dict[str, Any], index: int) -> Path:
    """Where a shard lies: in the zoo's folder, or in a file elsewhere that an import maps in place."""
    elsewhere = header.get("files", {}).get(str(index))
    return local_shard(folder, index) if elsewhere is None else Path(elsewhere)


def local_shard(folder: Path, index: int) -> Path:
    """Where a shard lies in a zoo's own folder."""
    return folder / f"weights-{index:05d}.npy"


def _committed(folder: Path) -> set[int]:
    rows = (folder / "growing").glob("[0-9]*")
    return {int(p.name) for p in rows if p.suffix != ".tmp" and local_shard(folder, int(p.name)).exists()}


def _read_table(path: Path, crc32: int | None = None) -> pd.DataFrame:
    try:
        raw = path.read_bytes()
        if crc32 is not None and zlib.crc32(raw) != crc32:
            raise ValueError("it differs from its checksum")
        return pd.read_parquet(io.BytesIO(raw))
    except (OSError, ValueError) as error:
        raise MetanetError(f"table '{path}' cannot be read ({error}); restore it from a copy") from None


def _write_atomically(path: Path, write: Any) -> None:
    temporary = path.with_name(path.name + ".tmp")
    try:
        with open(temporary, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def write_vectors(vectors: Sequence[np.ndarray], path: Path) -> None:
    """Float32 vectors end to end as one-dimensional .npy, without a copy of them all."""

    def write(file: IO[bytes]) -> None:
        header = {"descr": "<f4", "fortran_order": False, "shape": (sum(len(v) for v in vectors),)}
        np.lib.format.write_array_header_1_0(file, header)
        for vector in vectors:
            file.write(vector.astype("<f4", copy=False).data)

    _write_atomically(path, write)


def _write_table(table: pd.DataFrame, path: Path) -> None:
    _write_atomically(path, lambda file: table.to_parquet(file, index=False))


def _write_text(text: str, path: Path) -> None:
    _write_atomically(path, lambda file: file.write(text.encode()))


def _sync_folder(folder: Path) -> None:
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


class ExplainOSErrors:
    """Turn a failing disk into an error that says what to do; what was committed stays."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __enter__(self) -> None:
        return None

    def __exit__(self, _type: object, error: BaseException | None, _trace: object) -> None:
        if not isinstance(error, OSError):
            return
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise MetanetError(
                f"the disk of '{self.folder}' is full; the groups committed so far are kept: "
                "free space and give the same command again to go on"
            ) from None
        raise MetanetError(
            f"'{self.folder}' cannot be written ({error.strerror or error}); what was committed is kept: "
            "check permissions and space, or choose another out="
        ) from None
