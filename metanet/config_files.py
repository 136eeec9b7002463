"""Where the YAML files lie, and what is there; few imports."""

from __future__ import annotations

from pathlib import Path


def config_root() -> Path:
    """``metanet/configs`` of an installed package, ``configs`` of a checkout."""
    package = Path(__file__).resolve().parent
    installed = package / "configs"
    return installed if installed.is_dir() else package.parent / "configs"


def verb_keys(verb: str) -> set[str]:
    """Keys of the config of a verb, groups included."""
    import yaml

    base = yaml.safe_load((config_root() / f"{verb}.yaml").read_text())
    return base.keys() - {"defaults"} | base.get("defaults", {}).keys()


def options(group: str) -> list[str]:
    """Names of the options of a config group."""
    return sorted(p.stem for p in (config_root() / group).glob("*.yaml"))
