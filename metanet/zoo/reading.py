"""Opening a zoo on disk: its header, how far it has grown, and its tables."""

from __future__ import annotations

import json
from pathlib import Path

from metanet.errors import MetanetError
from metanet.zoo.files import file_facts, file_name, local_shard, read_table, shard_path
from metanet.zoo.header import FORMAT_VERSION, NEEDED, TABLES, ZooHeader
from metanet.zoo.zoo import Zoo


def open_zoo(path: str | Path) -> Zoo:
    """Open a finished zoo folder; weights stay on disk.

    Raises:
        MetanetError: the folder is no zoo, an unfinished or a newer one; its header or a table is damaged; a shard has not the
            size that was written.

    Examples:
        >>> import tempfile
        >>> import metanet
        >>> import numpy as np
        >>> import pandas as pd
        >>> layout = metanet.Layout.build([("fc.weight", "fc", "kernel", (2, 3)), ("fc.bias", "fc", "bias", (2,))])
        >>> weights = np.random.default_rng(0).standard_normal((40, layout.size))
        >>> zoo = metanet.zoo_from_arrays(weights, layout, pd.DataFrame({"test_accuracy": np.linspace(0, 1, 40)}), name="mine")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     saved = zoo.save(f"{folder}/mine")
        ...     print(len(metanet.open_zoo(f"{folder}/mine").view()))
        40
    """
    folder = Path(path).expanduser()
    header = read_header(folder)
    if not header.complete:
        done, total = progress(folder, header)
        raise MetanetError(
            f"zoo '{folder}' is unfinished: {done} of {total} groups are there; "
            "give the generate command that began it again to go on"
        )
    for index in range(len(header.shards)):
        _check_size(folder, header, index)
    networks, snapshots = (read_table(folder / f"{t}.parquet", header.checksums.get(f"{t}.parquet")) for t in TABLES[:2])
    return Zoo(str(folder), header, header.layouts, networks, snapshots, folder=folder)


def _check_size(folder: Path, header: ZooHeader, index: int) -> None:
    """Refuse a shard that is gone or is not as long as it was."""
    path = shard_path(folder, header, index)
    if not path.exists() and path.parent != folder:
        raise MetanetError(f"zoo '{folder}' maps the file '{path}', which is gone; put it back or import it again")
    written = header.checksums.get(file_name(folder, path))
    least, known = 4 * header.shards[index], None if written is None else written.bytes
    size = path.stat().st_size if path.exists() else 0
    if size < (known or least):
        words = f"at least {least:,}" if known is None else f"{known:,}"
        raise MetanetError(f"shard '{path}' is truncated: {size:,} bytes, {words} expected; restore it from a copy")
    if known is not None and size > known:
        raise MetanetError(f"shard '{path}' is damaged: {size:,} bytes, {known:,} were written; restore it from a copy")


def verify_zoo(path: str | Path) -> int:
    """Read every file of a finished zoo and compare it with its checksum; returns how many were compared.

    Raises:
        MetanetError: what :func:`open_zoo` raises; a file differs, which is named.
    """
    folder = Path(path).expanduser()
    header = open_zoo(folder).header
    for name, written in header.checksums.items():
        if not (folder / name).exists():
            raise MetanetError(f"'{folder / name}' is gone; restore it from a copy")
        found = file_facts(folder / name)
        if found.crc32 != written.crc32:
            raise MetanetError(f"'{folder / name}' differs from its checksum; restore it from a copy")
    return len(header.checksums)


def read_header(folder: Path) -> ZooHeader:
    """``zoo.json`` of a folder, checked in itself: its format version, its facts, layouts that are what they are called.

    Raises:
        MetanetError: there is no such folder or file; it is damaged; it is of a newer format.
    """
    path = folder / "zoo.json"
    if not folder.is_dir():
        raise MetanetError(f"no folder '{folder}'; give the folder of a zoo, or make one with metanet generate")
    if not path.exists():
        raise MetanetError(f"'{folder}' is no zoo: it has no zoo.json; give the folder that metanet generate wrote")
    try:
        values = json.loads(path.read_text())
        version = values["format_version"]
        if not isinstance(version, int):
            raise TypeError(f"format version {version!r}")
        if version > FORMAT_VERSION:
            raise _NewerFormatError(version)
        if missing := sorted(set(NEEDED) - set(values)):
            raise KeyError(f"no {missing[0]}")
        header = ZooHeader.from_json(values)
        if header.complete and len(header.shards) != header.groups:
            raise ValueError(f"{len(header.shards)} shards of {header.groups} groups")
    except _NewerFormatError as newer:
        raise MetanetError(
            f"zoo '{folder}' has format version {newer}, this metanet reads up to {FORMAT_VERSION}; update metanet"
        ) from None
    except (ValueError, KeyError, TypeError, AttributeError, MetanetError) as error:
        raise MetanetError(f"'{path}' is damaged ({error}); restore it from a copy") from None
    return header


class _NewerFormatError(Exception):
    """A format version that is not known yet."""


def progress(folder: Path, header: ZooHeader) -> tuple[int, int]:
    """Groups committed so far and groups planned."""
    done = header.groups if header.complete else len(committed_groups(folder))
    return done, header.groups


def committed_groups(folder: Path) -> set[int]:
    """Groups whose weights and rows are both there, of a zoo that grows."""
    rows = (folder / "growing").glob("[0-9]*")
    return {int(p.name) for p in rows if p.suffix != ".tmp" and local_shard(folder, int(p.name)).exists()}
