"""``metanet export``: write a zoo as published files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from metanet.cli.compose import required
from metanet.cli.terminal import bytes_bar
from metanet.errors import MetanetError, did_you_mean
from metanet.formats.small_cnn_zoo import FILES, export_small_cnn_zoo
from metanet.zoo.reading import open_zoo

EXPORTERS = {"small_cnn_zoo": export_small_cnn_zoo}


def run(config: dict[str, Any]) -> None:
    """Export and say what was written."""
    if config["format"] not in EXPORTERS:
        raise MetanetError(f"no format '{config['format']}'{did_you_mean(config['format'], EXPORTERS)}")
    zoo = open_zoo(required(config, "zoo", "zoo=zoos/digits"))
    out = Path(required(config, "out", "out=exported/digits")).expanduser()
    with bytes_bar("writing") as report:
        rows = EXPORTERS[config["format"]](zoo, out, report)
    print(f"wrote {rows:,} snapshots as {', '.join(FILES)}")
    print(f"files: {out}")
