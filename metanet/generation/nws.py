"""The base networks of the neural weight space: one architecture for each of 243 settings of five numbers.

Eilertsen et al. 2020, Algorithm 1 (supplement A.1): three blocks of convolutions with 2x2 max-pooling, fully connected
layers of falling width with dropout, and 20 outputs, of which image sets of ten classes use ten. A convolution is
normalised before its activation, a fully connected layer after it; the outputs are neither normalised nor activated.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from torch import nn

from metanet.errors import MetanetError, did_you_mean
from metanet.generation.initializers import initial_weights
from metanet.zoo.layout import Layout

ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "elu": nn.ELU, "sigmoid": nn.Sigmoid, "tanh": nn.Tanh}
OUTPUTS = 20
BN_SCALE_STD = 0.002  # the released code's layers draw their scales from N(1, .002)
DROPOUT = 0.5  # after every fully connected layer but the last
BLOCKS = {3: (1, 1, 1), 4: (1, 1, 2), 5: (1, 2, 2)}  # convolutions of each block by depth


class ConvLayer(NamedTuple):
    """One convolution: its name, channels in and out, and whether a pooling follows."""

    name: str
    inputs: int
    outputs: int
    pooled: bool


class DenseLayer(NamedTuple):
    """One fully connected layer: its name and widths."""

    name: str
    inputs: int
    outputs: int


@dataclass(frozen=True)
class NWSNetwork:
    """One architecture of the neural weight space.

    Attributes:
        input_shape: (H, W, C) of the images; H and W are multiples of 8.
        filter_size: side of every filter, odd.
        conv_depth: convolutions, 3 to 5.
        fc_depth: hidden fully connected layers.
        conv_width: filters of the first block; the second and third have two and four times as many.
        fc_width: units of the first fully connected layer; each further one has half as many.
        batch_norm: whether layers are normalised; their vectors then lie in the layout.
        bn_scale_std: spread of the scales before training, about 1.
    """

    input_shape: tuple[int, int, int] = (32, 32, 3)
    filter_size: int = 5
    conv_depth: int = 3
    fc_depth: int = 2
    conv_width: int = 8
    fc_width: int = 128
    batch_norm: bool = True
    bn_scale_std: float = BN_SCALE_STD

    def __post_init__(self) -> None:
        if self.conv_depth not in BLOCKS:
            raise MetanetError(f"conv_depth={self.conv_depth}: give 3, 4 or 5")
        if self.filter_size < 1 or self.filter_size % 2 == 0:
            raise MetanetError(f"filter_size={self.filter_size}: give an odd number, so that images keep their size")
        if self.fc_depth < 1 or self.fc_width % 2 ** (self.fc_depth - 1):
            raise MetanetError(f"fc_width={self.fc_width} cannot be halved {self.fc_depth - 1} times (fc_depth={self.fc_depth})")
        if self.conv_width < 1 or any(side < 8 or side % 8 for side in self.input_shape[:2]):
            raise MetanetError(f"images of {self.input_shape} cannot be pooled three times; their sides must be multiples of 8")

    @cached_property
    def convolutions(self) -> tuple[ConvLayer, ...]:
        """The convolutions in order."""
        layers: list[ConvLayer] = []
        channels = self.input_shape[2]
        for block, count in enumerate(BLOCKS[self.conv_depth]):
            width = self.conv_width * 2**block
            for i in range(count):
                layers.append(ConvLayer(f"conv{len(layers) + 1}", channels, width, i == count - 1))
                channels = width
        return tuple(layers)

    @cached_property
    def dense(self) -> tuple[DenseLayer, ...]:
        """The fully connected layers in order; the last gives the outputs."""
        height, width, _ = self.input_shape
        widths = [self.convolutions[-1].outputs * (height // 8) * (width // 8)]
        widths += [self.fc_width // 2**i for i in range(self.fc_depth)]
        layers = [DenseLayer(f"fc{i + 1}", widths[i], widths[i + 1]) for i in range(self.fc_depth)]
        return (*layers, DenseLayer("out", widths[-1], OUTPUTS))

    @cached_property
    def layout(self) -> Layout:
        """Of each layer kernel and bias, then batch normalisation's shift, scale, mean and variance (as released)."""
        parts: list[tuple[str, str, str, tuple[int, ...]]] = []
        shapes: list[tuple[str, tuple[int, ...]]] = [
            (c.name, (c.outputs, c.inputs, self.filter_size, self.filter_size)) for c in self.convolutions
        ]
        shapes += [(d.name, (d.outputs, d.inputs)) for d in self.dense]
        for name, shape in shapes:
            parts += [(f"{name}.weight", name, "kernel", shape), (f"{name}.bias", name, "bias", shape[:1])]
            if self.batch_norm and name != "out":
                parts += [
                    (f"{name}_norm.bias", name, "bn_shift", shape[:1]),
                    (f"{name}_norm.weight", name, "bn_scale", shape[:1]),
                    (f"{name}_norm.running_mean", name, "bn_mean", shape[:1]),
                    (f"{name}_norm.running_var", name, "bn_var", shape[:1]),
                ]
        return Layout.build(parts)

    @property
    def multiply_adds(self) -> int:
        """Multiply-adds of one image's forward pass."""
        positions = self.input_shape[0] * self.input_shape[1]
        total = 0
        for layer in self.convolutions:
            total += positions * self.filter_size**2 * layer.inputs * layer.outputs
            positions //= 4 if layer.pooled else 1
        return total + sum(layer.inputs * layer.outputs for layer in self.dense)

    def module(self, activation: str, dropout: float = DROPOUT) -> nn.Sequential:
        """One such network as an ordinary PyTorch module with images (B, C, H, W); its state_dict fits :attr:`layout`.

        Raises:
            MetanetError: there is no such activation.
        """
        if activation not in ACTIVATIONS:
            raise MetanetError(f"no activation '{activation}'{did_you_mean(activation, ACTIVATIONS)}")
        network = nn.Sequential()
        for conv in self.convolutions:
            network.add_module(conv.name, nn.Conv2d(conv.inputs, conv.outputs, self.filter_size, padding=self.filter_size // 2))
            if self.batch_norm:
                network.add_module(f"{conv.name}_norm", nn.BatchNorm2d(conv.outputs))
            network.add_module(f"{conv.name}_act", ACTIVATIONS[activation]())
            if conv.pooled:
                network.add_module(f"{conv.name}_pool", nn.MaxPool2d(2))
        network.add_module("flatten", nn.Flatten())
        for layer in self.dense[:-1]:
            network.add_module(layer.name, nn.Linear(layer.inputs, layer.outputs))
            network.add_module(f"{layer.name}_act", ACTIVATIONS[activation]())
            if self.batch_norm:
                network.add_module(f"{layer.name}_norm", nn.BatchNorm1d(layer.outputs))
            network.add_module(f"{layer.name}_drop", nn.Dropout(dropout))
        network.add_module("out", nn.Linear(self.dense[-1].inputs, OUTPUTS))
        return network

    def initial(self, row: Mapping[str, Any]) -> np.ndarray:
        """The weights of one row of a plan before training, float32 (D,)."""
        return initial_weights(self.layout, row["hp.w_init"], float(row["hp.init_std"]), int(row["init_seed"]), self.bn_scale_std)
