"""Run folders: everything that one command made, in plain files.

config.yaml  metrics.json  predictions.parquet  split.json  seen.json  leaderboard.csv  versions.json  figures/  model/
"""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pandas as pd

from metanet.errors import MetanetError
from metanet.machine import versions
from metanet.verbs import verb_keys


class RunFolder:
    """One run folder, being written.

    Args:
        folder: where; made with its parents.

    Raises:
        MetanetError: the folder cannot be made or written.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder).expanduser()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise MetanetError(f"run folder '{self.folder}' cannot be made: {error.strerror}; choose another out=") from None
        if not os.access(self.folder, os.W_OK):
            raise MetanetError(f"run folder '{self.folder}' cannot be written (no permission); choose another out=")

    @property
    def figures(self) -> Path:
        """Folder for pictures."""
        path = self.folder / "figures"
        path.mkdir(exist_ok=True)
        return path

    def write_config(self, config: dict[str, Any]) -> None:
        """``config.yaml``: the composed configuration, resolved; and ``versions.json``."""
        from omegaconf import OmegaConf

        OmegaConf.save(OmegaConf.create(config), self.folder / "config.yaml")
        commit = git_commit()
        (self.folder / "versions.json").write_text(json.dumps(versions() | ({"commit": commit} if commit else {}), indent=1))

    def write_metrics(self, metrics: dict[str, Any]) -> None:
        """``metrics.json``: flat name -> number (null for nan) or text."""
        plain = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in metrics.items()}
        (self.folder / "metrics.json").write_text(json.dumps(plain, indent=1))

    def write_predictions(self, predictions: pd.DataFrame) -> None:
        """``predictions.parquet``."""
        predictions.to_parquet(self.folder / "predictions.parquet", index=False)


@contextmanager
def folder_for(out: str | None, verb: str, name: str) -> Iterator[Path]:
    """The folder of one command: ``out`` where it is given, else a new one, ``runs/<verb>/<time>-<name>``.

    A new one is taken away again where nothing was written to it. An interruption that leaves something in the folder has its
    path as argument.

    Raises:
        MetanetError: ``out`` is a file, a zoo, or a run of another verb.
    """
    if out:
        folder = Path(out).expanduser()
        _check_free(folder, verb)
    else:
        folder = _new_folder(verb, name)
    try:
        yield folder
    except KeyboardInterrupt:
        if folder.is_dir() and any(folder.iterdir()):
            raise KeyboardInterrupt(str(folder)) from None
        raise
    finally:
        if not out:
            with suppress(OSError):
                for path in (folder, folder.parent, folder.parent.parent):  # runs/<verb>/<name>
                    path.rmdir()


def _new_folder(verb: str, name: str) -> Path:
    slug = re.sub(r"[^A-Za-z0-9_.+-]+", "-", name).strip("-")
    base = Path("runs", verb, f"{time.strftime('%Y%m%d-%H%M%S')}-{slug}")
    folder, count = base, 1
    while True:  # made at once, so that no other command takes the name
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            count += 1
            folder = base.with_name(f"{base.name}-{count}")
        except OSError as error:
            raise MetanetError(f"run folder '{folder}' cannot be made: {error.strerror}; give out=") from None
        else:
            return folder


def _check_free(folder: Path, verb: str) -> None:
    """Refuse a folder whose files another verb wrote: they would be lost."""
    if folder.exists() and not folder.is_dir():
        raise MetanetError(f"out={folder} is a file; give a folder that is new, or a run of {verb}")
    if (folder / "zoo.json").exists():
        raise MetanetError(f"out={folder} is a zoo; give a folder that is new, or a run of {verb}")
    if verb != "train" and not (folder / "config.yaml").exists() and any(folder.glob("*/metrics.json")):
        raise MetanetError(f"out={folder} holds runs; give a folder that is new, or a run of {verb}")
    if (folder / "config.yaml").exists():
        known = verb_keys(verb)
        other = [key for key in read_config(folder) if key not in known]
        if other:
            raise MetanetError(
                f"out={folder} holds a run of another verb or version (its config has a key '{other[0]}', which {verb} has not); "
                f"give a folder that is new, or a run of {verb}"
            )


def read_config(folder: str | Path) -> dict[str, Any]:
    """``config.yaml`` of a run folder.

    Raises:
        MetanetError: the folder is no run, or its file is damaged.
    """
    from yaml import YAMLError

    from metanet.runs.stored_yaml import read_yaml

    path = Path(folder).expanduser() / "config.yaml"
    try:
        config = read_yaml(path.read_text())
    except (FileNotFoundError, NotADirectoryError):
        raise MetanetError(f"{_what(path.parent)}; give the folder of a run, which has a config.yaml") from None
    except (OSError, UnicodeDecodeError, ValueError, YAMLError) as error:
        raise MetanetError(f"'{path}' is damaged ({_first_line(error)}); make the run again into another out=") from None
    if not isinstance(config, dict) or not config:
        raise MetanetError(f"'{path}' is damaged (it holds no keys); make the run again into another out=")
    return {str(key): value for key, value in config.items()}


def read_versions(folder: str | Path) -> dict[str, str]:
    """``versions.json`` of a run folder; empty where there is none."""
    try:
        values = json.loads((Path(folder).expanduser() / "versions.json").read_text())
    except (OSError, ValueError):
        return {}
    return {str(k): str(v) for k, v in values.items()} if isinstance(values, dict) else {}


def read_metrics(folder: str | Path) -> dict[str, Any]:
    """``metrics.json`` of a run folder.

    Raises:
        MetanetError: the folder is no finished run, or its file is damaged.
    """
    path = Path(folder).expanduser() / "metrics.json"
    try:
        values = json.loads(path.read_text())
    except (FileNotFoundError, NotADirectoryError):
        raise MetanetError(f"{_what(path.parent)}; give the folder of a finished run, which has a metrics.json") from None
    except (OSError, ValueError) as error:
        raise MetanetError(f"'{path}' is damaged ({_first_line(error)}); make the run again into another out=") from None
    flat = isinstance(values, dict) and all(v is None or isinstance(v, int | float | str) for v in values.values())
    if not flat or not isinstance(values.get("heads", 1), int):
        raise MetanetError(f"'{path}' is damaged (it holds other than names and numbers); make the run again into another out=")
    return values


def _what(folder: Path) -> str:
    """What lies in the place of a run."""
    if not folder.exists():
        return f"no folder '{folder}'"
    if not folder.is_dir():
        return f"'{folder}' is a file"
    if (folder / "zoo.json").exists():
        return f"'{folder}' is a zoo, no run"
    if runs := sum(1 for _ in folder.glob("**/metrics.json")):
        return f"'{folder}' is no run itself; {runs} {'lies' if runs == 1 else 'lie'} below it"
    return f"'{folder}' is no finished run" if (folder / "config.yaml").exists() else f"'{folder}' is no run"


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0]


def git_commit() -> str | None:
    """The commit that the working folder is at, with ``-dirty`` where files changed; None outside git."""
    try:
        answer = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12"], capture_output=True, text=True, timeout=5, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip() or None
