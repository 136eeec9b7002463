"""Readers and writers of other people's files: zoos, checkpoints, splits.

A format is one file here with one class of :class:`Format`. One of your own is a class or a plain function by path,
``format=./mine.py:reader``: it is handed the source and a :class:`metanet.zoo.build.ZooBuilder`, adds networks, and declares
what it knows of them: ``zoo.declare(data={"name": "mine", "n_test": 1000})``.

    def reader(source, zoo):
        for path in sorted(source.glob("*.npy")):
            zoo.add(path.stem, layout, [(0, numpy.load(path), {"test_accuracy": 0.9})], hp={"optimizer": "adam"})
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

from metanet.errors import MetanetError, did_you_mean
from metanet.registry import Registry
from metanet.zoo.build import ZooBuilder
from metanet.zoo.zoo import Zoo

OnProgress = Callable[[int, int], None]  # bytes so far, bytes in all


class Format:
    """Files of one kind; every method is asked of an instance without state.

    Attributes:
        name: what ``format=`` takes.
        files: names of the files that :meth:`write` makes; empty where it cannot.
    """

    name: ClassVar[str] = ""
    files: ClassVar[tuple[str, ...]] = ()

    def read(self, source: Path, zoo: ZooBuilder, on_progress: OnProgress | None = None, n_test: int | None = None) -> None:
        """Add the networks of ``source`` to a zoo.

        Args:
            n_test: images that the test accuracies were measured on; None for what the format knows.

        Raises:
            MetanetError: files are missing, damaged, or do not belong together; nothing is left behind.
        """
        raise NotImplementedError

    def write(self, zoo: Zoo, out: Path, on_progress: OnProgress | None = None) -> int:
        """Write a zoo as files; returns the number of snapshots.

        Raises:
            MetanetError: the format does not hold such networks; ``out`` holds such files already.
        """
        raise NotImplementedError

    def example(self, out: Path) -> None:
        """Write a few small files of this kind, for :func:`metanet.testing.check_format`."""
        raise NotImplementedError


@functools.cache
def _homes() -> dict[str, str]:
    """Files here with a class of their own name, ``name = "<file>"``; the others hold what formats share."""
    files = Path(__file__).parent.glob("*.py")
    return {path.stem: f"{__name__}.{path.stem}" for path in files if f'name = "{path.stem}"' in path.read_text()}


def _is_format(found: Any) -> bool:
    return isinstance(found, type) and issubclass(found, Format)


FORMATS: Registry[type[Format] | Callable[..., None]] = Registry(
    "format",
    _homes,
    lambda found: _is_format(found) or (callable(found) and not isinstance(found, type)),
    "subclass of metanet.formats.Format, nor a function (source, zoo)",
)


def writers() -> list[str]:
    """Names of the formats that can be written."""
    return [name for name in FORMATS.names() if getattr(FORMATS.find(name), "files", ())]


def import_zoo(
    format: str, source: str | Path, out: str | Path, on_progress: OnProgress | None = None, n_test: int | None = None
) -> Zoo:
    """Make a zoo of other people's files.

    Args:
        format: a name in :data:`FORMATS`, or ``FILE.py:NAME`` of a :class:`Format` or of a function (source, zoo).
        source: folder or archive.
        out: a folder that is new or empty.
        on_progress: told of the bytes that were read, and of all.
        n_test: images that the test accuracies were measured on; None for what the format knows.

    Raises:
        MetanetError: an unknown format; what its reader raises; a folder that holds something. Nothing is left behind.
    """
    found = FORMATS.find(format)
    place = Path(source).expanduser()
    with ZooBuilder(out) as zoo:
        if _is_format(found):
            found().read(place, zoo, on_progress, n_test)  # type: ignore[union-attr,call-arg]
        else:
            found(place, zoo)  # type: ignore[call-arg]
    return zoo.finished


def export_zoo(zoo: Zoo, format: str, out: str | Path, on_progress: OnProgress | None = None) -> tuple[int, tuple[str, ...]]:
    """Write a zoo as other people's files; returns how many snapshots, and the names of the files.

    Raises:
        MetanetError: a format that is unknown or is only read; networks that it does not hold; files that are there already.
    """
    if format not in writers():
        raise MetanetError(f"no format '{format}' that can be written{did_you_mean(format, writers())}")
    kind = FORMATS.find(format)
    assert _is_format(kind)
    return kind().write(zoo, Path(out).expanduser(), on_progress), kind.files  # type: ignore[union-attr,call-arg]
