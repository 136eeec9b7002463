"""Time and memory of a zoo of the released size: import, opening, and the final snapshots alone.

Writes 270,000 x 4,970 random weights in the released format (5.4 GB) into a temporary folder, imports them in place, and
measures in fresh processes.

    python scripts/bench_import.py [--rows 270000] [--folder /scratch]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from metanet.formats.released_layout import layout_table
from metanet.generation.networks import SmallCNN
from metanet.machine import describe_machine

EPOCHS = (0, 1, 2, 3, 20, 40, 60, 80, 86)
MEASURE = """
import os, resource, time
import numpy, pandas, torch  # what any use of a zoo imports
from metanet.zoo import open_zoo
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGESIZE") / 2**20
before, began = resident(), time.perf_counter()
zoo = open_zoo({zoo!r})
opened, after = time.perf_counter(), resident()
weights = zoo.view().weights()
print(f"opening: {{opened - began:.2f}} s, {{after - before:.0f}} MiB more than after the imports")
print(f"final snapshots: {{weights.shape[0]:,}} x {{weights.shape[1]:,}} of {{len(zoo.snapshots):,}} in "
      f"{{time.perf_counter() - opened:.2f}} s, each checked")
"""


def write_files(folder: Path, rows: int) -> None:
    """Released files of ``rows`` snapshots, nine a run."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    layout = SmallCNN((28, 28, 1)).layout
    layout_table(layout).to_csv(folder / "layout.csv", index=False)
    weights = np.lib.format.open_memmap(folder / "weights.npy", "w+", np.float32, (rows, layout.size))
    for start in range(0, rows, 4096):
        part = weights[start : start + 4096]
        part[:] = rng.random(part.shape, np.float32)
    weights.flush()
    runs = np.arange(rows) // len(EPOCHS)
    of_run = rng.random((rows // len(EPOCHS) + 1, 5))[runs]
    table = pd.DataFrame({"modeldir": [f"cifar10/{run:05d}/permanent_checkpoints" for run in runs]})
    table["step"] = np.resize(EPOCHS, rows)
    names = ("dropout", "init_std", "l2reg", "learning_rate", "train_fraction")
    table = table.assign(**{f"config.{name}": of_run[:, i] for i, name in enumerate(names)})
    fixed = {"activation": "relu", "optimizer": "adam", "w_init": "RandomNormal", "dataset": "cifar10", "b_init": "zeros"}
    table = table.assign(**{f"config.{name}": value for name, value in fixed.items()})
    table = table.assign(**{"config.num_layers": 3, "config.num_units": 16, "config.epochs": 86})
    table = table.assign(**{m: rng.random(rows) for m in ("test_accuracy", "test_loss", "train_accuracy", "train_loss")})
    table.index = pd.Index(table["modeldir"] + "/permanent_ckpt-" + table["step"].astype(str))
    table.to_csv(folder / "metrics.csv.gz", index_label="", compression={"method": "gzip", "compresslevel": 1})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=270_000)
    parser.add_argument("--folder", default=None, help="where 5.4 GB are free")
    arguments = parser.parse_args()
    print(describe_machine(1))
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        source, zoo = Path(name) / "files", Path(name) / "zoo"
        write_files(source, arguments.rows)
        began = time.perf_counter()
        words = ["import", "format=small_cnn_zoo", f"source={source}", f"out={zoo}"]
        subprocess.run([sys.executable, "-m", "metanet", *words], check=True, stdout=subprocess.DEVNULL)
        size = (source / "weights.npy").stat().st_size / 1e9
        seconds = time.perf_counter() - began
        print(f"import in place: {arguments.rows:,} snapshots, {size:.1f} GB read once and checked, in {seconds:.1f} s")
        subprocess.run([sys.executable, "-c", MEASURE.format(zoo=str(zoo))], check=True)


if __name__ == "__main__":
    main()
