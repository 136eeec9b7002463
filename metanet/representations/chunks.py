"""Columns of many networks, computed by chunks of rows that stay in a core's cache."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

CHUNK_VALUES = 1 << 18  # weights of one pass: 1 MB of float32


def in_chunks(weights: np.ndarray, columns: Callable[[np.ndarray], np.ndarray], threads: int = 1) -> np.ndarray:
    """``columns`` of all rows: (N, D) -> (N, F); memory beside the result does not grow with N.

    Args:
        columns: some rows (n, D) -> (n, F), each row by itself.
        threads: numpy's sort, reductions and linear algebra release the interpreter's lock.
    """
    rows = max(1, CHUNK_VALUES // max(1, weights.shape[1]))
    chunks = [weights[start : start + rows] for start in range(0, max(1, len(weights)), rows)]
    if threads > 1 and len(chunks) > 1:
        with ThreadPoolExecutor(threads) as pool:
            return np.concatenate(list(pool.map(columns, chunks)))
    return np.concatenate([columns(chunk) for chunk in chunks])
