"""``metanet import``: make a zoo of published files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from metanet.cli.compose import required
from metanet.cli.generate import print_zoo
from metanet.cli.terminal import bytes_bar
from metanet.errors import MetanetError, did_you_mean
from metanet.formats.nws import import_nws
from metanet.formats.small_cnn_zoo import import_small_cnn_zoo

IMPORTERS = {"small_cnn_zoo": import_small_cnn_zoo, "nws": import_nws}


def run(config: dict[str, Any]) -> None:
    """Import and say what is there."""
    if config["format"] not in IMPORTERS:
        raise MetanetError(f"no format '{config['format']}'{did_you_mean(config['format'], IMPORTERS)}")
    source = Path(required(config, "source", "source=~/cifar10")).expanduser()
    out = Path(required(config, "out", "out=zoos/cifar10")).expanduser()
    with bytes_bar("reading") as report:
        zoo = IMPORTERS[config["format"]](source, out, report)
    print_zoo(zoo)
    print(f"zoo: {out}")
