"""What grown zoos hold: a line each, and a picture of their accuracies like Figure 2 of Unterthiner et al. 2020.

python scripts/report_zoos.py zoos/* --out results/zoos.png | tee results/zoos.txt
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from metanet.plots.zoo import accuracy_histogram, train_against_test
from metanet.zoo import Zoo, open_zoo


def describe(name: str, zoo: Zoo) -> dict[str, object]:
    """One line about the last snapshots of a zoo."""
    frame, chance, n_test = zoo.view().frame, zoo.data.chance, zoo.data.n_test
    trained = frame["test_accuracy"] > chance + 3 * np.sqrt(chance * (1 - chance) / n_test)
    gap = (frame["train_accuracy"] - frame["test_accuracy"])[trained]
    tenth = gap[frame["hp.train_fraction"] == frame["hp.train_fraction"].min()]
    optimizers = frame.groupby("hp.optimizer")["test_accuracy"].mean()
    return {
        "zoo": name,
        "networks": len(zoo.networks),
        "not finite": int((zoo.networks["status"] == "nan").sum()),
        "engine": zoo.header.engine,
        "at chance": f"{1 - trained.mean():.0%}",
        "mean": f"{frame['test_accuracy'].mean():.3f}",
        "best": f"{frame['test_accuracy'].max():.3f}",
        "train - test": f"{gap.mean():+.3f}",
        "at a tenth": f"{tenth.mean():+.3f}",
        **{name: f"{value:.2f}" for name, value in optimizers.items()},
        "seconds a network": f"{zoo.networks['seconds'].mean():.3f}",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("zoos", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, default=None, help="a PNG")
    arguments = parser.parse_args()
    zoos = {path.name: open_zoo(path) for path in arguments.zoos}
    print(pd.DataFrame([describe(name, zoo) for name, zoo in zoos.items()]).to_string(index=False))
    if arguments.out is not None:
        figure = Figure(figsize=(3.4 * len(zoos), 5.6), layout="constrained", dpi=110)
        axes = figure.subplots(2, len(zoos), squeeze=False)
        for column, (name, zoo) in enumerate(zoos.items()):
            accuracy_histogram(zoo.view().frame, axes[0, column], zoo.data.chance).set_title(name)
            train_against_test(zoo.view().frame, axes[1, column])
        figure.savefig(arguments.out)


if __name__ == "__main__":
    main()
