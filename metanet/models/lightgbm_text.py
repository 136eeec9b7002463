"""LightGBM's model text, checked before its parser sees it, which trusts every number and loops or aborts on a wrong one."""

from __future__ import annotations

import re

import numpy as np

from metanet.errors import MetanetError

MOST_LEAVES = 1_000_000
NUMBER = r"[-+]?(?:\d+\.?\d*(?:[eE][-+]?\d{1,3})?|inf|nan)"
OBJECTIVES = r"(?:regression|cross_entropy|binary sigmoid:1|multiclass num_class:\d+)"
HEADER = {
    "version": r"v\d+",
    "num_class": r"\d{1,5}",
    "num_tree_per_iteration": r"\d{1,5}",
    "label_index": "0",
    "max_feature_idx": r"\d{1,7}",
    "objective": OBJECTIVES,
    "feature_names": r"\S+(?: \S+)*",
    "feature_infos": rf"(?:none|\[{NUMBER}:{NUMBER}\])(?: (?:none|\[{NUMBER}:{NUMBER}\]))*",
    "tree_sizes": r"\d+(?: \d+)*",
}
# Of a tree with n leaves: whether an array has n values or n - 1.
ARRAYS = {
    **dict.fromkeys(("leaf_value", "leaf_weight", "leaf_count"), 0),
    **dict.fromkeys(("split_feature", "split_gain", "threshold", "decision_type", "left_child", "right_child"), 1),
    **dict.fromkeys(("internal_value", "internal_weight", "internal_count"), 1),
}
NUMERIC_SPLITS = (0, 2, 4, 6, 8, 10)  # with every way of LightGBM's to place missing values; none is a set of categories


class _WrongError(Exception):
    """What is wrong with a text."""


def checked_text(text: str) -> str:
    """The trees and their header, as written; parameters of the fit, which a prediction does not need, are left away.

    Raises:
        MetanetError: it is no model text of boosted trees on numbers, or not a whole one.
    """
    try:
        trees, ending, _ = text.partition("\nend of trees\n")
        head, found, blocks = trees.partition("\n\nTree=0\n")
        if not ending or not found:
            raise _WrongError("it has no trees, or does not end")
        columns, sizes = _check_header(head)
        parts = ["Tree=0\n" + part if i == 0 else "Tree=" + part for i, part in enumerate((blocks + "\n").split("\nTree="))]
        parts = [part + "\n" if i < len(parts) - 1 else part for i, part in enumerate(parts)]
        if sizes != [len(part.encode()) for part in parts]:
            raise _WrongError("trees are longer or shorter than its header says")
        for number, part in enumerate(parts):
            _check_tree(number, part, columns)
    except _WrongError as reason:
        raise MetanetError(f"the model's trees are damaged: {reason}; fit it again, or restore its folder from a copy") from None
    return trees + ending


def _check_header(head: str) -> tuple[int, list[int]]:
    """Number of inputs, and bytes of each tree."""
    first, *lines = head.split("\n")
    values = _values(lines, HEADER)
    columns, classes = int(values["max_feature_idx"]) + 1, int(values["num_tree_per_iteration"])
    sizes = [int(size) for size in values["tree_sizes"].split(" ")]
    inputs = [len(values[key].split(" ")) for key in ("feature_names", "feature_infos")]
    if first != "tree" or inputs != [columns, columns] or not classes or len(sizes) % classes or not int(values["num_class"]):
        raise _WrongError("its header contradicts itself")
    return columns, sizes


def _values(lines: list[str], known: dict[str, str]) -> dict[str, str]:
    """``key=value`` lines, each key once and each value of its pattern."""
    values: dict[str, str] = {}
    for line in lines:
        key, _, value = line.partition("=")
        if key not in known or key in values or re.fullmatch(known[key], value) is None:
            raise _WrongError(f"line {line[:40]!r}")
        values[key] = value
    if missing := known.keys() - values.keys():
        raise _WrongError(f"it has no {sorted(missing)[0]}")
    return values


_LIST = rf"(?:{NUMBER}(?: {NUMBER})*)?"
_TREE = {"num_leaves": r"\d{1,7}", "num_cat": "0", "is_linear": "0", "shrinkage": NUMBER, **dict.fromkeys(ARRAYS, _LIST)}


def _check_tree(number: int, text: str, columns: int) -> None:
    first, *lines = text.rstrip("\n").split("\n")
    values = _values(lines, _TREE)
    leaves = int(values["num_leaves"])
    if first != f"Tree={number}" or not 1 <= leaves <= MOST_LEAVES:
        raise _WrongError(f"tree {number} is not where it should be, or has {leaves} leaves")
    arrays = {key: np.array(values[key].split(), float) for key in ARRAYS}
    for key, fewer in ARRAYS.items():
        lone = leaves == 1 and key in ("leaf_weight", "leaf_count")  # LightGBM leaves them empty there
        if len(arrays[key]) != leaves - fewer and not (lone and not len(arrays[key])):
            raise _WrongError(f"tree {number} has {leaves} leaves, but {len(arrays[key])} values of {key}")
        if np.isinf(arrays[key]).any() and "inf" not in values[key]:
            raise _WrongError(f"tree {number} has a number of {key} that no double holds")
    if not np.isfinite(arrays["leaf_value"]).all():
        raise _WrongError(f"a leaf of tree {number} has no finite value")
    if leaves > 1:
        _check_splits(number, leaves, arrays, columns)


def _check_splits(number: int, leaves: int, arrays: dict[str, np.ndarray], columns: int) -> None:
    """Every split but the first is the child of one before it, every leaf of one split."""
    feature, children = arrays["split_feature"], np.stack([arrays["left_child"], arrays["right_child"]])
    whole = np.concatenate([feature, children.ravel(), arrays["decision_type"]])
    if (whole != np.floor(whole)).any() or not np.isfinite(whole).all():
        raise _WrongError(f"tree {number} holds a number that should be whole")
    inner = children >= 0
    below = np.sort(children[inner])
    ends = np.sort(-1 - children[~inner])
    if not np.array_equal(below, np.arange(1, leaves - 1)) or not np.array_equal(ends, np.arange(leaves)):
        raise _WrongError(f"the splits of tree {number} do not make a tree")
    if (np.where(inner, children, np.inf) <= np.arange(leaves - 1)).any():
        raise _WrongError(f"a split of tree {number} stands below one that comes later")
    if (feature < 0).any() or (feature >= columns).any() or not np.isin(arrays["decision_type"], NUMERIC_SPLITS).all():
        raise _WrongError(f"tree {number} splits by an input that the model does not have")
