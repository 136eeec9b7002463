"""What decides numbers and speeds: the machine, and the versions of libraries."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path

LIBRARIES = ("numpy", "pandas", "scikit-learn", "lightgbm", "torch", "pytorch-lightning")


def versions() -> dict[str, str]:
    """Versions of what decides the numbers, by the names that pip knows."""
    from metanet import __version__

    return {"metanet": __version__, "python": platform.python_version()} | {name: version(name) for name in LIBRARIES}


def processor() -> str:
    """The processor's name as its maker gives it, or its architecture."""
    facts = Path("/proc/cpuinfo")
    lines = facts.read_text().splitlines() if facts.exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def describe_machine(threads: int) -> str:
    """One line: processor, cores, threads, versions."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    libraries = ", ".join(f"{name} {version}" for name, version in versions().items())
    return f"machine: {processor()}, {cores} cores, {threads} thread(s) a process; {libraries}"
