"""Formats by name and by path, and what every one of them must do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import metanet
from metanet.cli.main import main
from metanet.errors import MetanetError
from metanet.formats import FORMATS, Format, import_zoo, writers

READER = """
import numpy
from metanet import Layout
from metanet.formats import Format

layout = Layout.build([("w", "l", "kernel", (2, 3))])

def reader(source, zoo):
    for path in sorted(source.glob("*.npy")):
        zoo.add(path.stem, layout, [(0, numpy.load(path), {"test_accuracy": 0.5})], hp={"optimizer": "adam"})

class Mine(Format):
    name = "mine"

    def read(self, source, zoo, on_progress=None, n_test=None):
        zoo.declare(data={"n_test": n_test})
        reader(source, zoo)

wrong = 3
"""


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "files").mkdir()
    for i in range(3):
        np.save(tmp_path / "files" / f"{i}.npy", np.arange(6) + i)
    (tmp_path / "mine.py").write_text(READER)
    return tmp_path


def test_the_formats_of_the_package() -> None:
    assert FORMATS.names() == ["nws", "small_cnn_zoo"]
    assert writers() == ["small_cnn_zoo"]
    assert all(issubclass(FORMATS.find(name), Format) for name in FORMATS.names())  # type: ignore[arg-type]
    with pytest.raises(MetanetError, match="no format 'nsw'; did you mean 'nws'"):
        import_zoo("nsw", "there", "out")


@pytest.mark.parametrize("name", ["reader", "Mine"])
def test_a_reader_of_ones_own_makes_a_zoo(files: Path, name: str) -> None:
    zoo = metanet.import_zoo(f"{files}/mine.py:{name}", files / "files", files / "zoo", n_test=50)
    assert np.array_equal(zoo.view().weights(), np.arange(6) + np.arange(3)[:, None])
    assert zoo.networks["hp.optimizer"].tolist() == ["adam"] * 3
    assert zoo.data.n_test == (50 if name == "Mine" else None)


def test_a_reader_of_ones_own_from_the_command_line(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [f"source={files}/files", f"out={files}/zoo"]
    assert main(["import", f"format={files}/mine.py:reader", *words]) == 0
    assert "3 networks (3 ok)" in capsys.readouterr().out
    assert main(["import", f"format={files}/mine.py:wrong", f"source={files}/files", f"out={files}/other"]) == 2
    assert "is no subclass of metanet.formats.Format" in capsys.readouterr().err
    assert main(["export", f"zoo={files}/zoo", "format=nws", f"out={files}/e"]) == 2
    assert "no format 'nws' that can be written" in capsys.readouterr().err


def test_a_reader_that_fails_leaves_nothing(files: Path) -> None:
    (files / "files" / "4.npy").write_bytes(b"no numbers")
    with pytest.raises(ValueError, match="pickle"):
        import_zoo(f"{files}/mine.py:reader", files / "files", files / "zoo")
    assert not (files / "zoo").exists()
