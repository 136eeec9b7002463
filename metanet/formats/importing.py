"""What all imports share: a new folder, and nothing left behind of one that failed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from metanet.errors import MetanetError


def check_new(out: Path) -> None:
    """Refuse a folder that holds anything."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise MetanetError(f"out='{out}' is not empty; give a new folder for the zoo")


@contextmanager
def importing(source: Path, out: Path) -> Iterator[None]:
    """Make ``out``; after an error remove the weights that were written there, for what is half there is of no use."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        _clean(out)
        raise MetanetError(f"import of '{source}' into '{out}' failed: {error.strerror or error}") from None
    except BaseException:
        _clean(out)
        raise


def _clean(out: Path) -> None:
    for path in [*out.glob("weights-*.npy"), *out.glob("weights-*.npy.tmp")]:
        path.unlink()
    if out.is_dir() and not any(out.iterdir()):
        out.rmdir()
