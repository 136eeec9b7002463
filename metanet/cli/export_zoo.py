"""``metanet export``: write a zoo as published files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from metanet.cli.compose import required
from metanet.cli.terminal import bytes_bar
from metanet.formats import export_zoo
from metanet.zoo.reading import open_zoo


def run(config: dict[str, Any]) -> None:
    """Export and say what was written."""
    zoo = open_zoo(required(config, "zoo", "zoo=zoos/digits"))
    out = Path(required(config, "out", "out=exported/digits")).expanduser()
    with bytes_bar("writing") as report:
        rows, files = export_zoo(zoo, config["format"], out, report)
    print(f"wrote {rows:,} snapshots as {', '.join(files)}")
    print(f"files: {out}")
