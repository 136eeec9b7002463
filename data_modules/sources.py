"""The official files of the papers' image sets: where they are, how they are fetched, how they are read.

A set lies in ``<root>/<folder>/``. Files placed there by hand are read as they are, whatever part of the official set is
there (one of CIFAR-10's batches is enough to train); where none is, the official files are fetched with pooch, checked
against their MD5, and kept, so that later runs need no network. An interrupted download goes on where it stopped.
"""

from __future__ import annotations

import gzip
import os
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from metanet.errors import MetanetError

Parts = dict[str, np.ndarray]  # train_images, train_labels, test_images, test_labels
OnDownload = Callable[[str, int, int], None]  # file, bytes so far, bytes in all (0 where unknown)

IDX_FILES = {
    "train_images": "train-images-idx3-ubyte",
    "train_labels": "train-labels-idx1-ubyte",
    "test_images": "t10k-images-idx3-ubyte",
    "test_labels": "t10k-labels-idx1-ubyte",
}
CLASSES = 10  # of every set here
UNFINISHED = ".fetching"  # lies in a folder until all of its files are there
CHUNK = 1 << 14  # bytes; an interruption loses at most so much


@dataclass(frozen=True)
class Remote:
    """One official file."""

    url: str
    md5: str

    @property
    def name(self) -> str:
        """Its file name."""
        return self.url.rpartition("/")[2]


@dataclass(frozen=True)
class Source:
    """An image set: its folder below the root, its official files, and what reads the folder.

    ``read`` returns None where the folder holds nothing of the set.
    """

    folder: str
    files: tuple[Remote, ...]
    read: Callable[[Path], Parts | None]


def data_root(root: str | Path | None) -> Path:
    """``root``, else the environment variable METANET_DATA, else the user's cache folder."""
    import pooch

    chosen = root or os.environ.get("METANET_DATA")
    return Path(chosen).expanduser() if chosen else Path(pooch.os_cache("metanet"))


def read_source(name: str, source: Source, root: Path, on_download: OnDownload | None = None) -> Parts:
    """Read a set from ``root``, after fetching it where nothing of it is there.

    Raises:
        MetanetError: for a file that cannot be read or fetched.
    """
    folder = root / source.folder
    interrupted = (folder / UNFINISHED).exists()
    parts = source.read(folder) if folder.is_dir() and not interrupted else None
    if parts is None and source.files:
        fetch(name, source, folder, on_download)
        parts = source.read(folder)
    if parts is None:
        wanted = [f.name for f in source.files] or [f"{file}.gz" for file in IDX_FILES.values()]
        raise MetanetError(f"'{folder}' holds no files of {name}; expected {', '.join(wanted)}")
    for side in ("train", "test"):
        images, labels = parts[f"{side}_images"], parts[f"{side}_labels"]
        if images.ndim != 4 or labels.ndim != 1 or len(images) != len(labels):
            raise MetanetError(f"'{folder}': {side} images {images.shape} and labels {labels.shape} do not belong together")
        if len(labels) and int(labels.max()) >= CLASSES:
            raise MetanetError(
                f"'{folder}': a {side} label is {labels.max()}, but there are {CLASSES} classes; is a file damaged?"
            )
    return parts


# ---------------------------------------------------------------------------------------------------- fetching


def fetch(name: str, source: Source, folder: Path, on_download: OnDownload | None = None) -> None:
    """Fetch the official files of a set into ``folder``; archives are unpacked there.

    Raises:
        MetanetError: a file cannot be fetched, or is not what its checksum says.
    """
    import pooch
    import requests

    for remote in source.files:
        processor = pooch.Untar(extract_dir=".") if remote.name.endswith(".tar.gz") else None
        try:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / UNFINISHED).touch()
            pooch.get_logger().setLevel("ERROR")
            pooch.retrieve(
                remote.url,
                known_hash=f"md5:{remote.md5}",
                fname=remote.name,
                path=folder,
                processor=processor,
                downloader=ResumingDownload(folder / f"{remote.name}.part", on_download),
            )
        except (requests.RequestException, ValueError, OSError) as error:
            reason = "its checksum is wrong" if isinstance(error, ValueError) else str(error).splitlines()[0]
            wanted = ", ".join(f.name for f in source.files)
            raise MetanetError(
                f"data={name}: {remote.url} could not be fetched ({reason}); give the command again to go on, or put the "
                f"official files ({wanted}) into '{folder}' by hand; data=digits needs no download"
            ) from None
    (folder / UNFINISHED).unlink()


class ResumingDownload:
    """A pooch downloader that keeps what it has in a file beside the target and asks only for the rest."""

    def __init__(self, partial: Path, on_download: OnDownload | None) -> None:
        self.partial, self.on_download = partial, on_download

    def __call__(self, url: str, output_file: str, _pooch: object) -> None:
        """Fetch ``url`` and leave it at ``output_file``."""
        import requests

        have = self.partial.stat().st_size if self.partial.exists() else 0
        headers = {"Range": f"bytes={have}-"} if have else {}
        with requests.get(url, headers=headers, stream=True, timeout=30) as answer:
            if answer.status_code == 416:  # nothing is left to ask for
                self.partial.replace(output_file)
                return
            answer.raise_for_status()
            if answer.status_code != 206:
                have = 0  # the server sends all of it again
            total = have + int(answer.headers.get("Content-Length", 0))
            with open(self.partial, "ab" if have else "wb") as file:
                for chunk in answer.iter_content(CHUNK):
                    file.write(chunk)
                    have += len(chunk)
                    if self.on_download is not None:
                        self.on_download(url.rpartition("/")[2], have, total)
        if have < total:
            raise OSError(f"the connection ended after {have:,} of {total:,} bytes")
        self.partial.replace(output_file)


# ---------------------------------------------------------------------------------------------------- reading


def read_bytes(path: Path) -> bytes:
    """A file's bytes, gunzipped where its name ends in .gz.

    Raises:
        MetanetError: the file is not there or damaged.
    """
    try:
        return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise MetanetError(f"'{path}' cannot be read: {error}") from None


def read_idx(path: Path) -> np.ndarray:
    """Decode an IDX file of bytes (magic 0x0000 08 ndim, big-endian sizes, values), gzipped or not.

    Raises:
        MetanetError: the file is no whole IDX file of bytes.
    """
    raw = read_bytes(path)
    if len(raw) < 4 or raw[:3] != b"\x00\x00\x08":
        raise MetanetError(f"'{path}' is no IDX file of bytes (it begins with {raw[:4].hex() or 'nothing'})")
    ndim = raw[3]
    header = 4 + 4 * ndim
    if len(raw) < header:
        raise MetanetError(f"'{path}' is cut off within its header")
    shape = struct.unpack(f">{ndim}I", raw[4:header])
    if len(raw) - header != int(np.prod(shape)):
        raise MetanetError(f"'{path}' has {len(raw) - header} values, its header says {shape}")
    return np.frombuffer(raw, np.uint8, offset=header).reshape(shape).copy()


def read_idx_folder(folder: Path) -> Parts | None:
    """MNIST and those that share its format: four IDX files, gzipped or not; images (n, H, W, 1).

    Raises:
        MetanetError: a part is missing beside others, or holds no images.
    """
    paths = {part: _one_of(folder, f"{file}.gz", file) for part, file in IDX_FILES.items()}
    if not any(paths.values()):
        return None
    arrays = {}
    for part, path in paths.items():
        if path is None:
            raise MetanetError(f"no file '{folder / IDX_FILES[part]}' or '{IDX_FILES[part]}.gz' beside it")
        arrays[part] = read_idx(path)
        if part.endswith("images"):
            if arrays[part].ndim != 3:
                raise MetanetError(f"'{path}' holds an array of {arrays[part].ndim} dimensions, images have 3")
            arrays[part] = arrays[part][..., None]
    return arrays


def read_cifar_folder(folder: Path) -> Parts | None:
    """CIFAR-10's binary records (label, then 32x32 planes red, green, blue): those batches that are there.

    Raises:
        MetanetError: a file holds no whole number of records.
    """
    parts: Parts = {}
    for side, pattern in (("train", "data_batch*.bin*"), ("test", "test_batch*.bin*")):
        paths = sorted(p for p in folder.rglob(pattern) if p.name.endswith((".bin", ".bin.gz")))
        if not paths:
            continue
        records = []
        for path in paths:
            raw = np.frombuffer(read_bytes(path), np.uint8)
            if len(raw) == 0 or len(raw) % 3073:
                raise MetanetError(f"'{path}' has {len(raw)} bytes, no whole number of records of 3,073")
            records.append(raw.reshape(-1, 3073))
        rows = np.concatenate(records)
        parts[f"{side}_labels"] = rows[:, 0]
        parts[f"{side}_images"] = rows[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return _both_sides(parts, folder, "data_batch_*.bin and test_batch*.bin")


def read_svhn_folder(folder: Path) -> Parts | None:
    """SVHN's cropped digits: Matlab files with X (32, 32, 3, n) and y (n, 1), where 10 stands for the digit 0.

    Raises:
        MetanetError: a file is none of SVHN.
    """
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    parts: Parts = {}
    for side in ("train", "test"):
        path = _one_of(folder, f"{side}_32x32.mat")
        if path is None:
            continue
        try:
            content = loadmat(path)
            images, labels = content["X"], content["y"].ravel()
        except (OSError, ValueError, KeyError, TypeError, NotImplementedError, MatReadError, zlib.error) as error:
            raise MetanetError(f"'{path}' is no SVHN file: {error}") from None
        parts[f"{side}_images"] = images.transpose(3, 0, 1, 2)
        parts[f"{side}_labels"] = labels % 10
    return _both_sides(parts, folder, "train_32x32.mat and test_32x32.mat")


def read_stl_folder(folder: Path) -> Parts | None:
    """STL-10's binary files: images of 96x96, planes red, green, blue, each column by column; labels from 1.

    Raises:
        MetanetError: a file holds no whole number of images.
    """
    parts: Parts = {}
    for side in ("train", "test"):
        images, labels = (next(iter(sorted(folder.rglob(f"{side}_{x}.bin"))), None) for x in "Xy")
        if images is None or labels is None:
            continue
        raw = np.frombuffer(read_bytes(images), np.uint8)
        if len(raw) == 0 or len(raw) % (3 * 96 * 96):
            raise MetanetError(f"'{images}' has {len(raw)} bytes, no whole number of images of 96x96x3")
        parts[f"{side}_images"] = raw.reshape(-1, 3, 96, 96).transpose(0, 3, 2, 1)
        parts[f"{side}_labels"] = np.frombuffer(read_bytes(labels), np.uint8) - 1
    return _both_sides(parts, folder, "train_X.bin, train_y.bin, test_X.bin and test_y.bin")


def _one_of(folder: Path, *names: str) -> Path | None:
    return next((folder / name for name in names if (folder / name).exists()), None)


def _both_sides(parts: Parts, folder: Path, wanted: str) -> Parts | None:
    if not parts:
        return None
    if len(parts) < 4:
        there = "training" if "train_images" in parts else "test"
        raise MetanetError(f"'{folder}' holds only {there} images; {wanted} are needed")
    return {name: np.ascontiguousarray(part) for name, part in parts.items()}


def grey(images: np.ndarray) -> np.ndarray:
    """Mean of the channels, rounded to bytes: (n, H, W, C) -> (n, H, W, 1) (Unterthiner et al. 2020, section 4.1)."""
    total = images.astype(np.uint16).sum(3, keepdims=True)
    return ((2 * total + images.shape[3]) // (2 * images.shape[3])).astype(np.uint8)


# ---------------------------------------------------------------------------------------------------- the sets


def _idx_files(base: str, *md5: str) -> tuple[Remote, ...]:
    return tuple(Remote(f"{base}/{file}.gz", digest) for file, digest in zip(IDX_FILES.values(), md5, strict=True))


SOURCES: dict[str, Source] = {
    "mnist": Source(
        "mnist",
        _idx_files(
            "https://ossci-datasets.s3.amazonaws.com/mnist",
            "f68b3c2dcbeaaa9fbdd348bbdeb94873",
            "d53e105ee54ea40749a09fcbcd1e9432",
            "9fb629c4189551a2d022fa330f9573f3",
            "ec29112dd5afa0611ce80d1b7f02629c",
        ),
        read_idx_folder,
    ),
    "fashion_mnist": Source(
        "fashion_mnist",
        _idx_files(
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",
            "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
            "25c81989df183df01b3e8a0aad5dffbe",
            "bef4ecab320f06d8554ea6380940ec79",
            "bb300cfdad3c16e7a12a480ee83cd310",
        ),
        read_idx_folder,
    ),
    "cifar10": Source(
        "cifar10",
        (Remote("https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz", "c32a1d4ab5d03f1284b67883e8d87530"),),
        read_cifar_folder,
    ),
    "svhn": Source(
        "svhn",
        (
            Remote("http://ufldl.stanford.edu/housenumbers/train_32x32.mat", "e26dedcc434d2e4c54c9b2d4a06d8373"),
            Remote("http://ufldl.stanford.edu/housenumbers/test_32x32.mat", "eb5a983be6a315427106f1b164d9cef3"),
        ),
        read_svhn_folder,
    ),
    "stl10": Source(
        "stl10",
        (Remote("http://ai.stanford.edu/~acoates/stl10/stl10_binary.tar.gz", "91f7769df0f17e558f3565bffb0c7dfb"),),
        read_stl_folder,
    ),
}
