"""What every format must do: read to a whole zoo, the same each time, and read back what it wrote."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from metanet.errors import MetanetError
from metanet.formats import FORMATS, Format, import_zoo
from metanet.testing.contracts import require
from metanet.zoo.zoo import Zoo


def check_format(format: str, source: str | Path | None = None) -> None:
    """Raise unless a format keeps its contract.

    Args:
        format: a name in :data:`metanet.formats.FORMATS`, or ``FILE.py:NAME`` of a class or a function.
        source: small files of this kind; default: those of :meth:`metanet.formats.Format.example`.

    Raises:
        AssertionError: says which contract was broken, and by what.
    """
    found, title = FORMATS.find(format), format.rpartition("/")[2]
    own = found() if isinstance(found, type) and issubclass(found, Format) else None
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        if source is None:
            require(own is not None, title, "give source=, small files of this kind: a function has no example")
            try:
                own.example(place / "example")  # type: ignore[union-attr]
            except NotImplementedError:
                raise AssertionError(f"{title}: give source=, small files of this kind, or write the method example") from None
            source = place / "example"
        zoo = import_zoo(format, source, place / "zoo")
        _check_zoo(zoo, title)
        require(_same(zoo, import_zoo(format, source, place / "again")), title, "reads other networks when it reads again")
        _check_missing(format, place, title)
        if own is not None and own.files:
            rows = own.write(zoo, place / "written")
            require(rows == len(zoo.snapshots), title, f"write says that it wrote {rows} of {len(zoo.snapshots)} snapshots")
            absent = [name for name in own.files if not (place / "written" / name).exists()]
            require(not absent, title, f"write made no {absent[:1]}, which is among its files")
            back = import_zoo(format, place / "written", place / "back")
            require(_same(zoo, back), title, "does not read back what it wrote")


def _check_zoo(zoo: Zoo, title: str) -> None:
    view = zoo.view(epoch="all", status=None)
    require(len(view) > 0, title, "read no network")
    require(
        np.all([np.isfinite(v).all() for v in zoo.view(epoch="all").vectors()]), title, "a network of status ok is not finite"
    )
    for column in (c for c in view.frame if c.endswith("_accuracy")):
        values = view.frame[column].dropna()
        require(values.between(0, 1).all(), title, f"{column} goes from {values.min():.3g} to {values.max():.3g}; it is a share")


def _check_missing(format: str, place: Path, title: str) -> None:
    try:
        import_zoo(format, place / "nowhere", place / "none")
    except (MetanetError, OSError):
        require(not (place / "none").exists(), title, "leaves a folder behind when its source is not there")
        return
    raise AssertionError(f"{title}: a source that is not there makes a zoo")


def _same(a: Zoo, b: Zoo) -> bool:
    ours, theirs = a.view(epoch="all", status=None), b.view(epoch="all", status=None)
    columns = [c for c in ours.frame if c.startswith("hp.") or c.endswith(("_accuracy", "epoch"))]
    if len(ours) != len(theirs) or not set(columns) <= set(theirs.frame):
        return False
    vectors = all(np.array_equal(x, y) for x, y in zip(ours.vectors(), theirs.vectors(), strict=True))
    return vectors and ours.frame[columns].reset_index(drop=True).equals(theirs.frame[columns].reset_index(drop=True))
