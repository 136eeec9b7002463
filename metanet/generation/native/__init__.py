"""Compiled code: the whole training step of one small CNN out of one core's own cache, and what the blocks engine takes of it.

``network.hpp`` holds the step, compiled once per instruction set when the package is installed with a compiler; without
one the modules are absent, :func:`load_kernel` says so, and the torch engine does the work. ``kernel.cu`` is the same for GPUs.
"""

from __future__ import annotations

import functools
import importlib
from types import ModuleType

import numpy as np

from metanet.errors import MetanetError
from metanet.generation.networks import StackedNetwork

VARIANTS = ("avx512", "avx2", "baseline")  # the fastest first; baseline is SSE2 or NEON
MOST_CLASSES = 16


@functools.cache
def variants() -> tuple[str, ...]:
    """The compiled variants that this processor runs, the fastest first; empty where none was built."""
    try:
        baseline = _import("baseline")
    except ImportError:
        return ()
    found = []
    for variant in VARIANTS:
        if baseline.supported(variant):
            try:
                _import(variant)
            except ImportError:
                continue
            found.append(variant)
    return tuple(found)


def _import(variant: str) -> ModuleType:
    return importlib.import_module(f"{__name__}._{variant}")


def load_kernel(variant: str | None = None) -> ModuleType:
    """The compiled module of one variant, by default the fastest that this processor runs.

    Raises:
        MetanetError: it was not built, or the processor does not run it.
    """
    known = variants()
    if not known:
        raise MetanetError(
            "the fused engine was not built: install metanet where a C++20 compiler is (g++ or clang++), or take engine=torch"
        )
    if variant is not None and variant not in known:
        raise MetanetError(f"no fused engine for '{variant}' here; this processor runs {', '.join(known)}")
    return _import(variant or known[0])


def kernel_order(network: StackedNetwork) -> np.ndarray:
    """Where each value of the kernel's vector lies in the layout, int64; -1 for padding.

    The kernel keeps convolutions as (kh, kw, in, out), the dense layer as (in, 16), and begins it at a multiple of 16.
    """
    *convolutions, dense = [network.layout.tensors[i : i + 2] for i in range(0, len(network.layout.tensors), 2)]
    parts: list[np.ndarray] = []
    for kernel, bias in convolutions:
        positions = np.arange(kernel.start, kernel.stop).reshape(kernel.shape)  # (out, in, kh, kw)
        parts += [positions.transpose(2, 3, 1, 0).ravel(), np.arange(bias.start, bias.stop)]
    parts.append(np.full(-sum(map(len, parts)) % 16, -1))
    kernel, bias = dense
    padded = np.full((kernel.shape[1], MOST_CLASSES), -1)
    padded[:, : network.classes] = np.arange(kernel.start, kernel.stop).reshape(kernel.shape).T
    last = np.full(MOST_CLASSES, -1)
    last[: network.classes] = np.arange(bias.start, bias.stop)
    return np.concatenate([*parts, padded.ravel(), last])
