"""Dropout bits for many networks at once, from counters instead of a stream.

A bit depends on (network seed, step, layer, position) alone, so neither the grouping nor the order
of work decides what a network becomes. A 32-bit field over positions is hashed once for a step
and layer and shared by the group; each network multiplies it by an odd number of its own, a
bijection of the 32-bit integers, and compares the high bits with its rate. Everything is int32
arithmetic, equal on every device.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

_GOLDEN = np.uint32(0x9E3779B9)


def mix(x: np.ndarray) -> np.ndarray:
    """A bijective 32-bit mixer (the two-round xorshift-multiply form of murmur's finaliser), uint32."""
    x = np.asarray(x, np.uint32).copy()
    x ^= x >> np.uint32(16)
    x *= np.uint32(0x7FEB352D)
    x ^= x >> np.uint32(15)
    x *= np.uint32(0x846CA68B)
    x ^= x >> np.uint32(16)
    return x


def _mix_int32_(x: Tensor) -> Tensor:
    """:func:`mix` in place on an int32 tensor; the masks make arithmetic shifts logical."""
    x ^= (x >> 16).bitwise_and_(0xFFFF)
    x *= 0x7FEB352D
    x ^= (x >> 15).bitwise_and_(0x1FFFF)
    x *= 0x846CA68B - 2**32
    x ^= (x >> 16).bitwise_and_(0xFFFF)
    return x


class DropoutNoise:
    """Keep-masks of a group of K networks.

    Args:
        rates: dropout rate of each network, in [0, 1), shape (K,).
        seeds: seed of each network, shape (K,).
        device: where the masks are made.
    """

    def __init__(self, rates: np.ndarray, seeds: np.ndarray, device: torch.device | str = "cpu") -> None:
        rates = np.asarray(rates, np.float64)
        self.keys = mix(np.asarray(seeds, np.uint64).astype(np.uint32))
        below = -(2**30) + np.round(rates * 2**31) - 1
        self.thresholds = torch.from_numpy(below.astype(np.int32)).unsqueeze(1).to(device)
        self.scale = torch.from_numpy((1 / (1 - rates)).astype(np.float32)).view(-1, 1, 1).to(device)
        self.device = device
        self._positions: dict[int, Tensor] = {}

    def field(self, step: int, layer: int, start: int, count: int) -> Tensor:
        """The shared field at ``count`` positions from ``start``, int32 of shape (count,)."""
        if count not in self._positions:
            self._positions[count] = torch.arange(count, dtype=torch.int32, device=self.device)
        key = mix(mix(np.array([step], np.uint32) + _GOLDEN) + np.uint32(layer))[0]
        return _mix_int32_((self._positions[count] + start).bitwise_xor_(int(key.astype(np.int32))))

    def multipliers(self, step: int, layer: int) -> Tensor:
        """One odd number a network, int32 of shape (K, 1)."""
        with np.errstate(over="ignore"):
            counter = mix(np.array([step], np.uint32)) + _GOLDEN * np.uint32(layer + 1)
            odd = mix(self.keys ^ counter) | np.uint32(1)
        return torch.from_numpy(odd.view(np.int32)).unsqueeze(1).to(self.device)

    def keep_mask(self, field: Tensor, multipliers: Tensor, networks: slice) -> Tensor:
        """All ones where a unit is kept, all zeros where it is dropped: int32 (K', count)."""
        mask = field * multipliers[networks]
        mask >>= 1
        torch.sub(self.thresholds[networks], mask, out=mask)
        mask >>= 31
        return mask
