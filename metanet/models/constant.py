"""The best constant: the floor under every score."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from metanet.models.base import MetaModel
from metanet.models.target import Target
from metanet.zoo.zoo import View


class Constant(MetaModel):
    """Predicts the training mean, or the class frequencies, whatever it is shown; it reads nothing.

    Args:
        base: ``seed`` and ``threads``, which it does not need; ``features`` are not looked at.
    """

    name = "constant"

    def __init__(self, **base: Any) -> None:
        super().__init__(**base)
        self.features = "-"

    @property
    def access(self) -> str:
        return "-"

    def fit(self, train: View, target: str = "test_accuracy", validation: View | None = None) -> Constant:
        self.target = Target.of(train, target)
        codes = [self.target.encode(part) for part in (train, validation) if part is not None]
        y, classes = np.concatenate(codes), len(self.target.classes)
        self.value = np.bincount(y, minlength=classes) / len(y) if classes else np.array([y.mean()])
        return self

    def output(self, view: View) -> np.ndarray:
        rows = np.tile(self.value, (len(view), 1))
        return rows if self.target.classes else rows[:, 0]

    def save(self, folder: str | Path) -> None:
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        values = {"model": self.name, "target": self.target.to_json(), "value": self.value.tolist()}
        (folder / "model.json").write_text(json.dumps(values, indent=1))

    @classmethod
    def load(cls, folder: Path, threads: int = 1) -> Constant:
        values = json.loads((folder / "model.json").read_text())
        model = cls(threads=threads)
        model.target, model.value = Target.from_json(values["target"]), np.array(values["value"])
        return model
