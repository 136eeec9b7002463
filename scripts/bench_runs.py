"""What comparing and tracking cost: a comparison of a thousand run folders, and W&B offline beside a fit.

python scripts/bench_runs.py                 # --runs 1000 --networks 1000

Compared are finished runs that differ in a setting or in seeds, five seeds a group, all on the same test networks. Tracking is
timed with the predictions of as many networks as a table, 40 epochs of losses and one figure.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import tempfile
import time
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--networks", type=int, default=1000, help="of each test part")
    arguments = parser.parse_args()
    os.environ["WANDB_MODE"] = "offline"
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[variable] = "2"

    from metanet.machine import describe_machine

    with tempfile.TemporaryDirectory() as folder:
        _compare(Path(folder), arguments.runs, arguments.networks)
        _track(Path(folder), arguments.networks)
    print(describe_machine(2))


def _compare(folder: Path, count: int, networks: int) -> None:
    import numpy as np
    import pandas as pd

    from metanet.evaluation.comparison import compare
    from metanet.metrics import r2
    from metanet.runs.folder import RunFolder
    from metanet.runs.records import find_runs

    rng = np.random.default_rng(0)
    true = rng.uniform(size=networks)
    for seed in range(5):
        run = RunFolder(folder / "runs" / f"{seed:04d}")
        predicted = true + 0.1 * rng.standard_normal(networks)
        ids = [f"{i:06d}" for i in range(networks)]
        frame = pd.DataFrame({"network_id": ids, "epoch": 1, "part": "test", "true": true, "predicted": predicted})
        run.write_predictions(frame)
        run.write_config({"model": {"name": "gbm", "num_leaves": "LEAVES"}, "features": "stats", "seed": seed})
        run.write_metrics({"model": "gbm", "features": "stats", "target": "test_accuracy", "zoo": "z", "r2": r2(true, predicted)})
    for i in range(count):
        path = folder / "runs" / f"{i:04d}"
        if i >= 5:
            shutil.copytree(folder / "runs" / f"{i % 5:04d}", path)
    for i in range(count):
        config = folder / "runs" / f"{i:04d}" / "config.yaml"
        config.write_text(config.read_text().replace("LEAVES", str(i // 5)))
    began = time.perf_counter()
    found = find_runs([folder / "runs"])
    read = time.perf_counter()
    (family,) = compare(found.records)
    ended = time.perf_counter()
    assert family.networks == networks  # all runs have answers
    print(
        f"{len(found.records)} runs of {networks} test networks in {len(family.groups)} groups: read {read - began:.2f} s, "
        f"compared {ended - read:.2f} s, in all {ended - began:.2f} s"
    )


def _track(folder: Path, networks: int) -> None:
    import numpy as np
    import pandas as pd

    from metanet.plots.style import new_axes, save
    from metanet.runs.folder import RunFolder
    from metanet.runs.tracking import track

    table = pd.DataFrame({"network_id": [f"{i:06d}" for i in range(networks)], "true": 0.5, "predicted": 0.4})
    curve = pd.DataFrame({"validation_loss": np.linspace(1, 0, 40)}, index=pd.RangeIndex(1, 41, name="epoch"))
    seconds = []
    for i in range(6):
        run = RunFolder(folder / "tracked" / str(i))
        figure, _ = new_axes()
        save(figure, run.figures / "predictions.png")
        began = time.perf_counter()
        track({"name": "wandb", "mode": "offline"}, run, {}, {"r2": 0.5}, "train", curve, {"predictions": table})
        seconds.append(time.perf_counter() - began)
    further = float(np.median(seconds[1:]))
    print(f"tracking offline: first run {seconds[0]:.2f} s (import of wandb included), further ones {further:.3f} s")
    print(f"of a fit of 30 s: {further / 30:.1%}")
    print(json.dumps({"seconds": [round(s, 3) for s in seconds]}))


if __name__ == "__main__":
    main()
