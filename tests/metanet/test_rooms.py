"""Imports run only downward through the rooms of the house (CONTRIBUTING.md), lazy ones and those by string included."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import metanet

ROOT = Path(metanet.__file__).parent
# From the top down. Rooms of one line do not import each other.
ROOMS = [
    ["__main__"],
    ["cli"],
    ["reproduce"],
    ["plots"],
    ["probing", "testing"],
    ["evaluation"],
    ["models", "runs"],
    ["features"],
    ["formats"],
    ["generation"],
    ["launching"],
    ["data_modules"],
    ["representations"],
    ["zoo"],
    ["lightning"],
    ["registry"],
    ["plugins", "verbs"],
    ["config_files", "constraints", "distributions", "machine", "metrics"],
    ["errors", "interrupts"],
]
LEVEL = {room: level for level, rooms in enumerate(ROOMS) for room in rooms}
# `metanet` itself names the homes of its public objects, and imports them when they are asked for.
FOLDERS = [ROOT, ROOT / "data_modules"]  # in a checkout the second is a link to the folder at its top, which rglob leaves out
SOURCES = sorted({path for folder in FOLDERS for path in folder.rglob("*.py")} - {ROOT / "__init__.py"})


def room_of(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imported(source: str) -> Iterator[str]:
    """Rooms that a file names: in imports anywhere, and in text that is the path of a module."""
    for node in ast.walk(ast.parse(source)):
        names: list[str] = []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" if node.module == "metanet" else node.module for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            names = [node.value] if re.fullmatch(r"metanet(\.\w+)+(\.|:\w+)?", node.value) else []
        yield from (name.split(".")[1] for name in names if name.startswith("metanet."))


def test_every_file_stands_in_a_room() -> None:
    assert {room_of(path) for path in SOURCES} - {"configs"} == set(LEVEL)


def test_no_import_climbs() -> None:
    climbs = [
        f"{path.relative_to(ROOT)} imports {room}"
        for path in SOURCES
        for room in imported(path.read_text())
        if room in LEVEL and room != room_of(path) and LEVEL[room] <= LEVEL[room_of(path)]
    ]
    assert climbs == []


def test_what_the_search_for_climbs_sees() -> None:
    lazy = "def f():\n    from metanet.cli.main import main\n    import metanet.plots.style\n    from metanet import testing\n"
    assert sorted(imported(lazy + "x = 'metanet.zoo.layout'\n")) == ["cli", "plots", "testing", "zoo"]
