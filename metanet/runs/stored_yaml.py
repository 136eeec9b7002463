"""YAML that somebody else may have written: bounded, and nothing in it is looked up elsewhere."""

from __future__ import annotations

import re
from typing import Any

import yaml

MOST_VALUES = 100_000  # of one file, each alias counted as all that it stands for
MOST_CHARACTERS = 1_000_000
MOST_BRACKETS = 20_000
INTERPOLATION = "${"


class _Loader(yaml.CSafeLoader):
    """Numbers as OmegaConf writes and reads them: 1e-05 is one."""


_Loader.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(r"[-+]?\d[\d_]*(\.\d*)?[eE][-+]?\d+"), list("-+0123456789"))


class UnboundedYamlError(yaml.YAMLError):
    """A small file that stands for a large or endless one."""


def read_yaml(text: str) -> Any:
    """What a stored config holds, plain values.

    Raises:
        yaml.YAMLError: no YAML; aliases that stand for more than :data:`MOST_VALUES` values, or for themselves; an interpolation
            such as ``${oc.env:HOME}``, which the config of a finished run, being resolved, never has.
    """
    if len(text) > MOST_CHARACTERS or text.count("[") + text.count("{") + text.count("- - ") > MOST_BRACKETS:
        raise UnboundedYamlError(f"it is no config of a run: {len(text):,} characters")
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        if (count := _values(node, {})) > MOST_VALUES:
            raise UnboundedYamlError(f"its aliases stand for {count:.1e} values, at most {MOST_VALUES:,} are read")
        if INTERPOLATION in text:
            raise UnboundedYamlError(f"it holds an interpolation, {text[text.index(INTERPOLATION) :].splitlines()[0][:60]}")
        return loader.construct_document(node)
    except RecursionError:
        raise UnboundedYamlError("it is nested too deep") from None
    finally:
        loader.dispose()


def _values(node: yaml.Node, known: dict[int, int]) -> int:
    """Values below a node, aliases written out."""
    if id(node) not in known:
        known[id(node)] = -1
        inner: list[yaml.Node] = []
        if isinstance(node, yaml.MappingNode):
            inner = [part for pair in node.value for part in pair]
        elif isinstance(node, yaml.SequenceNode):
            inner = node.value
        known[id(node)] = 1 + sum(_values(part, known) for part in inner)
    if known[id(node)] < 0:
        raise UnboundedYamlError("an alias stands for what holds it")
    return known[id(node)]
