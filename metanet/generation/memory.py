"""Keeping freed memory in the process, for loops that free and take the same megabytes at each step."""

from __future__ import annotations

import ctypes
import functools
import sys

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3  # glibc's malloc.h
_LARGEST_MMAP_THRESHOLD = 32 << 20  # what glibc allows


@functools.cache
def keep_freed_memory() -> bool:
    """Tell glibc not to hand freed blocks back to the system; True where that was possible.

    A training step frees tensors of a few megabytes and takes them again. By default many of their
    pages go back each time and are faulted in anew, a tenth to a third of a step in trials.
    """
    if sys.platform != "linux":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    wanted = {_MMAP_THRESHOLD: _LARGEST_MMAP_THRESHOLD, _TRIM_THRESHOLD: 1 << 30, _TOP_PAD: 64 << 20}
    return all(mallopt(option, value) == 1 for option, value in wanted.items())
