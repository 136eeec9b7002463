"""``where=``: expressions over the columns of a view."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd

from metanet.errors import MetanetError, did_you_mean

_DOTTED = re.compile(r"(?<![`'\"\w.])[A-Za-z_]\w*(?:\.\w+)+")


def query_mask(frame: pd.DataFrame, query: str) -> np.ndarray:
    """Evaluate a pandas query with dotted column names written as they are; shape (N,) of bool."""
    quoted = _DOTTED.sub(lambda m: _quoted(m[0], frame), query)
    try:
        mask = frame.eval(quoted)
    except Exception as error:  # pandas raises many kinds; each is the query's fault
        raise MetanetError(f"where='{query}' is not a query over this table: {_mend(query, frame, error)}") from None
    mask = np.asarray(mask)
    if mask.dtype != bool or mask.shape != (len(frame),):
        raise MetanetError(f"where='{query}' gives no true or false for each row; compare a column with a value, by ==, < or >")
    return mask


def _quoted(word: str, frame: pd.DataFrame) -> str:
    """A dotted word of a query with the longest beginning that is a column in backticks: methods may follow."""
    parts = word.split(".")
    for count in range(len(parts), 1, -1):
        if (column := ".".join(parts[:count])) in frame.columns:
            return ".".join([f"`{column}`", *parts[count:]])
    return word


def _mend(query: str, frame: pd.DataFrame, error: Exception) -> str:
    """What is wrong with a query, and how to mend it."""
    missing = [word for word in _DOTTED.findall(query) if word not in frame.columns and word.count(".") == 1]
    if isinstance(error, pd.errors.UndefinedVariableError):
        missing += re.findall("'(.+)'", str(error))
    elif not isinstance(error, AttributeError) or not missing:
        return str(error).splitlines()[0]
    if re.search(rf"[=<>]\s*{re.escape(missing[0])}\b", query):
        return f"text stands in quotes, '{missing[0]}'"
    return f"it has no column '{missing[0]}'{did_you_mean(missing[0], frame.columns)}"
