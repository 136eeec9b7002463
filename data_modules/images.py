"""Image sets that zoos are grown on, as bytes that lie whole on the training device.

``digits`` is scikit-learn's set of real handwritten digits and needs no download. The others are
the official files of the papers' sets (:mod:`metanet.data_modules.sources`); a name that ends in ``_gs`` is a set in grey. The
data module yields batches by one indexed gather from tensors that are already on the device: no workers, no collation.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor

from metanet.constraints import Count, check
from metanet.data_modules.sources import (
    CLASSES,
    SOURCES,
    OnDownload,
    Parts,
    Source,
    data_root,
    grey,
    read_idx_folder,
    read_source,
)
from metanet.errors import MetanetError, did_you_mean
from metanet.zoo.header import DataFacts

DIGITS_SIZE = 16
NAMES = ("digits", "mnist", "fashion_mnist", "cifar10_gs", "svhn_gs", "stl10_gs", "cifar10", "svhn", "stl10")


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

    def of(self, name: str) -> ImageSet:
        """Itself, as the one set of its zoo."""
        return self

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

    def facts(self) -> DataFacts:
        """What a zoo records of its image set."""
        return DataFacts(
            self.name,
            self.shape,
            self.classes,
            n_train=len(self.train_labels),
            n_test=len(self.test_labels),
            chance=self.chance,
            crc32=self.checksum,
        )


def scale_pixels(images: Tensor) -> Tensor:
    """Bytes to floats in [-1, 1]: x / 255 * 2 - 1 (Unterthiner et al. 2020, section 4.1)."""
    return images.to(torch.float32).mul_(2.0 / 255.0).sub_(1.0)


def unit_pixels(images: Tensor) -> Tensor:
    """Bytes to floats in [0, 1] (Eilertsen et al. 2020)."""
    return images.to(torch.float32).mul_(1.0 / 255.0)


@dataclass(frozen=True)
class ImageMix:
    """Several image sets of one shape; every network is trained on one of them."""

    sets: dict[str, ImageSet]

    @property
    def name(self) -> str:
        """Names joined by +."""
        return "+".join(self.sets)

    def of(self, name: str) -> ImageSet:
        """One of them."""
        return self.sets[name]

    def facts(self) -> DataFacts:
        """What a zoo records of its image sets.

        Raises:
            MetanetError: the sets have images of different sizes.
        """
        facts = {name: images.facts() for name, images in self.sets.items()}
        shapes = {name: own.shape or () for name, own in facts.items()}
        if len(set(shapes.values())) > 1:
            sizes = ", ".join(f"{name} {'x'.join(map(str, shape))}" for name, shape in shapes.items())
            raise MetanetError(f"image sets of one zoo need one shape, but here are {sizes}; data.size=32 makes sides alike")
        classes = max(own.classes or 0 for own in facts.values())
        return DataFacts(self.name, next(iter(facts.values())).shape, classes, sets=facts)


def load_images(
    name: str,
    root: str | Path | None = None,
    train_limit: int | None = None,
    size: int | None = None,
    on_download: OnDownload | None = None,
) -> ImageSet:
    """Load an image set by name, from the official files in a folder or, where they are not there, from the network.

    Args:
        name: one of :data:`NAMES`.
        root: folder that holds a folder of the set's name; default: the variable METANET_DATA, else the user's cache.
        train_limit: keep only so many training images, the first ones.
        size: height and width to which the images are resized (bilinear, antialiased).
        on_download: called with file name, bytes so far and bytes in all.

    Raises:
        MetanetError: there is no such image set, or it has fewer training images than asked for.
    """
    if name not in NAMES:
        raise MetanetError(f"no image set '{name}'{did_you_mean(name, NAMES)}")
    for key, value in (("train_limit", train_limit), ("size", size)):
        check(f"data.{key}", value, Count | None)
    parts = _digits() if name == "digits" else _official(name, data_root(root), on_download)
    sides: list[Tensor] = []
    for side in ("train", "test"):
        images = torch.from_numpy(parts[f"{side}_images"])
        if size is not None and tuple(images.shape[1:3]) != (size, size):
            images = resize(images, size)
        sides += [images.contiguous(), torch.from_numpy(parts[f"{side}_labels"].astype(np.int64))]
    train_images, train_labels, test_images, test_labels = sides
    if train_limit is not None:
        if train_limit > len(train_labels):
            raise MetanetError(f"data.train_limit={train_limit}: {name} has {len(train_labels)} training images")
        train_images, train_labels = train_images[:train_limit], train_labels[:train_limit]
    return ImageSet(name, train_images, train_labels, test_images, test_labels, CLASSES)


def resize(images: Tensor, size: int) -> Tensor:
    """Bytes (n, H, W, C) -> bytes (n, size, size, C), bilinear; antialiased where they shrink."""
    small = []
    for part in images.split(4096):
        planes = part.permute(0, 3, 1, 2).float()
        planes = torch.nn.functional.interpolate(planes, (size, size), mode="bilinear", align_corners=False, antialias=True)
        small.append(planes.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1))
    return torch.cat(small)


def resize_set(images: ImageSet, size: int) -> ImageSet:
    """A set with images of ``size`` x ``size``."""
    if images.shape[:2] == (size, size):
        return images
    train, test = resize(images.train_images, size), resize(images.test_images, size)
    return replace(images, train_images=train.contiguous(), test_images=test.contiguous())


def colour(images: ImageSet) -> ImageSet:
    """A set in three channels; grey is replicated."""
    if images.shape[2] == 3:
        return images
    train, test = images.train_images.expand(-1, -1, -1, 3), images.test_images.expand(-1, -1, -1, 3)
    return replace(images, train_images=train.contiguous(), test_images=test.contiguous())


def _official(name: str, root: Path, on_download: OnDownload | None) -> Parts:
    base = name.removesuffix("_gs")
    if name in SOURCES:
        return read_source(name, SOURCES[name], root, on_download)
    if (root / name).is_dir() and read_idx_folder(root / name) is not None:  # files that are grey already
        return read_source(name, Source(name, (), read_idx_folder), root)
    parts = read_source(name, SOURCES[base], root, on_download)
    return {key: grey(part) if key.endswith("images") else part for key, part in parts.items()}


def _digits() -> Parts:
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    bunch = load_digits()
    small = torch.from_numpy(bunch.images / 16.0 * 255.0)[:, None]
    large = torch.nn.functional.interpolate(small, size=(DIGITS_SIZE, DIGITS_SIZE), mode="bilinear", align_corners=False)
    images = large.round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    train, test = train_test_split(np.arange(len(bunch.target)), test_size=360, stratify=bunch.target, random_state=0)
    labels = bunch.target
    return {
        "train_images": images[train],
        "train_labels": labels[train],
        "test_images": images[test],
        "test_labels": labels[test],
    }


class ImageBatches:
    """Batches of one epoch after another: (images float (B, H, W, C) in [-1, 1], labels (B,)).

    The order of epoch e is a permutation seeded by (seed, e), whatever the device; the last
    incomplete batch is dropped.

    Args:
        limit: at most so many batches an epoch, or that share of them where it is a float.
        balanced: each epoch draws as many images of every class as the rarest has.
        scale: bytes to floats.
    """

    def __init__(
        self,
        images: Tensor,
        labels: Tensor,
        batch_size: int,
        seed: int,
        limit: float | None = None,
        balanced: bool = False,
        scale: Callable[[Tensor], Tensor] = scale_pixels,
    ) -> None:
        self.images, self.labels, self.seed = images, labels, seed
        self.limit, self.scale = limit, scale
        self.epoch = 0
        self._classes = [torch.nonzero(labels == c).flatten() for c in labels.unique()] if balanced else []
        self._per_epoch = len(self._classes) * min(map(len, self._classes)) if balanced else len(labels)
        self.batch_size = min(batch_size, self._per_epoch)

    def __len__(self) -> int:
        batches = self._per_epoch // self.batch_size
        if self.limit is None:
            return batches
        return max(1, int(batches * self.limit)) if isinstance(self.limit, float) else min(batches, self.limit)

    def next_order(self) -> Tensor:
        """Which images the next epoch takes, batch after batch: int64 (len(self) * batch_size,)."""
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        if self._classes:
            least = min(map(len, self._classes))
            drawn = torch.cat([c[torch.randperm(len(c), generator=generator)[:least]] for c in self._classes])
            order = drawn[torch.randperm(len(drawn), generator=generator)]
        else:
            order = torch.randperm(len(self.labels), generator=generator)
        self.epoch += 1
        return order[: len(self) * self.batch_size].to(self.labels.device)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for batch in self.next_order().view(len(self), self.batch_size):
            yield self.scale(self.images[batch]), self.labels[batch]


class ImageDataModule(pl.LightningDataModule):
    """The training images of one group of networks: the first ``int(train_fraction * n)``, on one device.

    The images of a set are permuted once by ``seed``, the same for every network (Unterthiner et
    al. 2020: a fraction f means the first f * n images of one fixed permutation).

    Args:
        batch_size: at most the number of images.
        train_images: n, at most those of the set; default: all.
        limit_batches: of each epoch, see :class:`ImageBatches`.
        validation: share of the n images that is kept from training, the last ones.
        balanced, scale: see :class:`ImageBatches`.

    Raises:
        MetanetError: a share of training or validation images leaves none.
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
        validation: float = 0.0,
        balanced: bool = False,
        scale: Callable[[Tensor], Tensor] = scale_pixels,
    ) -> None:
        super().__init__()
        self.scale = scale
        available = min(len(images.train_labels), train_images or len(images.train_labels))
        count = int(train_fraction * available)
        if count < 1:
            raise MetanetError(f"train_fraction={train_fraction} of {available} training images leaves none")
        order = torch.randperm(len(images.train_labels), generator=torch.Generator().manual_seed(seed))[:count]
        held = round(validation * count)
        if validation and not 0 < held < count:
            raise MetanetError(f"validation={validation} of {count} training images leaves none for one of the two")
        kept, order = order[count - held :], order[: count - held]
        self.train_images = images.train_images[order].to(device)
        self.train_labels = images.train_labels[order].to(device)
        self.validation_images = images.train_images[kept].to(device)
        self.validation_labels = images.train_labels[kept].to(device)
        self.test_images = images.test_images.to(device)
        self.test_labels = images.test_labels.to(device)
        self.batches = ImageBatches(self.train_images, self.train_labels, batch_size, seed, limit_batches, balanced, scale)

    def train_dataloader(self) -> ImageBatches:
        """Batches without a DataLoader: the set is on the device already."""
        return self.batches
