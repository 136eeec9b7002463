"""Docstrings of public functions say what they raise."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import metanet

ROOT = Path(metanet.__file__).parent
SOURCES = sorted({*ROOT.rglob("*.py"), *(ROOT / "data_modules").rglob("*.py")})


def raised(function: ast.FunctionDef) -> Iterator[str]:
    """Names of the errors that a function raises itself; not those that it hands on, nor that a method is left to others."""
    nodes: list[ast.AST] = list(function.body)
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Lambda):
            continue
        if isinstance(node, ast.Raise) and node.exc is not None:
            name = ast.unparse(node.exc).split("(")[0]
            if name != "NotImplementedError":
                yield name
        nodes += ast.iter_child_nodes(node)


def public(tree: ast.Module | ast.ClassDef) -> Iterator[tuple[str, ast.FunctionDef, str]]:
    """Functions and methods by name, each with the docstring that tells of it: of a constructor that of its class."""
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            for name, function, text in public(node):
                own = ast.get_docstring(node) or "" if name == "__init__" else text
                yield f"{node.name}.{name}", function, own
        if isinstance(node, ast.FunctionDef) and (node.name == "__init__" or not node.name.startswith("_")):
            yield node.name, node, ast.get_docstring(node) or ""


def silent(source: str) -> list[str]:
    return [name for name, function, text in public(ast.parse(source)) if any(raised(function)) and "Raises:" not in text]


def test_public_functions_say_what_they_raise() -> None:
    found = {str(path.relative_to(ROOT)): names for path in SOURCES if (names := silent(path.read_text()))}
    assert found == {}


def test_one_that_says_nothing_is_found() -> None:
    source = '''
class Box:
    """A box."""
    def __init__(self):
        raise ValueError("no")
    def open(self):
        """Open it.

        Raises:
            ValueError: it is shut.
        """
        raise ValueError("shut")
    def left(self):
        raise NotImplementedError
    def _own(self):
        raise ValueError("no")
def handed_on():
    try:
        pass
    except ValueError:
        raise
def silent(x):
    """Nothing."""
    if x:
        raise KeyError(x)
'''
    assert silent(source) == ["Box.__init__", "silent"]
