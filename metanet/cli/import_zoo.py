"""``metanet import``: make a zoo of published files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from metanet.cli.compose import required
from metanet.cli.terminal import bytes_bar, print_zoo
from metanet.constraints import Count, check
from metanet.formats import import_zoo
from metanet.formats.image_counts import are_counts, images_of
from metanet.zoo.zoo import Zoo


def run(config: dict[str, Any]) -> None:
    """Import and say what is there."""
    source = Path(required(config, "source", "source=~/cifar10")).expanduser()
    out = Path(required(config, "out", "out=zoos/cifar10")).expanduser()
    check("n_test", config["n_test"], Count | None)
    with bytes_bar("reading") as report:
        zoo = import_zoo(config["format"], source, out, report, config["n_test"])
    print_zoo(zoo)
    print_test_images(zoo, config["n_test"])
    print(f"zoo: {out}")


def print_test_images(zoo: Zoo, given: int | None) -> None:
    """On how many images the test accuracies are taken to rest, which decides the ceiling of tau; and if that cannot be."""
    frame = zoo.view(epoch="all").frame
    for name, facts in zoo.data.each.items():
        if "test_accuracy" not in frame:
            continue
        own = frame["hp.dataset"] == name if "hp.dataset" in frame else slice(None)
        accuracies = frame.loc[own, "test_accuracy"].to_numpy()
        n = facts.n_test
        if n is not None and are_counts(accuracies, n):
            print(f"{name}: test accuracies of {n:,} images ({'as given' if given else 'the official test set'})")
            continue
        least = images_of(accuracies)
        known = "on how many images test accuracies were measured is not known, so there is no ceiling of tau"
        words = known if n is None else f"test accuracies are no counts of {n:,} images, so the ceiling of tau is off"
        hint = "" if least is None else f" (they are counts of {least:,} images, or of a multiple)"
        print(f"{name or zoo.name}: {words}; import again with n_test={hint}")
