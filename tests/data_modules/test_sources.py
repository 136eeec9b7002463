"""Every decoder on small files written here in the official format, and downloads from a server on loopback."""

from __future__ import annotations

import gzip
import hashlib
import http.server
import io
import re
import tarfile
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.io import savemat

from metanet.data_modules import sources
from metanet.data_modules.images import load_images
from metanet.data_modules.sources import SOURCES, Remote, fetch, grey
from metanet.errors import MetanetError

RNG = np.random.default_rng(0)


def cifar_records(labels: list[int]) -> tuple[bytes, np.ndarray]:
    """Records as the official page describes them, and the images (n, 32, 32, 3) within."""
    images = RNG.integers(0, 256, (len(labels), 32, 32, 3), dtype=np.uint8)
    raw = b""
    for label, image in zip(labels, images, strict=True):
        raw += bytes([label]) + b"".join(image[:, :, c].tobytes() for c in range(3))
    return raw, images


def test_cifar_batches_that_are_there_are_read(tmp_path: Path) -> None:
    folder = tmp_path / "cifar10" / "cifar-10-batches-bin"
    folder.mkdir(parents=True)
    first, images = cifar_records([3, 9])
    second, more = cifar_records([1])
    test, seen = cifar_records([0, 7])
    (folder / "data_batch_1.bin").write_bytes(first)
    (folder / "data_batch_4.bin.gz").write_bytes(gzip.compress(second))
    (folder / "test_batch.bin").write_bytes(test)
    colour = load_images("cifar10", tmp_path)
    assert colour.train_labels.tolist() == [3, 9, 1]
    assert np.array_equal(colour.train_images.numpy(), np.concatenate([images, more]))
    assert np.array_equal(colour.test_images.numpy(), seen)
    in_grey = load_images("cifar10_gs", tmp_path)
    assert in_grey.shape == (32, 32, 1)
    assert np.abs(in_grey.test_images.numpy()[..., 0] - seen.mean(3)).max() <= 0.5
    (folder / "test_batch.bin").unlink()
    with pytest.raises(MetanetError, match="only training images"):
        load_images("cifar10", tmp_path)
    (folder / "test_batch.bin").write_bytes(test[:-1])
    with pytest.raises(MetanetError, match="records of 3,073"):
        load_images("cifar10", tmp_path)


def test_svhn_is_read_with_ten_as_zero(tmp_path: Path) -> None:
    folder = tmp_path / "svhn"
    folder.mkdir()
    images = RNG.integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)
    for side, rows in (("train", slice(0, 4)), ("test", slice(4, 6))):
        labels = np.array([1, 10, 9, 2, 10, 5], np.uint8)[rows, None]
        savemat(folder / f"{side}_32x32.mat", {"X": images[rows].transpose(1, 2, 3, 0), "y": labels}, do_compression=True)
    svhn = load_images("svhn", tmp_path)
    assert svhn.train_labels.tolist() == [1, 0, 9, 2]
    assert np.array_equal(svhn.test_images.numpy(), images[4:])
    assert load_images("svhn_gs", tmp_path).shape == (32, 32, 1)
    (folder / "test_32x32.mat").write_bytes(b"no matlab")
    with pytest.raises(MetanetError, match="no SVHN file"):
        load_images("svhn", tmp_path)


def test_stl_images_lie_column_by_column(tmp_path: Path) -> None:
    folder = tmp_path / "stl10" / "stl10_binary"
    folder.mkdir(parents=True)
    images = RNG.integers(0, 256, (3, 96, 96, 3), dtype=np.uint8)
    for side, rows in (("train", slice(0, 2)), ("test", slice(2, 3))):
        raw = b"".join(image[:, :, c].T.tobytes() for image in images[rows] for c in range(3))
        (folder / f"{side}_X.bin").write_bytes(raw)
        (folder / f"{side}_y.bin").write_bytes(bytes([1, 10, 4][rows]))
    stl = load_images("stl10", tmp_path)
    assert stl.train_labels.tolist() == [0, 9]
    assert stl.test_labels.tolist() == [3]
    assert np.array_equal(stl.train_images.numpy(), images[:2])
    small = load_images("stl10", tmp_path, size=32)
    assert small.shape == (32, 32, 3)
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(images[2:]).permute(0, 3, 1, 2).float(), (32, 32), mode="bilinear", antialias=True
    )
    assert (small.test_images.permute(0, 3, 1, 2).float() - expected).abs().max() <= 0.5
    (folder / "train_X.bin").write_bytes(b"abc")
    with pytest.raises(MetanetError, match="images of 96x96x3"):
        load_images("stl10", tmp_path)


def test_labels_that_cannot_be_and_damaged_archives_are_said(tmp_path: Path) -> None:
    folder = tmp_path / "cifar10"
    folder.mkdir()
    (folder / "data_batch_1.bin").write_bytes(cifar_records([1])[0])
    (folder / "test_batch.bin").write_bytes(cifar_records([200])[0])
    with pytest.raises(MetanetError, match="a test label is 200"):
        load_images("cifar10", tmp_path)
    squeezed = bytearray(gzip.compress(cifar_records([1])[0]))
    squeezed[40:60] = b"\xff" * 20
    (folder / "test_batch.bin").unlink()
    (folder / "test_batch.bin.gz").write_bytes(squeezed)
    with pytest.raises(MetanetError, match="cannot be read"):
        load_images("cifar10", tmp_path)
    (tmp_path / "cifar10_gs").mkdir()  # an empty folder of the grey set hides nothing
    (folder / "test_batch.bin.gz").write_bytes(gzip.compress(cifar_records([3])[0]))
    assert load_images("cifar10_gs", tmp_path).test_labels.tolist() == [3]


def test_grey_is_the_mean_of_the_channels() -> None:
    images = RNG.integers(0, 256, (50, 8, 8, 3), dtype=np.uint8)
    assert grey(images).shape == (50, 8, 8, 1)
    assert np.abs(grey(images)[..., 0] - images.mean(3)).max() <= 0.5
    assert grey(np.full((1, 1, 1, 3), 255, np.uint8)).item() == 255


# ------------------------------------------------------------------------------------------------ downloads


class Server:
    """Files on loopback, with ranges; ``cut`` ends an answer after so many bytes."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.asked: list[tuple[str, str | None]] = []
        self.cut: int | None = None
        self.ranges = True
        owner = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                name, wanted = self.path[1:], self.headers.get("Range")
                owner.asked.append((name, wanted))
                if name not in owner.files:
                    self.send_error(404)
                    return
                body = owner.files[name]
                start = int(re.match(r"bytes=(\d+)-", wanted)[1]) if wanted and owner.ranges else 0  # type: ignore[index]
                self.send_response(206 if start else 200)
                self.send_header("Content-Length", str(len(body) - start))
                self.end_headers()
                self.wfile.write(body[start:] if owner.cut is None else body[start : owner.cut])

            def log_message(self, *_: object) -> None:
                pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def remote(self, name: str, body: bytes) -> Remote:
        self.files[name] = body
        host, port = self.http.server_address[:2]
        return Remote(f"http://{host}:{port}/{name}", hashlib.md5(body).hexdigest())  # type: ignore[str-bytes-safe]


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.http.shutdown()
    server.http.server_close()


@pytest.fixture
def cifar(server: Server, monkeypatch: pytest.MonkeyPatch) -> Remote:
    """CIFAR-10's archive with 31 images, as the official source."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, labels in (("data_batch_1.bin", [1, 2] * 15), ("test_batch.bin", [3])):
            raw, _ = cifar_records(labels)
            entry = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            entry.size = len(raw)
            archive.addfile(entry, io.BytesIO(raw))
    remote = server.remote("cifar-10-binary.tar.gz", packed.getvalue())
    monkeypatch.setitem(sources.SOURCES, "cifar10", replace(SOURCES["cifar10"], files=(remote,)))
    return remote


def test_what_is_not_there_is_fetched_once(server: Server, cifar: Remote, tmp_path: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    images = load_images("cifar10", tmp_path, on_download=lambda *a: seen.append(a))
    assert images.train_labels.tolist() == [1, 2] * 15
    assert seen[-1] == (cifar.name, len(server.files[cifar.name]), len(server.files[cifar.name]))
    assert [name for name, _ in server.asked] == [cifar.name]
    server.http.shutdown()  # offline afterwards
    assert load_images("cifar10", tmp_path).checksum == images.checksum
    assert load_images("cifar10_gs", tmp_path).shape == (32, 32, 1)


def test_an_archive_placed_by_hand_is_unpacked(server: Server, cifar: Remote, tmp_path: Path) -> None:
    (tmp_path / "cifar10").mkdir()
    (tmp_path / "cifar10" / cifar.name).write_bytes(server.files[cifar.name])
    assert load_images("cifar10", tmp_path).test_labels.tolist() == [3]
    assert server.asked == []


def test_a_download_that_was_cut_goes_on_where_it_stopped(server: Server, cifar: Remote, tmp_path: Path) -> None:
    server.cut = 50_000
    with pytest.raises(MetanetError, match=r"could not be fetched.*give the command again"):
        load_images("cifar10", tmp_path)
    have = (tmp_path / "cifar10" / f"{cifar.name}.part").stat().st_size
    assert 50_000 - sources.CHUNK <= have <= 50_000
    server.cut = None
    assert load_images("cifar10", tmp_path).train_labels.tolist() == [1, 2] * 15
    assert server.asked[-1] == (cifar.name, f"bytes={have}-")
    assert not list(tmp_path.rglob("*.part"))


def test_a_set_of_several_files_goes_on_with_those_that_are_missing(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = []
    for side in ("train", "test"):
        content = io.BytesIO()
        savemat(content, {"X": RNG.integers(0, 256, (32, 32, 3, 3), dtype=np.uint8), "y": np.array([[1], [10], [2]], np.uint8)})
        files.append(server.remote(f"{side}_32x32.mat", content.getvalue()))
    monkeypatch.setitem(sources.SOURCES, "svhn", replace(SOURCES["svhn"], files=tuple(files)))
    test = server.files.pop("test_32x32.mat")
    for _ in range(2):
        with pytest.raises(MetanetError, match="could not be fetched"):
            load_images("svhn", tmp_path)
    server.files["test_32x32.mat"] = test
    assert load_images("svhn", tmp_path).test_labels.tolist() == [1, 0, 2]
    assert [name for name, _ in server.asked].count("train_32x32.mat") == 1


def test_a_server_without_ranges_begins_again(server: Server, cifar: Remote, tmp_path: Path) -> None:
    server.cut, server.ranges = 50_000, False
    with pytest.raises(MetanetError):
        load_images("cifar10", tmp_path)
    server.cut = None
    assert load_images("cifar10", tmp_path).train_labels.tolist() == [1, 2] * 15


def test_wrong_bytes_and_missing_servers_say_what_to_do(server: Server, cifar: Remote, tmp_path: Path) -> None:
    whole = server.files[cifar.name]
    server.files[cifar.name] = whole[:-1] + b"x"
    with pytest.raises(MetanetError, match=r"checksum is wrong.*by hand.*data=digits"):
        load_images("cifar10", tmp_path)
    server.files[cifar.name] = whole
    assert load_images("cifar10", tmp_path).train_labels.tolist() == [1, 2] * 15  # nothing of the wrong bytes is kept
    del server.files[cifar.name]
    with pytest.raises(MetanetError, match=r"404.*official files \(cifar-10-binary.tar.gz\)"):
        load_images("cifar10", tmp_path / "other")
    gone = replace(SOURCES["svhn"], files=(Remote("http://127.0.0.1:9/train_32x32.mat", "0"),))
    with pytest.raises(MetanetError, match="could not be fetched"):
        fetch("svhn", gone, tmp_path / "svhn")


def test_every_official_file_has_an_address_and_a_checksum() -> None:
    for source in SOURCES.values():
        for remote in source.files:
            assert remote.url.startswith("http")
            assert re.fullmatch("[0-9a-f]{32}", remote.md5)
