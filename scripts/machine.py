"""What a benchmark prints of the machine it ran on."""

from __future__ import annotations

import os
import platform
from pathlib import Path

from metanet.generation.runner import versions


def describe_machine(threads: int) -> str:
    """One line: processor, cores, threads, versions."""
    facts = Path("/proc/cpuinfo")
    names = [line.split(":")[1].strip() for line in facts.read_text().splitlines() if line.startswith("model name")]
    processor = names[0] if names else platform.processor() or platform.machine()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    libraries = ", ".join(f"{name} {version}" for name, version in versions().items())
    return f"machine: {processor}, {cores} cores, {threads} thread(s) a process; {libraries}"
