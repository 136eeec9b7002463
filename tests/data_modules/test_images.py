from __future__ import annotations

import gzip
import os
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from metanet.data_modules.images import ImageBatches, ImageDataModule, load_images, resize, scale_pixels
from metanet.data_modules.sources import IDX_FILES
from metanet.errors import MetanetError


def write_idx(path: Path, values: np.ndarray, squeeze: bool = True) -> None:
    """The official format, written here from its description: magic, big-endian sizes, bytes."""
    raw = bytes([0, 0, 8, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape) + values.astype(np.uint8).tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(raw) if squeeze else raw)


@pytest.fixture
def tiny_mnist(tmp_path: Path) -> Path:
    """12 training and 5 test images in the four files, two of them gzipped."""
    rng = np.random.default_rng(0)
    for side, count, squeeze in (("train", 12, True), ("test", 5, False)):
        suffix = ".gz" if squeeze else ""
        write_idx(tmp_path / "mnist" / (IDX_FILES[f"{side}_images"] + suffix), rng.integers(0, 256, (count, 28, 28)), squeeze)
        write_idx(tmp_path / "mnist" / (IDX_FILES[f"{side}_labels"] + suffix), np.arange(count) % 10, squeeze)
    return tmp_path


def test_digits_are_scikit_learns_doubled_in_size() -> None:
    images = load_images("digits")
    assert images.train_images.shape == (1437, 16, 16, 1)
    assert images.test_images.shape == (360, 16, 16, 1)
    assert images.train_images.dtype == torch.uint8
    assert images.classes == 10
    labels = torch.cat([images.train_labels, images.test_labels])
    assert np.array_equal(labels.bincount().numpy(), np.bincount(load_digits().target))
    # Bilinear doubling keeps the mean of 2x2 blocks near the small image: compare sets by their sorted block means.
    small = load_digits().images / 16 * 255
    large = torch.cat([images.train_images, images.test_images])[..., 0].double()
    interior = large.view(-1, 8, 2, 8, 2).mean((2, 4))
    assert abs(float(interior.mean()) - small.mean()) < 0.5
    assert float(interior.std()) == pytest.approx(small.std(), rel=0.2)


def test_idx_folders_are_read_gzipped_or_not(tiny_mnist: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = load_images("mnist", tiny_mnist)
    assert images.train_images.shape == (12, 28, 28, 1)
    assert images.test_labels.tolist() == [0, 1, 2, 3, 4]
    raw = gzip.decompress((tiny_mnist / "mnist" / "train-images-idx3-ubyte.gz").read_bytes())
    assert images.train_images[3, 5, 7, 0] == raw[16 + 3 * 784 + 5 * 28 + 7]
    monkeypatch.setenv("METANET_DATA", str(tiny_mnist))
    assert torch.equal(load_images("mnist").train_images, images.train_images)
    assert len(load_images("mnist", train_limit=7).train_labels) == 7


def test_mistakes_are_named(tiny_mnist: Path) -> None:
    with pytest.raises(MetanetError, match="did you mean 'mnist'"):
        load_images("mnits")
    with pytest.raises(MetanetError, match="train_limit=13"):
        load_images("mnist", tiny_mnist, train_limit=13)
    path = tiny_mnist / "mnist" / "t10k-labels-idx1-ubyte"
    good = path.read_bytes()
    for bad, says in (
        (good[:-1], "its header says"),
        (b"PNG!", "no IDX file"),
        (good[:6], "cut off"),
        (good[:8] + b"", "header says"),
    ):
        path.write_bytes(bad)
        with pytest.raises(MetanetError, match=says):
            load_images("mnist", tiny_mnist)
    write_idx(path, np.zeros(3), squeeze=False)
    with pytest.raises(MetanetError, match="do not belong together"):
        load_images("mnist", tiny_mnist)
    write_idx(path, np.zeros(5), squeeze=False)
    with pytest.raises(MetanetError, match=r"data\.size=0: give a whole number"):
        load_images("mnist", tiny_mnist, size=0)
    (tiny_mnist / "mnist" / "train-images-idx3-ubyte.gz").rename(tiny_mnist / "moved")
    with pytest.raises(MetanetError, match="no file"):
        load_images("mnist", tiny_mnist)
    (tiny_mnist / "moved").rename(tiny_mnist / "mnist" / "train-images-idx3-ubyte.gz")
    (tiny_mnist / "mnist" / "train-labels-idx1-ubyte.gz").write_bytes(b"\x1f\x8bxx")
    with pytest.raises(MetanetError, match="cannot be read"):
        load_images("mnist", tiny_mnist)


@pytest.mark.parametrize(
    ("name", "mean", "test_counts"),
    [
        ("mnist", 0.13066, [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]),
        ("fashion_mnist", 0.28604, [1000] * 10),
        ("cifar10_gs", 0.47336, [1000] * 10),
    ],
)
def test_the_real_sets_are_themselves(name: str, mean: float, test_counts: list[int]) -> None:
    root = os.environ.get("METANET_DATA", "")
    if not Path(root, name).is_dir() or not root:
        pytest.skip(f"METANET_DATA names no folder with {name}")
    images = load_images(name)
    assert float(images.train_images.double().mean()) / 255 == pytest.approx(mean, abs=1e-4)
    assert images.test_labels.bincount().tolist() == test_counts


def test_resizing_is_bilinear_and_keeps_bytes() -> None:
    """Halving a 4x4 image by bilinear interpolation with antialiasing: weights 1/8 3/8 3/8 1/8, renormalised at the border."""
    image = torch.arange(16, dtype=torch.uint8).mul_(16).view(1, 4, 4, 1)
    weights = np.array([[3, 3, 1, 0], [0, 1, 3, 3]]) / 7
    expected = weights @ image.numpy()[0, :, :, 0] @ weights.T
    assert np.abs(resize(image, 2).numpy()[0, :, :, 0] - expected).max() <= 0.5
    assert resize(image, 4).equal(image)


def test_pixels_scale_to_minus_one_and_one() -> None:
    assert scale_pixels(torch.tensor([0, 255, 51], dtype=torch.uint8)).tolist() == pytest.approx([-1, 1, -0.6])


def test_batches_are_a_seeded_permutation_without_the_rest() -> None:
    images, labels = torch.arange(10, dtype=torch.uint8).view(10, 1, 1, 1), torch.arange(10)
    batches = ImageBatches(images, labels, 4, seed=1)
    first, second = ([y.tolist() for _, y in batches] for _ in range(2))
    assert [len(y) for y in first] == [4, 4]
    assert len({i for y in first for i in y}) == 8
    assert first != second
    assert first == [y.tolist() for _, y in ImageBatches(images, labels, 4, seed=1)]
    for x, y in ImageBatches(images, labels, 4, seed=2):
        assert torch.equal(x, scale_pixels(images[y]))


def test_a_fraction_is_the_first_images_of_one_permutation() -> None:
    images = load_images("digits")
    parts = [ImageDataModule(images, 64, f, seed=5) for f in (0.1, 0.5, 1.0)]
    assert [len(p.train_labels) for p in parts] == [143, 718, 1437]
    assert torch.equal(parts[0].train_images, parts[2].train_images[:143])
    assert ImageDataModule(images, 512, 0.1).batches.batch_size == 143
    with pytest.raises(MetanetError, match="leaves none"):
        ImageDataModule(images, 64, 0.0001)
