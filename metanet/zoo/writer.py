"""The zoo on disk: a folder that is readable without metanet.

    zoo.json            the header: what is known of the networks, kinds of columns, layouts by id, checksums of files
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

import json
import os
import re
import shutil
import zlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from filelock import FileLock, Timeout

from metanet.errors import MetanetError
from metanet.zoo.card import zoo_card
from metanet.zoo.columns import PLACES, column_kinds
from metanet.zoo.files import (
    ExplainOSErrors,
    checksums,
    local_shard,
    read_table,
    sync_folder,
    write_table,
    write_text,
    write_vectors,
)
from metanet.zoo.header import TABLES, ZooHeader
from metanet.zoo.identity import drawn
from metanet.zoo.layout import Layout
from metanet.zoo.reading import committed_groups, read_header

BRIEF_LOCK_SECONDS = 600  # how long the writer of a share waits for the others to begin or join the tables


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
        header: ZooHeader,
        layouts: dict[str, Layout],
        plan: pd.DataFrame,
        groups: int,
        part: tuple[int, int] | None = None,
    ) -> None:
        self.folder = Path(folder).expanduser()
        self.header = replace(header, status="growing", groups=groups, layouts=layouts)
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
        return self.header.complete

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
            write_table(self.plan, self.folder / "plan.parquet")
            self._write_header()
            return
        existing = read_header(self.folder)
        if existing.plan_hash != self.header.plan_hash:
            raise MetanetError(
                f"zoo '{self.folder}' was begun with another plan ({describe_difference(existing, self.header)}); "
                "give the command that began it, or choose another out="
            )
        self.header = existing
        self.done = set(range(existing.groups)) if self.complete else committed_groups(self.folder)
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
                write_table(table, temporary / f"{name}.parquet")
            os.replace(temporary, rows)
            sync_folder(rows.parent)
        self.done.add(group)

    def finish(self) -> None:
        """Join the groups' rows into the tables, mark the zoo complete, remove the scaffolding.

        The writer of a share does so only where it is the last; else the zoo stays as it is.

        Raises:
            MetanetError: groups are missing, or another process holds the zoo.
        """
        if self.complete:
            return
        groups = range(self.header.groups)
        if missing := sorted(set(self.share) - self.done):
            raise MetanetError(f"zoo '{self.folder}' cannot be finished: {len(missing)} groups are missing")
        try:
            with self._zoo_lock:
                self.header = read_header(self.folder)
                if not self.complete and committed_groups(self.folder) >= set(groups):
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
                    [read_table(growing / f"{g:05d}" / f"{name}.parquet") for g in groups], ignore_index=True
                )
                by = ["network_id"] if name == "networks" else ["network_id", "epoch"]
                write_table(tables[name].sort_values(by, ignore_index=True), self.folder / f"{name}.parquet")
            ends = tables["snapshots"].assign(end=lambda t: t["offset"] + t["length"]).groupby("shard")["end"].max()
            header = replace(self.header, shards=tuple(int(ends.get(g, 0)) for g in groups))
            self.header = write_finished(self.folder, header, tables["networks"], tables["snapshots"])
            shutil.rmtree(growing)

    def _write_header(self) -> None:
        write_header(self.folder, self.header)


def write_header(folder: Path, header: ZooHeader) -> None:
    """Write ``zoo.json``."""
    write_text(json.dumps(header.to_json(), indent=1) + "\n", folder / "zoo.json")


def write_finished(folder: Path, header: ZooHeader, networks: pd.DataFrame, snapshots: pd.DataFrame) -> ZooHeader:
    """Write the card and, last, the header of a zoo whose tables and shards are there; returns the header.

    What the header does not say of its columns and of its networks' identity is read off the tables and said.
    """
    whole = replace(
        header,
        status="complete",
        columns=column_kinds(networks, snapshots, header.columns),
        identity=drawn(networks, header),
        checksums=checksums(folder, header),
    )
    write_text(zoo_card(whole, networks, snapshots), folder / "README.md")
    write_header(folder, whole)
    return whole


def write_zoo(
    folder: Path,
    header: ZooHeader,
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
        measured = snapshots.drop(columns=[c for c in snapshots if c in PLACES])
        tables = {"networks": networks, "snapshots": snapshots, "history": measured if history is None else history}
        for name, table in tables.items():
            write_table(table, folder / f"{name}.parquet")
        write_finished(folder, replace(header, groups=len(header.shards), layouts=layouts), networks, snapshots)


def describe_difference(old: ZooHeader, new: ZooHeader) -> str:
    """The first key in which two headers differ, for an error line."""

    def flat(value: Any, prefix: str = "") -> dict[str, Any]:
        if not isinstance(value, dict):
            return {prefix: value}
        return {k: v for key, child in value.items() for k, v in flat(child, f"{prefix}.{key}" if prefix else key).items()}

    keys = ("n", "seed", "recipe", "data", "engine", "group_size", "trainer")
    a, b = (flat({k: h.to_json().get(k) for k in keys}) for h in (old, new))
    for key in [*a, *b]:
        if a.get(key) != b.get(key):
            return f"there {key}={a.get(key)}, here {b.get(key)}"
    return "drawn by other code or libraries"
