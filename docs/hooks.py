"""What the site makes of its pages when it is built: the API and the keys from the code, formulas as MathML."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert

DOCS = Path(__file__).parent


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Fill in what is generated and make MathML of formulas."""
    name = page.file.src_uri
    if name == "api.md":
        markdown = markdown.replace("<!-- api -->", api())
    if name == "config_keys.md":
        markdown = markdown.replace("<!-- keys -->", keys())
    return formulas(markdown)


def on_page_content(html: str, **_: Any) -> str:
    """Roles of docstrings (``:func:`name```) as plain code."""
    return re.sub(r":(?:func|class|meth|mod|attr|data):(<code>)[~.]?", r"\1", html)


def on_post_page(output: str, **_: Any) -> str:
    """Without the one script that the theme would fetch from elsewhere (for the search of pages opened as files)."""
    return re.sub(r'<script src="https?://[^"]*"[^>]*></script>', "", output)


def on_post_template(output_content: str, **_: Any) -> str:
    """The same of the page for what is not found."""
    return on_post_page(output_content)


def api() -> str:
    """A heading a group of ``docs/api.py``, and the objects to render below it."""
    spec = importlib.util.spec_from_file_location("metanet_docs_api", DOCS / "api.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return "\n\n".join(f"## {group}\n\n" + "\n\n".join(f"::: {name}" for name in names) for group, names in module.PUBLIC.items())


def keys() -> str:
    """The help of every command."""
    from metanet.cli.main import VERBS, verb_help

    return "\n\n".join(f"## metanet {verb}\n\n```\n{verb_help(verb)}\n```" for verb in VERBS)


def formulas(markdown: str) -> str:
    """LaTeX in ``math`` fences and between single dollars, outside of other fences, as MathML that a browser shows by itself."""
    parts = re.split(r"(^```.*?^```$)", markdown, flags=re.MULTILINE | re.DOTALL)
    return "".join(_fence(part) if part.startswith("```") else _inline(part) for part in parts)


def _fence(text: str) -> str:
    if not text.startswith("```math"):
        return text
    return f"<div>{convert(text.removeprefix('```math').removesuffix('```').strip(), display='block')}</div>"


def _inline(text: str) -> str:
    pieces = re.split(r"(`+[^`]*`+)", text)  # dollars in code stay
    return "".join(p if p.startswith("`") else re.sub(r"\$([^$\n]+)\$", lambda m: convert(m[1]), p) for p in pieces)
