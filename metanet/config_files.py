"""Where the YAML files lie, and what is there; few imports."""

from __future__ import annotations

import itertools
import re
from pathlib import Path


def config_root() -> Path:
    """``metanet/configs`` of an installed package, ``configs`` of a checkout."""
    package = Path(__file__).resolve().parent
    installed = package / "configs"
    return installed if installed.is_dir() else package.parent / "configs"


def options(group: str) -> list[str]:
    """Names of the options of a config group."""
    return sorted(p.stem for p in (config_root() / group).glob("*.yaml"))


def opening(lines: list[str]) -> list[str]:
    """The comment that a YAML file begins with, line by line."""
    return [line.lstrip("# ") for line in itertools.takewhile(lambda line: line.startswith("#"), lines)]


def first_sentence(path: Path) -> str:
    """Of the comment that a YAML file begins with, examples left out."""
    text = " ".join(line for line in opening(path.read_text().splitlines()) if not line.startswith("example: "))
    return re.split(r"(?<!al)\. (?=[A-Z0-9])", text)[0].rstrip(".")
