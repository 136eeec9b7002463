"""The files in which the neural weight space was released (Eilertsen et al. 2020): import.

    <run>/weights/001.bin ... 020.bin   raw float64: layer by layer kernel, bias, and batch normalisation's four vectors
    <run>/meta.csv                      the thirteen hyperparameters, in the code's numbers
    <run>/error.bin                     float64 (evaluations, 5): step, training, validation and test error in percent, smoothed
    <run>/stat.bin                      float64: evaluations, iterations, epochs, seconds
    *.csv beside them                   splits: path, weightn_conv, weightn_fc and the hyperparameters

Weights become float32, the rows of the first fully connected layer come from TensorFlow's order (h, w, c) into PyTorch's,
and percent of error become accuracies.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from metanet.errors import MetanetError
from metanet.formats import Format, OnProgress
from metanet.generation.nws import NWSNetwork
from metanet.zoo.build import ZooBuilder

CODES = {
    "optimizer": ("adam", "rmsprop", "momentum"),
    "activation": ("relu", "elu", "sigmoid", "tanh"),
    "initialization": ("constant", "normal", "glorot_uniform", "glorot_normal"),
}
# Their names for our hyperparameters.
HYPERPARAMETERS = {
    "dataset": "dataset",
    "lrate": "learning_rate",
    "batch_size": "batch_size",
    "batch_norm": "batch_norm",
    "augmentation": "augmentation",
    "optimizer": "optimizer",
    "activation": "activation",
    "initialization": "w_init",
    "filter_size": "filter_size",
    "depth_conv": "conv_depth",
    "depth_fc": "fc_depth",
    "width_conv": "conv_width",
    "width_fc": "fc_width",
}
ARCHITECTURE = ("filter_size", "conv_depth", "fc_depth", "conv_width", "fc_width")
CONVERGED = {"mnist": 0.8, "cifar10": 0.25, "svhn": 0.5, "stl10": 0.25, "fashion_mnist": 0.5}
# Of the official test sets: images, accuracy of the commonest class.
TEST_SETS = {
    "mnist": (10_000, 0.1135),
    "cifar10": (10_000, 0.1),
    "svhn": (26_032, 5_099 / 26_032),
    "stl10": (8_000, 0.1),
    "fashion_mnist": (10_000, 0.1),
}
EXPORTS = 20  # snapshots of each run


class NWS(Format):
    """Run folders, found by their ``meta.csv`` or named by the split files."""

    name = "nws"

    def read(self, source: Path, zoo: ZooBuilder, on_progress: OnProgress | None = None, n_test: int | None = None) -> None:
        """Add the runs below ``source``; ``n_test`` is by default that of each official test set.

        Raises:
            MetanetError: for a folder without runs, and for a run whose files are missing, damaged, or do not fit its
                hyperparameters; the run is named.
        """
        if not source.is_dir():
            raise MetanetError(f"source='{source}' is no folder; give the one that holds the runs, unpacked")
        runs, splits = _find(source)
        rows = [_hyperparameters(run) for run in runs]
        networks = [_network(run, row, splits.get(run)) for run, row in zip(runs, rows, strict=True)]
        files = [sorted((run / "weights").glob("[0-9]*.bin"), key=lambda p: int(p.stem)) for run in runs]
        total, done = sum(8 * n.layout.size * len(f) for n, f in zip(networks, files, strict=True)), 0
        zoo.declare(**_facts(rows, runs, n_test))
        for number, (run, row, network, parts) in enumerate(zip(runs, rows, networks, files, strict=True)):
            name = f"{number:06d}"
            history, seconds = _history(run, name)
            _check_exports(run, parts)
            kept = history.iloc[np.linspace(0, len(history) - 1, len(parts)).round().astype(int)].to_dict("records")
            metrics = [{k: v for k, v in own.items() if k not in ("network_id", "epoch")} for own in kept]
            vectors = (_vector(path, network) for path in parts)
            snapshots = zip((int(own["epoch"]) for own in kept), vectors, metrics, strict=True)
            released = splits.get(run, ("", 0, 0))[0]
            facts: dict[str, Any] = {"epochs_run": len(history) - 1, "seconds": seconds, "released": released}
            zoo.add(name, network.layout, snapshots, row, history, **facts)
            done += 8 * network.layout.size * len(parts)
            if on_progress is not None:
                on_progress(done, total)

    def example(self, out: Path) -> None:
        """Write two runs of the smallest released networks, whose values are drawn."""
        rng = np.random.default_rng(0)
        for number, classes in enumerate((3, 4)):
            run = out / f"run{number}"
            (run / "weights").mkdir(parents=True)
            sizes = {"filter_size": 3, "depth_conv": classes, "depth_fc": 2, "width_conv": 4, "width_fc": 64}
            meta = dict.fromkeys(HYPERPARAMETERS, 1) | {"dataset": "mnist", "lrate": 0.001, "batch_size": 64} | sizes
            pd.DataFrame([meta]).to_csv(run / "meta.csv", index=False)
            row = _hyperparameters(run)
            size = _network(run, row, None).layout.size
            for k in range(EXPORTS):
                rng.standard_normal(size).astype("<f8").tofile(run / "weights" / f"{k + 1:03d}.bin")
            errors = [(10.0 * k, 90.0 - k, 91.0 - k, 92.0 - k, 90.0 - k) for k in range(EXPORTS)]
            np.array(errors, "<f8").tofile(run / "error.bin")
            np.array([EXPORTS, 10 * EXPORTS, EXPORTS, 1.0], "<f8").tofile(run / "stat.bin")


def _check_exports(run: Path, parts: list[Path]) -> None:
    stems = [int(path.stem) for path in parts]
    if stems != list(range(1, EXPORTS + 1)):
        missing = next(k for k in range(1, EXPORTS + 1) if k not in stems) if len(stems) <= EXPORTS else stems[-1]
        words = "no" if missing <= EXPORTS else "one too many, "
        raise MetanetError(f"run '{run}' has {words} weights/{missing:03d}.bin; a released run has 001 to {EXPORTS:03d}")


def _find(source: Path) -> tuple[list[Path], dict[Path, tuple[str, int, int]]]:
    """Run folders in order of their paths; of each that a split file names, its split and its two numbers of values."""
    splits: dict[Path, tuple[str, int, int]] = {}
    for path in sorted(source.glob("*.csv")):
        table = _read_csv(path)
        if {"path", "weightn_conv", "weightn_fc"} <= set(table.columns):
            for row in table.to_dict("records"):
                folder = (source / str(row["path"])).resolve()
                splits[folder] = (path.stem, int(row["weightn_conv"]), int(row["weightn_fc"]))
    runs = sorted({path.parent.resolve() for path in source.rglob("meta.csv")} | set(splits))
    if not runs:
        raise MetanetError(f"source='{source}' holds no run: no folder in it has a meta.csv with weights/001.bin ...")
    return runs, splits


def _read_csv(path: Path) -> pd.DataFrame:
    try:
        return pd.read_csv(path, skipinitialspace=True)
    except (OSError, ValueError) as error:
        raise MetanetError(f"'{path}' cannot be read: {error}") from None


def _hyperparameters(run: Path) -> dict[str, Any]:
    if not (run / "meta.csv").exists():
        raise MetanetError(f"run '{run}' has no meta.csv, though a split file names it")
    table = _read_csv(run / "meta.csv")
    if missing := sorted(set(HYPERPARAMETERS) - set(table.columns)):
        raise MetanetError(f"'{run}/meta.csv' has no column '{missing[0]}'; a released run has {', '.join(HYPERPARAMETERS)}")
    if len(table) != 1:
        raise MetanetError(f"'{run}/meta.csv' has {len(table)} rows; a run has one")
    values: dict[str, Any] = {}
    for theirs, ours in HYPERPARAMETERS.items():
        value = table[theirs].iloc[0]
        try:
            if theirs in CODES:
                values[ours] = dict(enumerate(CODES[theirs]))[int(value)]
            elif theirs == "dataset":
                values[ours] = _dataset(str(value))
            else:
                kind = {"lrate": float, "batch_norm": bool, "augmentation": bool}.get(theirs, int)
                values[ours] = kind(float(value))
        except (ValueError, KeyError):
            raise MetanetError(f"'{run}/meta.csv' has {theirs}={value}, which is no value of the released set") from None
    return values | {"init_std": 1.0}


def _dataset(text: str) -> str:
    plain = re.sub(r"[^a-z0-9]", "", text.lower())
    name = {"fashion": "fashion_mnist", "fashionmnist": "fashion_mnist", "fmnist": "fashion_mnist"}.get(plain, plain)
    if name not in CONVERGED:
        raise KeyError(text)
    return name


def _network(run: Path, row: dict[str, Any], split: tuple[str, int, int] | None) -> NWSNetwork:
    """The architecture of a run; checked against the split file's two numbers of values."""
    try:
        network = NWSNetwork((32, 32, 3), **{name: row[name] for name in ARCHITECTURE}, batch_norm=row["batch_norm"])
    except MetanetError as error:
        raise MetanetError(f"'{run}/meta.csv': {error}") from None
    if split is not None:
        conv = sum(t.stop - t.start for t in network.layout.tensors if t.layer.startswith("conv"))
        found = (conv, network.layout.size - conv)
        if found != split[1:]:
            raise MetanetError(
                f"run '{run}' has {found[0]} convolutional and {found[1]} fully connected values by its meta.csv, "
                f"{split[1]} and {split[2]} by {split[0]}.csv"
            )
    return network


def _history(run: Path, name: str) -> tuple[pd.DataFrame, float]:
    """Accuracies of every evaluation, and the seconds of the training."""
    table, stat = (_floats(run / f) for f in ("error.bin", "stat.bin"))
    evaluations = int(stat[0]) if len(stat) == 4 else 0
    if evaluations < 1 or len(table) % 5 or len(table) // 5 < evaluations:
        raise MetanetError(
            f"run '{run}': error.bin has {len(table)} numbers and stat.bin says {list(stat)}; expected five numbers for each "
            "evaluation, and evaluations, iterations, epochs, seconds"
        )
    errors = table.reshape(-1, 5)[:evaluations]
    frame = pd.DataFrame({"network_id": name, "epoch": np.arange(evaluations), "step": errors[:, 0].astype(np.int64)})
    frame["progress"] = frame["epoch"] / max(evaluations - 1, 1)
    for column, part in enumerate(("train", "validation", "test"), 1):
        frame[f"{part}_accuracy"] = 1 - errors[:, column] / 100
    return frame, float(stat[3])


def _floats(path: Path) -> np.ndarray:
    raw = path.read_bytes() if path.exists() else b""
    if not raw or len(raw) % 8:
        raise MetanetError(f"'{path}' has {len(raw)} bytes; expected float64 numbers of eight")
    return np.frombuffer(raw, "<f8")


def _vector(path: Path, network: NWSNetwork) -> np.ndarray:
    """One snapshot in our order, float32 (D,)."""
    values = _floats(path)
    if len(values) != network.layout.size:
        raise MetanetError(f"'{path}' has {len(values)} values; the network of its meta.csv has {network.layout.size}")
    vector = values.astype(np.float32)
    first = next(t for t in network.layout.tensors if t.name == "fc1.weight")
    channels = network.convolutions[-1].outputs
    side = round((first.shape[1] // channels) ** 0.5)
    kernel = vector[first.start : first.stop].reshape(first.shape[0], side, side, channels)
    vector[first.start : first.stop] = kernel.transpose(0, 3, 1, 2).ravel()
    return vector


def _facts(rows: list[dict[str, Any]], runs: list[Path], n_test: int | None) -> dict[str, Any]:
    networks = pd.DataFrame(rows)
    names = sorted(networks["dataset"].unique())
    sets = {}
    for name in names:
        official, chance = TEST_SETS[name]
        sets[name] = {"name": name, "classes": 10, "chance": chance, "shape": [32, 32, 3], "n_test": n_test or official}
    converged = {name: CONVERGED[name] for name in names if name in CONVERGED}
    data = sets[names[0]] if len(names) == 1 else {"name": "+".join(names), "classes": 10, "shape": [32, 32, 3], "sets": sets}
    listed = [name for name in HYPERPARAMETERS.values() if name not in ("dataset", "learning_rate")]
    seen = {name: sorted(networks[name].unique().tolist()) for name in listed if name in networks}
    text = "\n".join(run.name for run in runs) + networks.to_csv(index=False)
    return {
        "recipe": {"name": "nws", "hyperparameters": seen},
        "data": data | {"converged": converged},
        "columns": {"hp.learning_rate": "number"} | {f"hp.{name}": "category" for name in seen},
        "plan_hash": hashlib.sha256(text.encode()).hexdigest()[:16],
    }
