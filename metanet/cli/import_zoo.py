"""``metanet import``: make a zoo of published files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from metanet.cli.compose import required
from metanet.cli.generate import print_zoo
from metanet.cli.terminal import bytes_bar
from metanet.errors import MetanetError, check_whole, did_you_mean
from metanet.formats.importing import are_counts, images_of
from metanet.formats.nws import import_nws
from metanet.formats.small_cnn_zoo import import_small_cnn_zoo
from metanet.zoo.zoo import Zoo

IMPORTERS = {"small_cnn_zoo": import_small_cnn_zoo, "nws": import_nws}


def run(config: dict[str, Any]) -> None:
    """Import and say what is there."""
    if config["format"] not in IMPORTERS:
        raise MetanetError(f"no format '{config['format']}'{did_you_mean(config['format'], IMPORTERS)}")
    source = Path(required(config, "source", "source=~/cifar10")).expanduser()
    out = Path(required(config, "out", "out=zoos/cifar10")).expanduser()
    if config["n_test"] is not None:
        check_whole("n_test", config["n_test"])
    with bytes_bar("reading") as report:
        zoo = IMPORTERS[config["format"]](source, out, report, config["n_test"])
    print_zoo(zoo)
    print_test_images(zoo, config["n_test"])
    print(f"zoo: {out}")


def print_test_images(zoo: Zoo, given: int | None) -> None:
    """On how many images the test accuracies are taken to rest, which decides the ceiling of tau; and if that cannot be."""
    frame = zoo.view(epoch="all").frame
    for name, facts in zoo.data.get("sets", {zoo.data.get("name"): zoo.data}).items():
        accuracies = frame.loc[frame["hp.dataset"] == name, "test_accuracy"].to_numpy()
        n = facts.get("n_test")
        if n is not None and are_counts(accuracies, n):
            print(f"{name}: test accuracies of {n:,} images ({'as given' if given else 'the official test set'})")
            continue
        least = images_of(accuracies)
        known = "on how many images test accuracies were measured is not known, so there is no ceiling of tau"
        words = known if n is None else f"test accuracies are no counts of {n:,} images, so the ceiling of tau is off"
        hint = "" if least is None else f" (they are counts of {least:,} images, or of a multiple)"
        print(f"{name}: {words}; import again with n_test={hint}")
