"""Finished runs, read back: metrics, the config that made them, and what they answered on their test networks."""

from __future__ import annotations

import json
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from metanet.errors import MetanetError
from metanet.runs.folder import read_metrics, read_versions
from metanet.runs.stored_yaml import read_yaml
from metanet.zoo.header import Origin

# Keys of a config that decide where and with what help a run is made, not what it finds.
CIRCUMSTANCES = ("threads", "launcher", "tracking", "out", "zoo", "from")

NAMES = ("model", "features", "target")  # in the metrics of every fitted meta-model


@dataclass(frozen=True)
class Answers:
    """What a run answered on its test part, a row a snapshot.

    Attributes:
        networks: of each row, (N,).
        true, predicted: (N,), numbers or categories.
        confidence: (N,), the probability that a classification gave its answer; None for numbers and runs that did not keep it.
        units: of resampling, (N,), see :attr:`metanet.zoo.zoo.View.units`; the networks where a run did not keep them.
    """

    networks: np.ndarray
    true: np.ndarray
    predicted: np.ndarray
    confidence: np.ndarray | None = None
    units: np.ndarray = None  # type: ignore[assignment]  # the networks

    def __post_init__(self) -> None:
        if self.units is None:
            object.__setattr__(self, "units", self.networks)

    @cached_property
    def part(self) -> int:
        """Equal for runs with the same test rows."""
        true = self.true.tobytes() if self.true.dtype != object else tuple(map(str, self.true))
        return hash((tuple(self.networks), true))

    def of(self, networks: np.ndarray) -> Answers:
        """The rows of some networks."""
        rows = np.isin(self.networks, networks)
        confidence = None if self.confidence is None else self.confidence[rows]
        return Answers(self.networks[rows], self.true[rows], self.predicted[rows], confidence, self.units[rows])


@dataclass(frozen=True)
class Record:
    """A finished run.

    Attributes:
        metrics: of ``metrics.json``.
        config: flat, dotted keys; empty for a run that has none of its own.
    """

    folder: Path
    metrics: dict[str, Any]
    config: dict[str, Any]

    @property
    def answers(self) -> Answers | None:
        """On its test part; None where :attr:`flaw` says why not."""
        return self._read if isinstance(self._read, Answers) else None

    @property
    def flaw(self) -> str:
        """Why it has no answers: no predictions, damaged ones, or not of all its test rows; empty where it has."""
        return self._read if isinstance(self._read, str) else ""

    @cached_property
    def _read(self) -> Answers | str:
        import pyarrow as pa
        import pyarrow.compute as pc
        from pyarrow.parquet import ParquetFile

        needed = ["network_id", "epoch", "true", "predicted"]
        try:
            columns = [*needed, "part", "confidence", "unit"]
            table = ParquetFile(self.folder / "predictions.parquet").read(columns=columns, use_threads=False)
            test = table.filter(pc.equal(table["part"], "test"))
        except FileNotFoundError:
            return "no predictions"
        except (OSError, KeyError, pa.ArrowException):
            return "damaged predictions"
        if len(test) == 0 or not set(needed) <= set(test.column_names):
            return "no predictions of a test part"
        if len(test) != (rows := self.metrics.get("n_test", len(test))):
            return f"predictions of {len(test)} of {rows} test snapshots"
        networks, epochs, true, predicted = (test[name].to_numpy() for name in needed)
        numbers = "accuracy" not in self.metrics
        if any((values.dtype.kind == "f") != numbers for values in (true, predicted)):
            return "predictions of another kind than its metrics"
        if numbers and not np.isfinite([true, predicted]).all():
            return "predictions that are not finite"
        if any(test[name].null_count for name in needed) or networks.dtype != object or epochs.dtype == object:
            return "damaged predictions"
        confidence = test["confidence"].to_numpy() if "confidence" in test.column_names else None
        units = test["unit"].to_numpy() if "unit" in test.column_names else networks
        if any(unit is None for unit in units):
            return "damaged predictions"
        order = np.lexsort((epochs, networks))
        if (np.diff(order) == 1).all():
            return Answers(networks, true, predicted, confidence, units)
        confidence = None if confidence is None else confidence[order]
        return Answers(networks[order], true[order], predicted[order], confidence, units[order])

    @property
    def curve(self) -> pd.DataFrame | None:
        """Losses by epoch or tree of its fit; None where it kept none that can be read."""
        try:
            return pd.read_csv(self.folder / "curve.csv", index_col=0).astype(float)
        except (OSError, ValueError):
            return None

    @property
    def part(self) -> Hashable:
        """Equal for runs with the same test rows; None for those without answers."""
        return None if self.answers is None else self.answers.part

    @property
    def split(self) -> str:
        """The hash of its split; empty where that is not known."""
        return str(self._split.get("hash") or "")

    @property
    def target(self) -> str:
        """What it predicts."""
        return str(self.metrics["target"])

    @property
    def epoch(self) -> str:
        """Of which snapshots."""
        return str(self.config.get("view.epoch", "last"))

    @property
    def zoo(self) -> str:
        """Where its zoo lay."""
        return str(self.metrics.get("zoo", ""))

    @property
    def plan(self) -> str:
        """Which zoo its test networks are of: the hash of the zoo's plan; empty where that is not known."""
        return str(self._split.get("plan_hash") or "")

    @cached_property
    def version(self) -> str:
        """Of metanet that made it; empty where that is not known."""
        return read_versions(self.folder).get("metanet", "")

    @property
    def images(self) -> str:
        """The image set that its networks were trained on; empty where that is not known."""
        try:
            origin = Origin.from_json(self._split.get("origin"))
        except MetanetError:
            return ""
        return "" if origin is None else origin.data.name

    @cached_property
    def _split(self) -> dict[str, Any]:
        try:
            facts = json.loads((self.folder / "split.json").read_text())
        except (OSError, ValueError):
            return {}
        return facts if isinstance(facts, dict) else {}


@dataclass
class Found:
    """What lies in some folders.

    Attributes:
        records: of fitted meta-models, finished.
        notes: what was left out and why, a sentence each.
    """

    records: list[Record] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def find_runs(folders: Iterable[str | Path]) -> Found:
    """Read run folders; a folder of runs stands for the runs below it.

    Raises:
        MetanetError: a folder that is no run and holds none; a run that was named itself is damaged.
    """
    found = Found()
    unfinished, others, damaged, seen = [], [], [], set()
    for given in folders:
        folder = Path(given).expanduser()
        alone = (folder / "metrics.json").exists()
        configs = [] if alone else sorted(p.parent for p in folder.glob("**/config.yaml") if "wandb" not in p.parts)
        paths = [folder] if alone else sorted({p.parent for p in folder.glob("**/metrics.json")})
        for config in sorted(set(configs) - set(paths)):
            if "model.name" in (begun := _flat_config(config)) and "target" in begun and not _holds(config, paths):
                unfinished.append(config)
        if not paths:
            read_metrics(folder)  # says what is missing
        for path in paths:
            if path.resolve() in seen:
                continue
            seen.add(path.resolve())
            try:
                metrics = read_metrics(path)
            except MetanetError:
                if alone:
                    raise
                damaged.append(path)
                continue
            if not set(NAMES) <= set(metrics):
                others.append(path)
                continue
            if not all(isinstance(metrics[key], str) for key in NAMES):
                damaged.append(path)
                continue
            found.records.append(Record(path, metrics, _flat_config(path)))
    unknown = [r.folder for r in found.records if not r.config]
    lost = [r.folder for r in found.records if not r._split and r.config]
    for paths, words in (
        (unknown, "no config.yaml that can be read, so settings are not known"),
        (lost, "no split.json that can be read, so the zoo goes by its path"),
    ):
        if paths:
            found.notes.append(f"{len(paths)} of the runs {'has' if len(paths) == 1 else 'have'} {words}: {paths[0]}")
    for paths, words in (
        (unfinished, "(not finished: no metrics.json; the command that made it goes on when given again)"),
        (damaged, "(damaged metrics.json)"),
        (others, "(no fitted meta-model in it)"),
    ):
        if paths:
            named = ", ".join(map(str, paths[:3])) + (" ..." if len(paths) > 3 else "")
            found.notes.append(f"{len(paths)} {'folder' if len(paths) == 1 else 'folders'} left out: {named} {words}")
    return found


def _holds(folder: Path, runs: list[Path]) -> bool:
    """Whether a folder's own runs lie below it, as those of a grid or an evaluation do."""
    return any(folder in run.parents for run in runs)


def _flat_config(folder: Path) -> dict[str, Any]:
    """``config.yaml`` with dotted keys; empty where there is none or it cannot be read."""
    try:
        config = read_yaml((folder / "config.yaml").read_text())
    except (OSError, UnicodeDecodeError, ValueError, yaml.YAMLError):
        return {}
    return flat(config) if isinstance(config, dict) else {}


def flat(config: Any, prefix: str = "") -> dict[str, Any]:
    """Dotted keys and values of a config, without the circumstances of a run."""
    found: dict[str, Any] = {}
    for key, value in config.items():
        if not prefix and key in CIRCUMSTANCES:
            continue
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) and value else {f"{prefix}{key}": value}
    return found
