"""Distributions as they stand in a config, and independent draws from them.

0.1                                 the value itself
[relu, tanh]                        one of a list
{uniform: [0.0, 0.7]}
{log_uniform: [5.0e-4, 5.0e-2]}
{integer: [5, 15]}                  whole numbers, both ends included
"""

from __future__ import annotations

import math
import zlib
from typing import Any

import numpy as np

from metanet.errors import MetanetError

Distribution = Any  # see the head of this file


def drawn_kind(distribution: Distribution) -> str | None:
    """The kind of column that draws make: ``category`` of a list, ``log`` of a log-uniform range; else None: their values say."""
    if isinstance(distribution, list):
        return "category"
    return "log" if isinstance(distribution, dict) and "log_uniform" in distribution else None


def draw_column(
    name: str, distribution: Distribution, n: int, seed: int, stream: str = "", section: str = "recipe.hyperparameters"
) -> np.ndarray:
    """n draws of one hyperparameter, shape (n,).

    Each column of each stream is drawn on its own, so the first m draws do not depend on n and no column depends on
    another.

    Args:
        stream: such as the image set's name: zoos of two data sets share no network.
        section: of the config, for the error message.

    Raises:
        MetanetError: the value is no distribution.
    """
    uniform = np.random.default_rng([seed, zlib.crc32(f"{stream}/{name}".encode())]).random(n)
    if isinstance(distribution, dict):
        if len(distribution) == 1:
            ((kind, ends),) = distribution.items()
            try:
                low, high = (float(end) for end in ends)
            except (TypeError, ValueError):
                low, high = math.nan, math.nan
            if kind == "uniform" and low <= high:
                return low + (high - low) * uniform
            if kind == "log_uniform" and 0 < low <= high:
                return np.exp(math.log(low) + (math.log(high) - math.log(low)) * uniform)
            if kind == "integer" and low <= high and low.is_integer() and high.is_integer():
                return (low + np.floor(uniform * (high - low + 1))).astype(np.int64)
    else:
        choices = distribution if isinstance(distribution, list) else [distribution]
        if choices and not any(isinstance(c, dict | list) or c is None for c in choices):
            return np.array(choices)[(uniform * len(choices)).astype(int)]
    raise MetanetError(
        f"{section}.{name}={distribution} is no distribution; give a value, a list of choices, "
        "{uniform: [low, high]}, {log_uniform: [low, high]} or {integer: [low, high]}"
    )
