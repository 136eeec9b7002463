"""The files in which the Small CNN Zoo was released (Unterthiner et al. 2020): export and import.

    weights.npy      float32 (rows, D): per layer the bias, then the kernel as (kh, kw, in, out) or (in, out)
    metrics.csv.gz   one row a snapshot: ``config.*`` hyperparameters, modeldir (the run), step (the epoch), metrics
    layout.csv       varname, start_idx, end_idx, size, shape

An import maps ``weights.npy`` where it lies; of a ``.tar.xz`` it streams the weights into the zoo's folder. The released
losses include the l2 penalty; those of our own zoos do not, and neither file is changed.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
import pandas as pd

from metanet.errors import MetanetError
from metanet.formats import Format, OnProgress
from metanet.formats.released_layout import layout_table, parse_layout, released_order
from metanet.formats.released_metrics import checked_metrics
from metanet.generation.networks import SmallCNN
from metanet.zoo.arrays import zoo_from_arrays
from metanet.zoo.build import ZooBuilder
from metanet.zoo.files import write_atomically, write_text
from metanet.zoo.layout import Layout
from metanet.zoo.zoo import View, Zoo

FILES = ("weights.npy", "metrics.csv.gz", "layout.csv")
UNFINISHED = "export-unfinished"  # lies beside files of which some may be missing
METRICS = ("test_accuracy", "test_loss", "train_accuracy", "train_loss")
# Their names for our hyperparameters and values.
HYPERPARAMETERS = {
    "activation": "activation",
    "dropout": "dropout",
    "init_std": "init_std",
    "l2reg": "l2reg",
    "learning_rate": "learning_rate",
    "num_layers": "conv_depth",
    "num_units": "num_units",
    "optimizer": "optimizer",
    "train_fraction": "train_fraction",
    "w_init": "w_init",
}
NUMBERS = ("dropout", "init_std", "l2reg", "learning_rate", "num_layers", "num_units", "train_fraction")
INITIALIZERS = {"normal": "RandomNormal", "truncated_normal": "TruncatedNormal"}
DATASETS = {"cifar10_gs": "cifar10", "svhn_gs": "svhn_cropped"}
# Of the official sets: training and test images, test accuracy of the commonest class.
DATASET_FACTS = {
    "mnist": (60_000, 10_000, 0.1135),
    "fashion_mnist": (60_000, 10_000, 0.1),
    "cifar10_gs": (50_000, 10_000, 0.1),
    "svhn_gs": (73_257, 26_032, 5_099 / 26_032),
}
LOG_UNIFORM = ("learning_rate", "l2reg", "init_std")  # as they were drawn
_CHUNK_BYTES = 1 << 24


class SmallCNNZoo(Format):
    """``weights.npy``, ``metrics.csv.gz`` and ``layout.csv``, in a folder or a ``.tar.xz`` of it."""

    name = "small_cnn_zoo"
    files = FILES

    def read(self, source: Path, zoo: ZooBuilder, on_progress: OnProgress | None = None, n_test: int | None = None) -> None:
        """Add what was released; rows that are not finite stay in the networks' status and are in no view.

        ``n_test`` is by default that of the official test set, where it is one of the released.

        Raises:
            MetanetError: for files that are missing, damaged, or do not belong together.
        """
        if not source.exists():
            raise MetanetError(f"source='{source}' is not there; give the folder of {', '.join(FILES)}")
        (_import_folder if source.is_dir() else _import_archive)(source, zoo, on_progress, n_test)

    def write(self, zoo: Zoo, out: Path, on_progress: OnProgress | None = None) -> int:
        """Write the snapshots of a zoo of small CNNs, network by network; returns the rows.

        Raises:
            MetanetError: for a zoo of other networks, or a folder that holds such files already.
        """
        return _export(zoo, out, on_progress)

    def example(self, out: Path) -> None:
        """Write three networks of 4 filters whose weights are drawn, before training and after."""
        rng, layout = np.random.default_rng(0), SmallCNN((28, 28, 1), num_units=4).layout
        metrics = {name: rng.uniform(0, 1, 6) for name in METRICS}
        frame = pd.DataFrame({"network_id": np.repeat(["000000", "000001", "000002"], 2), "epoch": [0, 1] * 3, **metrics})
        drawn = {f"hp.{name}": 0.1 for name in HYPERPARAMETERS.values()} | {"hp.conv_depth": 3, "hp.num_units": 4}
        words = {"hp.activation": "relu", "hp.optimizer": "adam", "hp.w_init": "normal", "hp.dataset": "mnist"}
        self.write(zoo_from_arrays(rng.standard_normal((6, layout.size)), layout, frame.assign(**drawn | words)), out)


# ---------------------------------------------------------------------------------------------------- export


def _export(zoo: Zoo, out: Path, on_progress: OnProgress | None) -> int:
    view = zoo.view(epoch="all", status=None)
    layout = view.layout
    order = released_order(layout)
    begun = out / UNFINISHED
    if not begun.exists() and (taken := [name for name in FILES if (out / name).exists()]):
        raise MetanetError(f"out='{out}' holds '{taken[0]}' already; choose another folder")
    try:
        out.mkdir(parents=True, exist_ok=True)
        begun.touch()
        write_atomically(out / "weights.npy", lambda file: _write_rows(file, view, order, on_progress))
        write_text(layout_table(layout).to_csv(index=False), out / "layout.csv")
        # The last: an export that was cut short has none, and is no released zoo to any reader.
        compression = {"method": "gzip", "mtime": 0}
        write_atomically(
            out / "metrics.csv.gz", lambda file: _metrics_table(zoo).to_csv(file, index_label="", compression=compression)
        )
        begun.unlink()
    except OSError as error:
        for name in (*FILES, UNFINISHED):
            (out / name).unlink(missing_ok=True)
        raise MetanetError(f"out='{out}' cannot be written: {error.strerror or error}; nothing of it is left there") from None
    return len(view)


def _write_rows(file: IO[bytes], view: View, order: np.ndarray, on_progress: OnProgress | None) -> None:
    """``weights.npy``, chunk by chunk."""
    np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": (len(view), len(order))})
    rows = max(1, _CHUNK_BYTES // (4 * len(order)))
    for start in range(0, len(view), rows):
        part = view.take(np.arange(start, min(start + rows, len(view))))
        file.write(np.ascontiguousarray(part.weights()[:, order], "<f4").data)
        if on_progress is not None:
            on_progress(4 * len(order) * (start + len(part)), 4 * len(order) * len(view))


def _metrics_table(zoo: Zoo) -> pd.DataFrame:
    frame = zoo.view(epoch="all", status=None).frame
    networks = zoo.networks.set_index("network_id")
    evaluated = zoo.header.recipe.settings.get("evaluate_every")
    columns: dict[str, Any] = {
        f"config.{theirs}": frame[f"hp.{ours}"] for theirs, ours in HYPERPARAMETERS.items() if f"hp.{ours}" in frame
    }
    columns["config.w_init"] = frame["hp.w_init"].replace(INITIALIZERS)
    columns["config.dataset"] = frame["hp.dataset"].replace(DATASETS)
    columns |= {"config.b_init": "zeros", "config.dnn_architecture": "cnn"}
    columns["config.epochs"] = frame.groupby("network_id")["epoch"].transform("max")
    columns["config.epochs_between_checkpoints"] = evaluated or 1
    columns["config.random_seed"] = frame["network_id"].map(networks["seed"]) if "seed" in networks else 0
    if "modeldir" in networks:
        columns["modeldir"] = frame["network_id"].map(networks["modeldir"])
    else:
        columns["modeldir"] = frame["hp.dataset"].replace(DATASETS) + "/" + frame["network_id"]
    columns["step"] = frame["epoch"]
    columns |= {metric: frame[metric] for metric in METRICS}
    table = pd.DataFrame(columns)
    configs = sorted(c for c in table if c.startswith("config."))
    table = table[[*configs, "modeldir", "step", *METRICS]]
    table.index = pd.Index(table["modeldir"] + "/permanent_ckpt-" + table["step"].astype(str))
    return table


# ---------------------------------------------------------------------------------------------------- import


def _import_folder(source: Path, zoo: ZooBuilder, on_progress: OnProgress | None, n_test: int | None) -> None:
    folder = source if (source / FILES[0]).exists() else next((p.parent for p in sorted(source.rglob(FILES[0]))), source)
    if (folder / UNFINISHED).exists():
        raise MetanetError(f"source='{folder}' is an export that was cut short; give its metanet export command again")
    for name in FILES:
        if not (folder / name).exists():
            raise MetanetError(f"source='{source}' has no {name}; a released zoo has {', '.join(FILES)}")
    path = (folder / FILES[0]).resolve()
    with open(path, "rb") as file:
        shape = _npy_shape(file, path)
        checks = _check_rows(file, shape, on_progress)
    _adopt(zoo, (folder / FILES[1]).read_bytes(), (folder / FILES[2]).read_bytes(), shape, checks, path, n_test)


def _import_archive(source: Path, zoo: ZooBuilder, on_progress: OnProgress | None, n_test: int | None) -> None:
    texts: dict[str, bytes] = {}
    shape, checks = None, None
    try:
        with tarfile.open(source, "r|*") as archive:
            for member in archive:
                name = Path(member.name).name
                if name not in FILES or not member.isfile():
                    continue
                stream = archive.extractfile(member)
                assert stream is not None
                if name != FILES[0]:
                    texts[name] = stream.read()
                    continue
                shape = _npy_shape(stream, source)
                target = zoo.folder / "weights-00000.npy"
                temporary = target.with_name(target.name + ".tmp")
                with open(temporary, "wb") as file:
                    np.lib.format.write_array_header_1_0(
                        file, {"descr": "<f4", "fortran_order": False, "shape": (shape[0] * shape[1],)}
                    )
                    checks = _check_rows(stream, shape, on_progress, copy=file)
                temporary.replace(target)
    except (tarfile.TarError, EOFError, OSError, ValueError) as error:
        raise MetanetError(f"source='{source}' cannot be read as an archive: {error}") from None
    if shape is None or checks is None or len(texts) < 2:
        missing = [n for n in FILES if n not in texts and not (n == FILES[0] and shape)]
        raise MetanetError(f"source='{source}' has no {missing[0]}; a released zoo has {', '.join(FILES)}")
    _adopt(zoo, texts[FILES[1]], texts[FILES[2]], shape, checks, None, n_test)


def _npy_shape(file: IO[bytes], path: Path) -> tuple[int, int]:
    """Read a .npy header; the shape of a float32 matrix."""
    try:
        version = np.lib.format.read_magic(file)
        reader = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = reader(file)
    except (ValueError, OSError) as error:
        raise MetanetError(f"the weights in '{path}' are no .npy file: {error}") from None
    if len(shape) != 2 or fortran or dtype != np.dtype("<f4"):
        raise MetanetError(f"the weights in '{path}' are {dtype} of shape {shape}; expected float32 (rows, values) row by row")
    return int(shape[0]), int(shape[1])


def _check_rows(
    file: IO[bytes], shape: tuple[int, int], on_progress: OnProgress | None, copy: IO[bytes] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """One pass over the matrix: whether each row is finite, and its CRC-32.

    Raises:
        MetanetError: a row is all zero, as those are that were never written.
    """
    rows, size = shape
    finite, crc = np.empty(rows, bool), np.empty(rows, np.int64)
    at = 0
    for chunk in _row_chunks(file, rows, 4 * size):
        if copy is not None:
            copy.write(chunk)
        values = np.frombuffer(chunk, np.float32).reshape(-1, size)
        stop = at + len(values)
        if not (some := values.any(1)).all():
            row = at + int(np.argmin(some)) + 1
            raise MetanetError(f"weights.npy, row {row}: all weights are 0; the file was cut short, write it again")
        finite[at:stop] = np.isfinite(values.sum(1, dtype=np.float64))
        crc[at:stop] = [zlib.crc32(row.data) for row in values]
        at = stop
        if on_progress is not None:
            on_progress(4 * size * at, 4 * size * rows)
    return finite, crc


def _row_chunks(file: IO[bytes], rows: int, row_bytes: int) -> Iterator[bytes]:
    per_chunk = max(1, _CHUNK_BYTES // row_bytes)
    for start in range(0, rows, per_chunk):
        wanted = min(per_chunk, rows - start) * row_bytes
        chunk = file.read(wanted)
        if len(chunk) != wanted:
            raise MetanetError(f"the weights end after {start * row_bytes + len(chunk):,} of {rows * row_bytes:,} bytes")
        yield chunk


def _adopt(
    zoo: ZooBuilder,
    metrics: bytes,
    layout_csv: bytes,
    shape: tuple[int, int],
    checks: tuple[np.ndarray, np.ndarray],
    mapped: Path | None,
    n_test: int | None,
) -> None:
    layout = parse_layout(layout_csv.decode(errors="replace"))
    if layout.size != shape[1]:
        raise MetanetError(f"layout.csv describes {layout.size} values, weights.npy has {shape[1]} a row")
    try:
        table = pd.read_csv(io.BytesIO(gzip.decompress(metrics)), index_col=0, low_memory=False)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise MetanetError(f"metrics.csv.gz cannot be read: {error}") from None
    needed = {"modeldir", "step", *METRICS, *(f"config.{name}" for name in HYPERPARAMETERS), "config.dataset"}
    if missing := sorted(needed - set(table.columns)):
        raise MetanetError(f"metrics.csv.gz has no column '{missing[0]}'; it is none of a released zoo")
    if len(table) != shape[0]:
        raise MetanetError(f"metrics.csv.gz has {len(table)} rows, weights.npy {shape[0]}; they do not belong together")
    configs = [f"config.{name}" for name in (*HYPERPARAMETERS, "dataset")]
    numbers = [*METRICS, *(f"config.{name}" for name in NUMBERS)]
    table = checked_metrics(table.reset_index(drop=True), configs, numbers)
    networks, snapshots, facts = _tables(table, layout, checks, n_test)
    zoo.declare(**facts, plan_hash=hashlib.sha256(metrics).hexdigest()[:16])
    zoo.adopt({layout.id: layout}, networks, snapshots, [shape[0] * shape[1]], None if mapped is None else {"0": str(mapped)})


def _tables(
    table: pd.DataFrame, layout: Layout, checks: tuple[np.ndarray, np.ndarray], given: int | None
) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, Any]]:
    """Networks and snapshots of a released metrics table, and what is known of them."""
    finite, crc = checks
    codes, runs = pd.factorize(table["modeldir"])
    ids = np.array([f"{i:06d}" for i in range(len(runs))])
    order = np.lexsort((table["step"].to_numpy(), codes))
    last = np.zeros(len(table), bool)
    last[order[np.append(np.diff(codes[order]) != 0, True)]] = True
    ours = {v: k for k, v in INITIALIZERS.items()}, {v: k for k, v in DATASETS.items()}
    firsts = table.iloc[np.unique(codes, return_index=True)[1]]
    networks = pd.DataFrame({"network_id": ids, "layout_id": layout.id})
    for theirs, name in HYPERPARAMETERS.items():
        networks[f"hp.{name}"] = firsts[f"config.{theirs}"].to_numpy()
    networks["hp.w_init"] = networks["hp.w_init"].replace(ours[0])
    networks["hp.dataset"] = firsts["config.dataset"].replace(ours[1]).to_numpy()
    ended_finite = np.zeros(len(runs), bool)
    ended_finite[codes[last]] = finite[last]
    networks["status"] = np.where(ended_finite, "ok", "nan")
    networks["modeldir"] = runs
    steps = table["step"].to_numpy()
    longest = np.zeros(len(runs))
    np.maximum.at(longest, codes, steps)
    networks["epochs_run"] = longest.astype(np.int64)
    snapshots = pd.DataFrame(
        {
            "network_id": ids[codes],
            "epoch": steps.astype(np.int64),
            "step": steps.astype(np.int64),
            "progress": steps / np.maximum(longest[codes], 1),
            **{metric: table[metric].to_numpy(np.float64) for metric in METRICS},
            "shard": np.int64(0),
            "offset": np.arange(len(table)) * layout.size,
            "length": np.int64(layout.size),
            "crc32": crc,
            "row": np.arange(len(table)),
        }
    )[finite]
    dataset = str(networks["hp.dataset"].iloc[0])
    n_train, n_test, chance = DATASET_FACTS.get(dataset, (None, None, None))
    facts: dict[str, Any] = {"name": dataset, "n_train": n_train, "n_test": given or n_test, "chance": chance}
    facts["classes"] = layout.tensors[-2].shape[0]
    ranges = {
        name: {"log_uniform": [float(networks[f"hp.{name}"].min()), float(networks[f"hp.{name}"].max())]} for name in LOG_UNIFORM
    }
    known = {
        "recipe": {"name": "small_cnn", "hyperparameters": ranges, "losses_include_l2": True},
        "data": {key: value for key, value in facts.items() if value is not None},
        "columns": {f"hp.{name}": "log" for name in LOG_UNIFORM if (networks[f"hp.{name}"] > 0).all()},
    }
    return networks, snapshots.reset_index(drop=True), known
