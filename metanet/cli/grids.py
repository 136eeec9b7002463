"""Grids: several values of a key make a run of each combination, and a setting may be given to one family alone.

model=deepsets,gbm model.deepsets.max_epochs=5 seed=0,1        four runs; gbm keeps its own length
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from metanet.config_files import options
from metanet.errors import MetanetError

COLUMNS = ("model", "features", "target")  # what every run's name says


@dataclass(frozen=True)
class Grid:
    """The runs of one command.

    Attributes:
        cells: keys and values of each as given; a setting of one family under its plain key, in the runs of that family.
        varied: keys of which several values were given.
    """

    cells: list[dict[str, str]]
    varied: list[str]

    @classmethod
    def of(cls, overrides: dict[str, list[str]]) -> Grid:
        """All combinations of the values, the last key fastest, each once.

        Raises:
            MetanetError: a setting is of an option that no run has.
        """
        homes = {key: home for key in overrides if (home := _family_of(key, overrides)) is not None}
        cells: list[dict[str, str]] = []
        for values in itertools.product(*overrides.values()):
            given = dict(zip(overrides, values, strict=True))
            own = {key: value for key, value in given.items() if key not in homes}
            for key, (group, option, plain) in homes.items():
                if _told(given[group]) == option:
                    own[plain] = given[key]
            if own not in cells:
                cells.append(own)
        varied = [homes[key][2] if key in homes else key for key, values in overrides.items() if len(values) > 1]
        return cls(cells, list(dict.fromkeys(varied)))

    def name(self, config: dict[str, Any], index: int) -> str:
        """Folder name of one run: model, features, target and what varies.

        Args:
            config: composed of the cell.
            index: of the cell.
        """
        more = []
        for key in self.varied:
            if key not in COLUMNS and key in self.cells[index]:
                value: Any = config
                for part in key.split("."):
                    value = value[part]
                more.append(f"{key}={self._label(key, index) if isinstance(value, dict) else value}")
        return run_name(config, *more, model=self._label("model", index) if "model" in self.varied else None)

    def _label(self, key: str, index: int) -> str:
        """What tells the option of a run from those of the others: two files of one name by their folders too."""
        own, others = self.cells[index][key], {cell[key] for cell in self.cells if key in cell}
        alike = [word for word in others if _short(word) == _short(own)]
        return _short(own) if len(alike) == 1 else own.removeprefix("./")


def run_name(config: dict[str, Any], *more: str, model: str | None = None) -> str:
    """Folder name of a run: model, features and target, and what else tells it from others.

    Args:
        model: in the place of its name.
    """
    features = config["features"] if isinstance(config["features"], str) else "+".join(config["features"])
    target = "+".join(config["target"]) if isinstance(config["target"], list) else config["target"]
    words = [model or Path(str(config["model"]["name"])).name, Path(features).name, target, *more]
    return "-".join(str(w) for w in words).replace("/", "_").replace(":", "_")


def _short(word: str) -> str:
    """An option, or the name of the file it comes from."""
    return Path(word).stem if word.endswith((".yaml", ".yml")) else Path(word).name


def _told(word: str) -> str:
    """The name by which a setting is given to an option: of ``./mine.py:Net`` it is Net."""
    return _short(word).rpartition(":")[2]


def _family_of(key: str, overrides: dict[str, list[str]]) -> tuple[str, str, str] | None:
    """``model.gbm.num_leaves`` -> model, gbm, model.num_leaves; None for a key that is of no option of a group."""
    group, _, rest = key.partition(".")
    option, _, setting = rest.partition(".")
    given = [_told(word) for word in overrides.get(group, [])]
    if not setting or option not in (*given, *options(group)):
        return None
    if option not in given:
        raise MetanetError(
            f"{key}={','.join(overrides[key])} is of {group}={option}, which no run has; give {group}={option} too, or "
            f"{group}.{setting}= for whatever is taken"
        )
    return group, option, f"{group}.{setting}"
