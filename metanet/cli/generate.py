"""``metanet generate``: grow a zoo."""

from __future__ import annotations

import re
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd

from metanet.cli.compose import required
from metanet.cli.terminal import download_bar, generation_bar, print_zoo
from metanet.errors import MetanetError
from metanet.generation.recipes import create_recipe
from metanet.generation.runner import generate
from metanet.interrupts import exit_code
from metanet.plots.style import new_axes, save
from metanet.plots.zoo import accuracy_histogram, train_against_test
from metanet.runs.folder import RunFolder
from metanet.runs.tracking import card_of, track
from metanet.zoo.reading import progress, read_header
from metanet.zoo.zoo import Zoo


def run(config: dict[str, Any]) -> None:
    """Grow or complete the zoo, and say what is there."""
    out = Path(required(config, "out", "out=zoos/digits")).expanduser()
    zoo = grow(config, out)
    if zoo is None:
        done, total = progress(out, read_header(out))
        print(f"this share of '{out}' is done; {total - done} of {total} groups are still missing")
        return
    print_zoo(zoo)
    if not (out / "figures").exists():
        draw_accuracies(zoo, out / "figures" / "accuracies.png")
    tracking = config["tracking"]
    if tracking.get("name") != "none":
        record = RunFolder(out / "run")
        record.write_config(config)
        draw_accuracies(zoo, record.figures / "accuracies.png")
        last = zoo.view().frame
        summary = {"networks": len(zoo.networks), "test_accuracy_mean": float(last["test_accuracy"].mean())}
        track(tracking, record, config, summary, "generate", group_curves(zoo), artifacts=card_of(zoo))
    print(f"zoo: {out}")


def draw_accuracies(zoo: Zoo, path: Path) -> None:
    """Histogram of the last test accuracies, and train against test (Unterthiner et al. 2020, Fig. 2)."""
    frame = zoo.view().frame
    figure, axes = new_axes(2)
    accuracy_histogram(frame, axes[0], zoo.data.chance)
    train_against_test(frame, axes[1])
    path.parent.mkdir(parents=True, exist_ok=True)
    save(figure, path)


def group_curves(zoo: Zoo) -> pd.DataFrame:
    """Mean metrics of each group by epoch: index epoch, columns like ``test_accuracy/group_003``."""
    assert zoo.folder is not None
    groups = pd.read_parquet(zoo.folder / "plan.parquet", columns=["network_id", "group"]).set_index("network_id")["group"]
    history = zoo.history.assign(group=zoo.history["network_id"].map(groups))
    means = history.groupby(["epoch", "group"])[["test_accuracy", "train_accuracy", "train_loss"]].mean().unstack("group")
    means.columns = [f"{metric}/group_{group:03d}" for metric, group in means.columns]
    return means


def grow(config: dict[str, Any], out: Path) -> Zoo | None:
    """Call the runner with a composed config; Ctrl-C keeps the groups that are done and says how to go on."""
    data, trainer, launcher = config["data"], config["trainer"], config["launcher"]
    recipe = create_recipe(**config["recipe"])
    finished = (out / "zoo.json").exists() and read_header(out).complete
    began = time.perf_counter()
    try:
        with generation_bar() as report, download_bar() as on_download:
            zoo = generate(
                recipe,
                data["name"],
                n=config["n"],
                out=out,
                seed=config["seed"],
                root=data["root"],
                train_limit=data["train_limit"],
                size=data["size"],
                converged=data["converged"],
                group_size=config["group_size"],
                engine=config["engine"],
                launcher=launcher["name"],
                workers=config["threads"] if launcher.get("workers") is None else launcher["workers"],
                address=launcher.get("address"),
                shard=parse_shard(config.get("shard")),
                trainer=trainer,
                on_progress=report,
                on_download=on_download,
            )
    except KeyboardInterrupt:
        if not (out / "zoo.json").exists():
            raise
        done, total = progress(out, read_header(out))
        print(
            f"metanet: interrupted: {done} of {total} groups of '{out}' are kept; give the same command again to go on",
            file=sys.stderr,
        )
        sys.exit(exit_code())
    if finished:
        print(f"{out} was finished before and is used as it is")
    elif zoo is not None:
        engine = zoo.header.engine
        print(f"grew {len(zoo.networks)} networks in {time.perf_counter() - began:.0f} s (engine {engine})")
    return zoo


def parse_shard(text: str | None) -> tuple[int, int] | None:
    """``i/n`` -> (i, n).

    Raises:
        MetanetError: the text is not i/n.
    """
    if text is None:
        return None
    match = re.fullmatch(r"([1-9]\d*)/([1-9]\d*)", str(text))
    if match is None or int(match[1]) > int(match[2]):
        raise MetanetError(f"shard={text}: give i/n with i from 1 to n, for example shard=1/8")
    return int(match[1]), int(match[2])
