"""Objects from outside the package by path: ``./mine.py:MyModel``."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from pathlib import Path
from typing import Any

from metanet.errors import MetanetError, did_you_mean


def is_path(name: str) -> bool:
    """True for ``FILE.py:NAME``."""
    file, colon, _ = str(name).rpartition(":")
    return bool(colon) and file.endswith(".py")


def absolute(name: str) -> str:
    """``./mine.py:X`` with the file's absolute path, so that it is found from any folder."""
    file, _, attribute = name.rpartition(":")
    return f"{Path(file).expanduser().resolve()}:{attribute}"


def of_target(target: str, folder: Path) -> str:
    """``FILE.py:NAME`` of what a YAML calls its ``_target_``: that itself, or ``MODULE.NAME``.

    A file is looked for here and beside the YAML, a module there too, and where Python finds its modules.

    Args:
        folder: of the YAML.

    Raises:
        MetanetError: there is no such file or module.
    """
    module, _, attribute = target.rpartition(":" if is_path(target) else ".")
    file = module if is_path(target) else f"{module.replace('.', '/')}.py"
    for place in (Path.cwd(), folder):
        if (path := place / Path(file).expanduser()).exists():
            return f"{path}:{attribute}"
    try:
        spec = importlib.util.find_spec(module) if module and not is_path(target) else None
    except ImportError:  # of the package above it
        spec = None
    if spec is None or spec.origin is None:
        raise MetanetError(f"_target_: {target}: no such file or module; give MODULE.CLASS or FILE.py:CLASS")
    return f"{spec.origin}:{attribute}"


def load_object(name: str) -> Any:
    """Import ``FILE.py`` once and return the attribute ``NAME`` of it.

    Raises:
        MetanetError: the file or the name in it is not there, or cannot be imported.
    """
    file, _, attribute = absolute(name).rpartition(":")
    path = Path(file)
    if not path.exists():
        raise MetanetError(f"no file '{path}' for '{name}'; give FILE.py:NAME")
    module_name = f"metanet_plugin_{path.stem}_{hashlib.sha256(file.encode()).hexdigest()[:8]}"
    module = sys.modules.get(module_name)
    if module is None:
        spec = importlib.util.spec_from_file_location(module_name, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[module_name] = module
        try:
            spec.loader.exec_module(module)
        except Exception as error:
            del sys.modules[module_name]
            raise MetanetError(f"'{path}' cannot be imported: {type(error).__name__}: {error}") from error
    if not hasattr(module, attribute):
        public = [n for n in vars(module) if not n.startswith("_")]
        raise MetanetError(f"'{path}' has no '{attribute}'{did_you_mean(attribute, public)}")
    return getattr(module, attribute)
