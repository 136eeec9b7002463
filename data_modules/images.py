"""Image sets that zoos are grown on, as bytes that lie whole on the training device.

``digits`` is scikit-learn's set of real handwritten digits and needs no download. The other sets
are read from IDX files in ``<root>/<name>/``, where root is ``data.root`` or the environment
variable METANET_DATA. The data module yields batches by one indexed gather from tensors that are
already on the device: no workers, no collation.
"""

from __future__ import annotations

import gzip
import os
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor

from metanet.errors import MetanetError, did_you_mean

IDX_FILES = {
    "train_images": "train-images-idx3-ubyte",
    "train_labels": "train-labels-idx1-ubyte",
    "test_images": "t10k-images-idx3-ubyte",
    "test_labels": "t10k-labels-idx1-ubyte",
}


@dataclass(frozen=True)
class ImageSet:
    """One image data set in memory.

    Attributes:
        train_images, test_images: uint8 of shape (n, H, W, C).
        train_labels, test_labels: int64 of shape (n,).
        classes: number of classes.
    """

    name: str
    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor
    classes: int

    @property
    def shape(self) -> tuple[int, int, int]:
        """(H, W, C)."""
        return tuple(self.train_images.shape[1:])  # type: ignore[return-value]

    @property
    def chance(self) -> float:
        """Test accuracy of the best constant answer: the share of the commonest class."""
        return float(self.test_labels.bincount().max()) / len(self.test_labels)

    @property
    def checksum(self) -> int:
        """CRC-32 of all images and labels."""
        crc = 0
        for part in (self.train_images, self.train_labels, self.test_images, self.test_labels):
            crc = zlib.crc32(part.contiguous().numpy().data, crc)
        return crc

    def facts(self) -> dict[str, Any]:
        """What a zoo records of its image set."""
        return {
            "name": self.name,
            "shape": list(self.shape),
            "classes": self.classes,
            "n_train": len(self.train_labels),
            "n_test": len(self.test_labels),
            "chance": self.chance,
            "crc32": self.checksum,
        }


def scale_pixels(images: Tensor) -> Tensor:
    """Bytes to floats in [-1, 1]: x / 255 * 2 - 1 (Unterthiner et al. 2020, section 4.1)."""
    return images.to(torch.float32).mul_(2.0 / 255.0).sub_(1.0)


def load_images(name: str, root: str | Path | None = None, train_limit: int | None = None) -> ImageSet:
    """Load an image set by name.

    Args:
        name: ``digits``, ``mnist``, ``fashion_mnist`` or ``cifar10_gs``.
        root: folder that holds a folder called ``name``; default the variable METANET_DATA.
        train_limit: keep only so many training images, the first ones.
    """
    if name not in LOADERS:
        raise MetanetError(f"no image set '{name}'{did_you_mean(name, LOADERS)}")
    images = LOADERS[name](name, root)
    if train_limit is None:
        return images
    if not 0 < train_limit <= len(images.train_labels):
        raise MetanetError(f"data.train_limit={train_limit}: {name} has {len(images.train_labels)} training images")
    return ImageSet(
        name,
        images.train_images[:train_limit],
        images.train_labels[:train_limit],
        images.test_images,
        images.test_labels,
        images.classes,
    )


def _load_digits(name: str, _root: object) -> ImageSet:
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    bunch = load_digits()
    small = torch.from_numpy(bunch.images / 16.0 * 255.0)[:, None]
    large = torch.nn.functional.interpolate(small, size=(16, 16), mode="bilinear", align_corners=False)
    images = large.round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()
    labels = torch.from_numpy(bunch.target.astype(np.int64))
    train, test = train_test_split(np.arange(len(labels)), test_size=360, stratify=bunch.target, random_state=0)
    return ImageSet(name, images[train], labels[train], images[test], labels[test], 10)


def _load_idx_folder(name: str, root: str | Path | None) -> ImageSet:
    root = root or os.environ.get("METANET_DATA")
    if not root:
        raise MetanetError(
            f"data={name} needs its files: put the four IDX files ({', '.join(IDX_FILES.values())}, .gz or not) into "
            f"FOLDER/{name} and give data.root=FOLDER or set METANET_DATA=FOLDER; data=digits needs none"
        )
    folder = Path(root).expanduser() / name
    parts = {part: torch.from_numpy(read_idx(_find_idx(folder, file))) for part, file in IDX_FILES.items()}
    for side in ("train", "test"):
        images, labels = parts[f"{side}_images"], parts[f"{side}_labels"]
        if images.ndim != 3 or labels.ndim != 1 or len(images) != len(labels):
            raise MetanetError(
                f"'{folder}': {side} images {tuple(images.shape)} and labels {tuple(labels.shape)} do not belong together"
            )
    labels = parts["train_labels"].to(torch.int64)
    return ImageSet(
        name,
        parts["train_images"][..., None],
        labels,
        parts["test_images"][..., None],
        parts["test_labels"].to(torch.int64),
        int(labels.max()) + 1,
    )


def _find_idx(folder: Path, file: str) -> Path:
    for candidate in (folder / f"{file}.gz", folder / file):
        if candidate.exists():
            return candidate
    raise MetanetError(f"no file '{folder / file}' or '{file}.gz' beside it; data.root must hold the folder {folder.name}")


def read_idx(path: Path) -> np.ndarray:
    """Decode an IDX file of bytes (magic 0x0000 08 ndim, big-endian sizes, values), gzipped or not."""
    try:
        raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, ValueError) as error:
        raise MetanetError(f"'{path}' cannot be read: {error}") from None
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


LOADERS: dict[str, Callable[[str, Any], ImageSet]] = {
    "digits": _load_digits,
    "mnist": _load_idx_folder,
    "fashion_mnist": _load_idx_folder,
    "cifar10_gs": _load_idx_folder,
}


class ImageBatches:
    """Batches of one epoch after another: (images float (B, H, W, C) in [-1, 1], labels (B,)).

    The order of epoch e is a permutation seeded by (seed, e), whatever the device; the last
    incomplete batch is dropped.

    Args:
        limit: at most so many batches an epoch, or that share of them where it is a float.
    """

    def __init__(self, images: Tensor, labels: Tensor, batch_size: int, seed: int, limit: float | None = None) -> None:
        self.images, self.labels, self.batch_size, self.seed = images, labels, batch_size, seed
        self.limit = limit
        self.epoch = 0

    def __len__(self) -> int:
        batches = len(self.labels) // self.batch_size
        if self.limit is None:
            return batches
        return max(1, int(batches * self.limit)) if isinstance(self.limit, float) else min(batches, self.limit)

    def next_order(self) -> Tensor:
        """Which images the next epoch takes, batch after batch: int64 (len(self) * batch_size,)."""
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        order = torch.randperm(len(self.labels), generator=generator)
        self.epoch += 1
        return order[: len(self) * self.batch_size].to(self.labels.device)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for batch in self.next_order().view(len(self), self.batch_size):
            yield scale_pixels(self.images[batch]), self.labels[batch]


class ImageDataModule(pl.LightningDataModule):
    """The training images of one group of networks: the first ``int(train_fraction * n)``, on one device.

    The images of a set are permuted once by ``seed``, the same for every network (Unterthiner et
    al. 2020: a fraction f means the first f * n images of one fixed permutation).

    Args:
        batch_size: at most the number of images.
        train_images: n, at most those of the set; default: all.
        limit_batches: of each epoch, see :class:`ImageBatches`.
    """

    def __init__(
        self,
        images: ImageSet,
        batch_size: int,
        train_fraction: float = 1.0,
        seed: int = 0,
        device: torch.device | str = "cpu",
        train_images: int | None = None,
        limit_batches: float | None = None,
    ) -> None:
        super().__init__()
        available = min(len(images.train_labels), train_images or len(images.train_labels))
        count = int(train_fraction * available)
        if count < 1:
            raise MetanetError(f"train_fraction={train_fraction} of {available} training images leaves none")
        order = torch.randperm(len(images.train_labels), generator=torch.Generator().manual_seed(seed))[:count]
        self.train_images = images.train_images[order].to(device)
        self.train_labels = images.train_labels[order].to(device)
        self.test_images = images.test_images.to(device)
        self.test_labels = images.test_labels.to(device)
        self.batches = ImageBatches(self.train_images, self.train_labels, min(batch_size, count), seed, limit_batches)

    def train_dataloader(self) -> ImageBatches:
        """Batches without a DataLoader: the set is on the device already."""
        return self.batches
