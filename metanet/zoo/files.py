"""Files of a zoo: where its shards lie, tables and texts that appear whole or not at all, and what a failing disk says."""

from __future__ import annotations

import errno
import io
import os
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
import pandas as pd

from metanet.errors import MetanetError
from metanet.zoo.header import TABLES, FileFacts, ZooHeader

CHUNK_BYTES = 1 << 24


def shard_path(folder: Path, header: ZooHeader, index: int) -> Path:
    """Where a shard lies: in the zoo's folder, or in a file elsewhere that an import maps in place."""
    elsewhere = header.files.get(str(index))
    return local_shard(folder, index) if elsewhere is None else Path(elsewhere)


def local_shard(folder: Path, index: int) -> Path:
    """Where a shard lies in a zoo's own folder."""
    return folder / f"weights-{index:05d}.npy"


def read_table(path: Path, written: FileFacts | None = None) -> pd.DataFrame:
    """A parquet file of a zoo, checked where it is known how it was written.

    Raises:
        MetanetError: it is not there, is damaged, or differs from its checksum.
    """
    try:
        raw = path.read_bytes()
        if written is not None and zlib.crc32(raw) != written.crc32:
            raise ValueError("it differs from its checksum")
        return pd.read_parquet(io.BytesIO(raw))
    except (OSError, ValueError) as error:
        raise MetanetError(f"table '{path}' cannot be read ({error}); restore it from a copy") from None


def file_facts(path: Path) -> FileFacts:
    """Size and CRC-32 of a file, read once through."""
    crc32, size = 0, 0
    with open(path, "rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            crc32, size = zlib.crc32(chunk, crc32), size + len(chunk)
    return FileFacts(crc32, size)


def checksums(folder: Path, header: ZooHeader) -> dict[str, FileFacts]:
    """Size and CRC-32 of every file that a finished zoo is read from: its tables and its shards, mapped ones by their path."""
    tables = [folder / f"{name}.parquet" for name in (*TABLES, "plan")]
    shards = [shard_path(folder, header, index) for index in range(len(header.shards))]
    return {file_name(folder, path): file_facts(path) for path in (*tables, *shards) if path.exists()}


def file_name(folder: Path, path: Path) -> str:
    """What the checksum of a file goes by."""
    return path.name if path.parent == folder else str(path)


def write_atomically(path: Path, write: Any) -> None:
    """Write a file by ``write(file)`` under another name and rename it: it is there whole or not at all."""
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
    sync_folder(path.parent)


def write_vectors(vectors: Sequence[np.ndarray], path: Path) -> None:
    """Float32 vectors end to end as one-dimensional .npy, without a copy of them all."""

    def write(file: IO[bytes]) -> None:
        header = {"descr": "<f4", "fortran_order": False, "shape": (sum(len(v) for v in vectors),)}
        np.lib.format.write_array_header_1_0(file, header)
        for vector in vectors:
            file.write(vector.astype("<f4", copy=False).data)

    write_atomically(path, write)


def write_table(table: pd.DataFrame, path: Path) -> None:
    """A parquet file, whole or not at all."""
    write_atomically(path, lambda file: table.to_parquet(file, index=False))


def write_text(text: str, path: Path) -> None:
    """A text file, whole or not at all."""
    write_atomically(path, lambda file: file.write(text.encode()))


def sync_folder(folder: Path) -> None:
    """Make renames within a folder last, where the system can."""
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
