"""Multilayer perceptrons in stacks (Unterthiner et al. 2020, Supplement E).

A hidden layer is a convolution of one position, so the stacked convolution of
:mod:`metanet.generation.networks` with its hand-written backward pass serves here too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from math import prod

from torch import Tensor, nn

from metanet.generation.networks import ACTIVATIONS, StackedNetwork, StepNoise, stacked_conv
from metanet.zoo.layout import Layout


@dataclass(frozen=True)
class MLP(StackedNetwork):
    """``num_layers`` hidden layers of ``num_units``, activation and dropout after each; a dense layer of logits.

    The input is the image (C, H, W) as one vector.
    """

    input_shape: tuple[int, int, int]
    num_layers: int = 3
    num_units: int = 16
    classes: int = 10

    @property
    def units(self) -> list[int]:
        """Activations of each hidden layer for one image."""
        return [self.num_units] * self.num_layers

    @property
    def widths(self) -> list[int]:
        """Inputs of each layer."""
        return [prod(self.input_shape), *self.units]

    @cached_property
    def layout(self) -> Layout:
        """Kernel, then bias, of fc1 ... fcL and dense."""
        parts: list[tuple[str, str, str, tuple[int, ...]]] = []
        for i, width in enumerate(self.widths[:-1], 1):
            parts.append((f"fc{i}.weight", f"fc{i}", "kernel", (self.num_units, width)))
            parts.append((f"fc{i}.bias", f"fc{i}", "bias", (self.num_units,)))
        parts.append(("dense.weight", "dense", "kernel", (self.classes, self.num_units)))
        parts.append(("dense.bias", "dense", "bias", (self.classes,)))
        return Layout.build(parts)

    @property
    def multiply_adds(self) -> int:
        """Multiply-adds of one image's forward pass."""
        return sum(width * self.num_units for width in self.widths[:-1]) + self.num_units * self.classes

    def module(self, activation: str, dropout: float = 0.0) -> nn.Sequential:
        """One such network as an ordinary PyTorch module with images (B, C, H, W); its state_dict fits :attr:`layout`."""
        network = nn.Sequential()
        network.add_module("flatten", nn.Flatten())
        for i, width in enumerate(self.widths[:-1], 1):
            network.add_module(f"fc{i}", nn.Linear(width, self.num_units))
            network.add_module(f"act{i}", ACTIVATIONS[activation]())
            network.add_module(f"drop{i}", nn.Dropout(dropout))
        network.add_module("dense", nn.Linear(self.num_units, self.classes))
        return network

    def prepare(self, images: Tensor) -> Tensor:
        """Images (B, H, W, C) as vectors shared by all networks: (1, B, C * H * W)."""
        return images.permute(0, 3, 1, 2).reshape(1, len(images), -1)

    def layers(self, tensors: dict[str, Tensor], prepared: Tensor, activation: str, noise: StepNoise | None) -> Iterator[Tensor]:
        """Each hidden layer's output, (K, B, 1, 1, units)."""
        hidden = prepared
        for i in range(self.num_layers):
            kernel = tensors[f"fc{i + 1}.weight"].transpose(1, 2)  # (K, in, out)
            hidden = stacked_conv(hidden, kernel, tensors[f"fc{i + 1}.bias"], activation, noise, i, None if i == 0 else (1, 1))
            hidden = hidden.view(len(kernel), -1, 1, 1, self.num_units)
            yield hidden
