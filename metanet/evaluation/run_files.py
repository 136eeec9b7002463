"""What a fit leaves in its run folder, and how it is read again."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from metanet.errors import MetanetError
from metanet.evaluation.preparing import Fit
from metanet.evaluation.protocol import Fitted, Floor, Floors
from metanet.evaluation.seen import SEEN, split_facts, store_split
from metanet.metrics import classification_metrics, r2
from metanet.models import load_model
from metanet.models.base import MetaModel
from metanet.runs.folder import RunFolder, read_config, read_metrics
from metanet.runs.records import flat
from metanet.runs.tracking import card_of, track
from metanet.zoo.identity import Seen
from metanet.zoo.reading import read_header

Draw = Callable[[Fitted, RunFolder], None]


class RunWriter:
    """Writes finished fits; the floors of one split are files that its runs share.

    Args:
        draw: makes a run's figures.
    """

    def __init__(self, draw: Draw | None = None) -> None:
        self.draw = draw
        self._saved: dict[Floor, Path] = {}

    def write(
        self, run: RunFolder, fit: Fit, config: dict[str, Any], result: Fitted, metrics: dict[str, Any], floors: Floors
    ) -> None:
        """Everything that belongs into a run folder, its metrics last: a folder with metrics is a finished run.

        Args:
            config: of this run; that of ``fit`` but for the target, where a fit has several.
        """
        view, split = fit.view, fit.split
        run.write_config(config)
        stored = store_split(view.zoo, split, run.folder)
        facts = config["split"] | {
            "hash": split.hash,
            "stored": str(stored),
            "plan_hash": view.zoo.header.plan_hash,
            "origin": view.zoo.header.origin and view.zoo.header.origin.to_json(),
            "seen": SEEN,
        }
        Seen.of(view, [*split.train, *split.validation]).save(run.folder / SEEN)
        counts = {f"networks_{part}": len(getattr(split, part)) for part in ("train", "validation", "test")}
        (run.folder / "split.json").write_text(json.dumps(facts | counts, indent=1))
        run.write_predictions(result.predictions)
        result.model.save(run.folder / "model")
        self._save_floors(floors, run.folder / "floors")
        if result.model.curve is not None:
            result.model.curve.to_csv(run.folder / "curve.csv")
        if self.draw is not None:
            self.draw(result, run)
        run.write_metrics(metrics)
        tables = {"predictions": result.predictions}
        if (trials := run.folder / "trials.csv").exists():
            tables["trials"] = pd.read_csv(trials)
        artifacts = {f"split-{split.hash}": ("split", [run.folder / "split.json", stored])} | card_of(view.zoo)
        track(config["tracking"], run, config, metrics, "train", result.model.curve, tables, artifacts)

    def _save_floors(self, floors: Floors, folder: Path) -> None:
        """Floors go with their run, so that they can be asked about other zoos; runs of one split share the files."""
        shutil.rmtree(folder, ignore_errors=True)  # of an unfinished run: what is linked must not be written into
        for name, floor in floors.items():
            if floor in self._saved and self._saved[floor].is_dir():
                shutil.copytree(self._saved[floor], folder / name, copy_function=_link)
            else:
                floor.model.save(folder / name)
                self._saved[floor] = folder / name


def _link(source: str, target: str) -> None:
    """A second name of a file; a copy where the file system has none."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def saved_floors(run: Path, threads: int = 1) -> dict[str, MetaModel]:
    """The fitted floors of a run, by name.

    Raises:
        MetanetError: it was made before runs kept them.
    """
    if not (run / "floors").is_dir():
        raise MetanetError(f"'{run}' keeps no floors; an earlier version made it: fit it again, with metanet train from={run}")
    return {path.name: load_model(path, threads) for path in sorted((run / "floors").iterdir())}


def finished_run(folder: Path, config: dict[str, Any]) -> dict[str, Any] | None:
    """Metrics of a run that is there already with the same config; None where there is none, or a search is to go on.

    Raises:
        MetanetError: the folder holds a run of another config or zoo.
    """
    if not all((folder / name).exists() for name in ("config.yaml", "metrics.json", "predictions.parquet", "split.json")):
        return None
    stored, given = flat(read_config(folder)), flat(config)
    differing = [k for k in sorted(stored.keys() | given.keys()) if stored.get(k) != given.get(k)]
    if differing == ["search.n"] and given["search.n"] > stored["search.n"]:
        return None
    if differing:
        key = differing[0]
        raise MetanetError(
            f"run folder '{folder}' holds a run with {key}={stored.get(key)}, now {given.get(key)}; choose another out="
        )
    zoo = Path(config["zoo"]).expanduser()
    if read_header(zoo).plan_hash != split_facts(folder / "split.json").get("plan_hash"):
        raise MetanetError(f"run folder '{folder}' holds a run on another zoo than '{zoo}'; choose another out=")
    return read_metrics(folder)


def hyper_floor(folder: Path, task: str) -> float:
    """What a run's floor, the GBM on all that is known but the weights, scores on the test part; nan where nothing varies.

    That is all other hyperparameters, and for one of them the test accuracy too. Of a classification the mean recall of the
    classes, of a regression R2.
    """
    test = pd.read_parquet(folder / "predictions.parquet").query("part == 'test'")
    if "hyper_floor" not in test:
        return float("nan")
    if task == "regression":
        return r2(test["true"].to_numpy(float), test["hyper_floor"].to_numpy(float))
    return classification_metrics(test["true"].to_numpy(str), test["hyper_floor"].to_numpy(str))["balanced_accuracy"]
