"""``where=``: true or false for each row of a table, in a grammar of its own that runs no code.

An expression is read by Python's parser, and only what this file names has a meaning: columns (``hp.optimizer`` as written, any
other name between backticks), numbers, text in quotes, ``True`` and ``False``; ``== != < <= > >= in not in``; ``and or not``
(also ``& | ~`` between comparisons in parentheses); ``+ - * /`` of numbers; and of a column of text ``.contains("x")``,
``.startswith("x")``, ``.endswith("x")`` (letters as they are, no patterns). Everything else is refused.
"""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from metanet.errors import MetanetError, did_you_mean, nearest

MOST_CHARACTERS = 10_000
_BACKTICKED = re.compile(r"`([^`]*)`|(\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*')")
_PLACE = "_column_{}_"

_ORDERS: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_SUMS: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
_TESTS = {"contains": lambda text, part: part in text, "startswith": str.startswith, "endswith": str.endswith}


def query_mask(frame: pd.DataFrame, query: str) -> np.ndarray:
    """Which rows of a table an expression holds for, bool (N,). A missing value fulfils only ``!=`` and ``not in``.

    Raises:
        MetanetError: the expression is none of this grammar, names no column, or compares what cannot be compared.
    """
    shown = query if len(query) <= 200 else f"{query[:200]}..."
    try:
        mask = _Expression(frame, query).mask()
    except _QueryError as reason:
        raise MetanetError(f"where='{shown}' is not a query over this table: {reason}") from None
    if mask is None:
        raise MetanetError(f"where='{shown}' gives no true or false for each row; compare a column with a value, by ==, < or >")
    return mask


class _QueryError(Exception):
    """What is wrong with an expression, and how to mend it."""


class _Expression:
    """One expression over one table; columns become Series, the rest plain values."""

    def __init__(self, frame: pd.DataFrame, query: str) -> None:
        if len(query) > MOST_CHARACTERS:
            raise _QueryError(f"it has {len(query):,} characters, at most {MOST_CHARACTERS:,} are read")
        self.frame, self.quoted = frame, list[str]()
        try:
            self.tree = ast.parse(_BACKTICKED.sub(self._place, query.strip()), mode="eval").body
        except SyntaxError as error:
            raise _QueryError(_syntax(query, error)) from None
        except (ValueError, MemoryError, RecursionError):
            raise _QueryError("it is nested too deep, or holds characters that no expression has") from None

    def _place(self, found: re.Match[str]) -> str:
        """A name in its place for a column between backticks; text in quotes stays."""
        if found[1] is None:
            return found[0]
        self.quoted.append(found[1])
        return _PLACE.format(len(self.quoted) - 1)

    def mask(self) -> np.ndarray | None:
        """The rows, or None where the expression is no condition."""
        try:
            value = self.value(self.tree)
        except RecursionError:
            raise _QueryError("it is nested too deep") from None
        return value.to_numpy(bool) if _is_condition(value) else None

    def value(self, node: ast.expr) -> Any:
        """A Series for what differs by row, else a plain value."""
        read = getattr(self, f"_{type(node).__name__.lower()}", None)
        if read is None:
            raise _QueryError(f"'{ast.unparse(node)}' has no meaning here; {_MEANING}")
        return read(node)

    def _constant(self, node: ast.Constant) -> Any:
        if not isinstance(node.value, str | int | float):
            raise _QueryError(f"'{ast.unparse(node)}' is no number, text, True or False")
        return node.value

    def _list(self, node: ast.List | ast.Tuple | ast.Set) -> list[Any]:
        values = [self.value(item) for item in node.elts]
        if any(isinstance(value, pd.Series | list) for value in values):
            raise _QueryError("a list holds numbers and text, no columns")
        return values

    _tuple = _set = _list

    def _name(self, node: ast.Name) -> pd.Series:
        return self._column(node)

    def _attribute(self, node: ast.Attribute) -> pd.Series:
        return self._column(node)

    def _column(self, node: ast.expr) -> pd.Series:
        name = self._written(node)
        if name in self.frame.columns:
            return self.frame[name]
        raise _QueryError(f"it has no column '{name}'{did_you_mean(name, self.frame.columns)}")

    def _written(self, node: ast.expr) -> str:
        """The name of a column as the caller wrote it."""
        parts = []
        while isinstance(node, ast.Attribute):
            parts.append(node.attr)
            node = node.value
        if not isinstance(node, ast.Name):
            raise _QueryError(f"'{ast.unparse(node)}' is no column; {_MEANING}")
        place = re.fullmatch(_PLACE.format(r"(\d+)"), node.id)
        parts.append(self.quoted[int(place[1])] if place else node.id)
        return ".".join(reversed(parts))

    def _boolop(self, node: ast.BoolOp) -> pd.Series:
        join = operator.and_ if isinstance(node.op, ast.And) else operator.or_
        first, *others = [self._condition(value) for value in node.values]
        for other in others:
            first = join(first, other)
        return first

    def _condition(self, node: ast.expr) -> pd.Series:
        value = self.value(node)
        if not _is_condition(value):
            raise _QueryError(f"'{ast.unparse(node)}' is neither true nor false; compare a column with a value, by ==, < or >")
        return value.astype(bool)

    def _unaryop(self, node: ast.UnaryOp) -> Any:
        if isinstance(node.op, ast.Not | ast.Invert):
            return ~self._condition(node.operand)
        value = self._number(node.operand)
        return -value if isinstance(node.op, ast.USub) else value

    def _binop(self, node: ast.BinOp) -> Any:
        if isinstance(node.op, ast.BitAnd | ast.BitOr):
            join = operator.and_ if isinstance(node.op, ast.BitAnd) else operator.or_
            return join(self._condition(node.left), self._condition(node.right))
        if type(node.op) not in _SUMS:
            raise _QueryError(f"'{ast.unparse(node)}' has no meaning here; of sums + - * / are known")
        left, right = self._number(node.left), self._number(node.right)
        if isinstance(node.op, ast.Div) and not isinstance(right, pd.Series) and right == 0:
            raise _QueryError(f"'{ast.unparse(node)}' divides by zero")
        return _SUMS[type(node.op)](left, right)

    def _number(self, node: ast.expr) -> Any:
        value = self.value(node)
        if not _is_number(value):
            raise _QueryError(f"'{ast.unparse(node)}' is no number")
        return value.astype(float) if isinstance(value, pd.Series) else float(value)

    def _compare(self, node: ast.Compare) -> pd.Series:
        mask, left = None, node.left
        for how, right in zip(node.ops, node.comparators, strict=True):
            part = self._pair(left, how, right)
            mask, left = part if mask is None else mask & part, right
        assert mask is not None  # Python's parser gives no comparison without a sign
        return mask

    def _pair(self, left: ast.expr, how: ast.cmpop, right: ast.expr) -> pd.Series:
        a, b = self._side(left), self._side(right)
        if not isinstance(a, pd.Series) and not isinstance(b, pd.Series):
            raise _QueryError(f"'{ast.unparse(left)}' and '{ast.unparse(right)}' are the same in all rows; compare a column")
        if isinstance(how, ast.In | ast.NotIn):
            if not isinstance(b, list) or not isinstance(a, pd.Series):
                raise _QueryError("in takes a column and a list, such as hp.optimizer in ['sgd', 'adam']")
            for item in b:
                _check_alike(a, item, ast.unparse(left))
            return a.isin(b) ^ isinstance(how, ast.NotIn)
        if isinstance(a, list) or isinstance(b, list) or type(how) not in _ORDERS:
            raise _QueryError(f"a list stands after in, and is stands nowhere: {ast.unparse(left)} in [..]")
        _check_alike(a, b, ast.unparse(left), ast.unparse(right))
        try:
            return _ORDERS[type(how)](a, b).astype(object).where(lambda s: s.notna(), False).astype(bool)
        except TypeError:
            raise _QueryError(f"'{ast.unparse(left)}' and '{ast.unparse(right)}' have no order") from None

    def _side(self, node: ast.expr) -> Any:
        """One side of a comparison; a bare word there was meant as text."""
        if isinstance(node, ast.Name) and node.id not in self.frame.columns and not node.id.startswith("_column_"):
            near = nearest(node.id, self.frame.columns)
            raise _QueryError(f"it has no column '{node.id}'{near}" if near else f"text stands in quotes, '{node.id}'")
        return self.value(node)

    def _call(self, node: ast.Call) -> pd.Series:
        test = node.func
        if not isinstance(test, ast.Attribute) or test.attr not in _TESTS or len(node.args) != 1 or node.keywords:
            name = test.attr if isinstance(test, ast.Attribute) else ast.unparse(test)
            raise _QueryError(
                f"there is no '{name}(..)' here{did_you_mean(name, _TESTS)}; columns of text have {', '.join(_TESTS)}"
            )
        of = test.value
        if isinstance(of, ast.Attribute) and of.attr == "str" and self._written(of) not in self.frame.columns:
            of = of.value  # pandas' way of writing it
        column, part = self.value(of), self.value(node.args[0])
        if not isinstance(part, str) or not isinstance(column, pd.Series):
            raise _QueryError(f"{test.attr} is asked of a column, with text in quotes")
        return column.map(lambda value: isinstance(value, str) and _TESTS[test.attr](value, part)).astype(bool)


_MEANING = "columns, numbers, text in quotes, comparisons, in, and, or, not have"


def _is_condition(value: Any) -> bool:
    return isinstance(value, pd.Series) and (value.dtype == bool or value.map(lambda v: isinstance(v, bool | np.bool_)).all())


def _is_number(value: Any) -> bool:
    if isinstance(value, pd.Series):
        return pd.api.types.is_numeric_dtype(value) and not pd.api.types.is_complex_dtype(value)
    return isinstance(value, int | float)


def _check_alike(a: Any, b: Any, *names: str) -> None:
    """Refuse to compare numbers with text: it would be false in every row, without a word."""
    for one, other, name in ((a, b, names[0]), (b, a, names[-1])):
        if _is_number(one) and isinstance(one, pd.Series) and isinstance(other, str):
            raise _QueryError(f"'{name}' holds numbers, '{other}' is text")
        if isinstance(one, pd.Series) and _is_text(one) and not isinstance(other, str | pd.Series):
            raise _QueryError(f"'{name}' holds text, {other!r} is a number; text stands in quotes, '{other}'")


def _is_text(series: pd.Series) -> bool:
    present = series.dropna()
    return len(present) > 0 and bool(present.map(lambda v: isinstance(v, str)).all())


def _syntax(query: str, error: SyntaxError) -> str:
    """What Python's parser did not understand."""
    if re.search(r"(?<![=!<>])=(?!=)", query):
        return "one = compares nothing; compare a column with a value, by ==, < or >"
    return str(error.msg).splitlines()[0]
