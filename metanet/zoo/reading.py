"""Opening a zoo on disk: its header, how far it has grown, and its tables."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from metanet.errors import MetanetError
from metanet.zoo.files import local_shard, read_table, shard_path
from metanet.zoo.layout import Layout
from metanet.zoo.zoo import Zoo

FORMAT_VERSION = 1
TABLES = ("networks", "snapshots", "history")
HEADER_KEYS = {"status", "groups", "layouts", "shards", "tables", "plan_hash"}


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
    networks, snapshots = (read_table(folder / f"{t}.parquet", header["tables"][t]) for t in TABLES[:2])
    layouts = {k: Layout.from_json(v) for k, v in header["layouts"].items()}
    return Zoo(str(folder), header, layouts, networks, snapshots, folder=folder)


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
    done = header["groups"] if header["status"] == "complete" else len(committed_groups(folder))
    return done, header["groups"]


def committed_groups(folder: Path) -> set[int]:
    """Groups whose weights and rows are both there, of a zoo that grows."""
    rows = (folder / "growing").glob("[0-9]*")
    return {int(p.name) for p in rows if p.suffix != ".tmp" and local_shard(folder, int(p.name)).exists()}
