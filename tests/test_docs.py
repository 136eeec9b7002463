"""The site: every page is in its navigation, every link leads somewhere, the public API is explained, and it builds strictly."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import metanet

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
SITE = yaml.safe_load((ROOT / "mkdocs.yml").read_text())
INCLUDED = re.compile(r'^--8<-- "(.+)"$', re.MULTILINE)


def api() -> dict[str, list[str]]:
    spec = importlib.util.spec_from_file_location("metanet_docs_api", DOCS / "api.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.PUBLIC


NAMES = [name for names in api().values() for name in names]


def found(name: str) -> Any:
    """An object by its dotted name, as a user imports it."""
    module, _, attribute = name.rpartition(".")
    return getattr(importlib.import_module(module), attribute)


def pages(nav: Any) -> Iterator[str]:
    if isinstance(nav, str):
        yield nav
    else:
        for part in nav.values() if isinstance(nav, dict) else nav:
            yield from pages(part)


def text_of(page: Path) -> str:
    """A page with the files that it includes."""
    return INCLUDED.sub(lambda match: (ROOT / match[1]).read_text(), page.read_text())


def without_code(text: str) -> str:
    return re.sub(r"`[^`\n]*`", "", re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE))


def anchors(text: str) -> set[str]:
    """Of a page's headings, as Python-Markdown makes them."""
    heads = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE), re.MULTILINE)
    return {re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", head).strip().lower()) for head in heads}


def test_every_page_is_in_the_navigation_once() -> None:
    listed = list(pages(SITE["nav"]))
    assert sorted(listed) == sorted(path.name for path in DOCS.glob("*.md"))
    assert SITE["strict"] is True
    assert SITE["theme"]["font"] is False


@pytest.mark.parametrize("page", [ROOT / "README.md", *sorted(DOCS.glob("*.md"))], ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)\s]+)\)", without_code(text_of(page)))
    for target in targets:
        if re.match(r"https?://", target):
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path) if path else page
        assert there.exists(), f"{page.name}: {target}"
        if page.name != "README.md":  # what the site does not hold cannot be linked to from it
            assert there.parent == DOCS or DOCS / "results" in there.parents, f"{page.name}: {target}"
        assert not anchor or anchor in anchors(text_of(there)), f"{page.name}: {target}"


def test_every_fence_is_closed() -> None:
    for page in (ROOT / "README.md", *DOCS.glob("*.md")):
        assert len(re.findall(r"^```", page.read_text(), re.MULTILINE)) % 2 == 0, page.name


@pytest.mark.parametrize("name", NAMES)
def test_what_is_public_is_there_and_explained(name: str) -> None:
    assert (inspect.getdoc(found(name)) or "").strip(), f"{name} has no docstring"


def test_the_api_names_everything_that_metanet_exports_and_nothing_twice() -> None:
    assert len(NAMES) == len(set(NAMES))
    assert {f"metanet.{name}" for name in metanet.__all__} - {"metanet.__version__"} <= set(NAMES)


def test_what_is_used_most_has_an_example_that_runs() -> None:
    """Those of ``metanet`` itself, the scores and the representations; pytest runs the examples (--doctest-modules)."""
    most = [name for name in NAMES if name.count(".") == 1 or name.startswith(("metanet.metrics.", "metanet.representations."))]
    most.remove("metanet.import_zoo")  # of other people's files: docs/own.md shows it
    assert len(most) > 30
    assert [name for name in most if ">>> " not in (found(name).__doc__ or "")] == []


def test_every_input_and_meta_model_is_described() -> None:
    text = (DOCS / "inputs_and_models.md").read_text()
    for name in (*metanet.list_models(), *metanet.list_features()):
        assert re.search(rf"`{name}[`:]", text), name


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    for module in ("mkdocs", "material", "mkdocstrings", "latex2mathml"):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed: make docs, or pip install 'metanet-weights[docs]'")
    out = tmp_path_factory.mktemp("site")
    words = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(out)]
    answer = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr
    return out


def test_the_site_holds_the_api_the_keys_and_formulas(site: Path) -> None:
    headings = set(re.findall(r'<h\d id="([^"]+)"', (site / "api.html").read_text()))
    assert set(NAMES) <= headings
    assert "metanet train" in (site / "config_keys.html").read_text()
    formulas = (site / "statistics.html").read_text()
    assert formulas.count('display="block"') == (DOCS / "statistics.md").read_text().count("```math")
    assert "$" not in re.sub(r"<script.*?</script>", "", formulas, flags=re.DOTALL)


def test_the_site_fetches_nothing(site: Path) -> None:
    for page in site.glob("*.html"):
        text = page.read_text()
        assert not re.findall(r'<(?:script|img|iframe)[^>]+src="(?:https?:)?//[^"]+"', text), page.name
        assert not re.findall(r'<link[^>]+rel="(?:stylesheet|preconnect)"[^>]+href="(?:https?:)?//[^"]+"', text), page.name
