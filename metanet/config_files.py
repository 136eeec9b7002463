"""Where the YAML files lie, and what is there; standard library only."""

from __future__ import annotations

from pathlib import Path


def config_root() -> Path:
    """``metanet/configs`` of an installed package, ``configs`` of a checkout."""
    package = Path(__file__).resolve().parent
    installed = package / "configs"
    return installed if installed.is_dir() else package.parent / "configs"


def options(group: str) -> list[str]:
    """Names of the options of a config group."""
    return sorted(p.stem for p in (config_root() / group).glob("*.yaml"))
