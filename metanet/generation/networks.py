"""Base networks in stacks: K networks of one architecture in one pass.

Shapes: K networks, B images, C channels, D weights of a network. Activations are channels-last,
(K, B, H, W, C), so that a 3x3 patch is three runs of memory and a convolution is a batched matrix
product of (B * positions, patch) x (patch, out). The inverse dropout factor of a layer is one
number a network and is folded into the next kernel; masks are applied as bits.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from metanet.errors import MetanetError, did_you_mean
from metanet.generation.dropout import DropoutNoise
from metanet.generation.initializers import initial_weights
from metanet.zoo.layout import Layout

ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "tanh": nn.Tanh}


@dataclass(frozen=True)
class StepNoise:
    """The dropout bits of some networks and images in one step: the field and multipliers of each layer."""

    noise: DropoutNoise
    fields: list[Tensor]
    multipliers: list[Tensor]
    networks: slice

    def mask(self, layer: int) -> Tensor:
        """Keep-mask of a layer, int32 (K, B * units)."""
        return self.noise.keep_mask(self.fields[layer], self.multipliers[layer], self.networks)

    @property
    def scale(self) -> Tensor:
        """1 / (1 - rate), shape (K, 1, 1)."""
        return self.noise.scale[self.networks]


class StackedNetwork:
    """What every base network in stacks offers; the last layer is ``dense``.

    Attributes:
        input_shape: (H, W, C) of the images.
        classes: number of logits.
    """

    input_shape: tuple[int, int, int]
    num_layers: int
    num_units: int
    classes: int

    @property
    def layout(self) -> Layout:
        """What the positions of a weight vector are; kernels are as in PyTorch."""
        raise NotImplementedError

    @property
    def units(self) -> list[int]:
        """Activations of each layer with dropout, for one image."""
        raise NotImplementedError

    @property
    def multiply_adds(self) -> int:
        """Multiply-adds of one image's forward pass."""
        raise NotImplementedError

    def module(self, activation: str, dropout: float = 0.0) -> nn.Sequential:
        """One such network as an ordinary PyTorch module with images (B, C, H, W); its state_dict fits ``layout``."""
        raise NotImplementedError

    def prepare(self, images: Tensor) -> Tensor:
        """What the first layer reads of the images (B, H, W, C), shared by all networks."""
        raise NotImplementedError

    def layers(self, tensors: dict[str, Tensor], prepared: Tensor, activation: str, noise: StepNoise | None) -> Iterator[Tensor]:
        """What each hidden layer gives, one after another, (K, B, H, W, C)."""
        raise NotImplementedError

    def pooled(self, last: Tensor) -> Tensor:
        """What the last hidden layer gives, (K, B, H, W, C), as the dense layer sees it, (K, B, C)."""
        return last.flatten(2, 3).mean(2)

    def initial(self, row: Mapping[str, Any]) -> np.ndarray:
        """The weights of one row of a plan before training, float32 (D,)."""
        return initial_weights(self.layout, row["hp.w_init"], float(row["hp.init_std"]), int(row["init_seed"]))

    def tensors(self, weights: Tensor) -> dict[str, Tensor]:
        """(K, D) -> named tensors (K, ...), by one split, whose backward pass is one concatenation."""
        parts = weights.split([t.stop - t.start for t in self.layout.tensors], dim=1)
        return {t.name: part.reshape(-1, *t.shape) for t, part in zip(self.layout.tensors, parts, strict=True)}

    def logits(self, weights: Tensor, prepared: Tensor, activation: str, noise: StepNoise | None = None) -> Tensor:
        """(K, D) weights and prepared images -> logits (K, B, classes); dropout only where noise is given.

        Raises:
            MetanetError: there is no such activation.
        """
        if activation not in ACTIVATIONS:
            raise MetanetError(f"no activation '{activation}'{did_you_mean(activation, ACTIVATIONS)}")
        tensors = self.tensors(weights)
        (last,) = deque(self.layers(tensors, prepared, activation, noise), maxlen=1)
        return self.dense(tensors, last, noise)

    def dense(self, tensors: dict[str, Tensor], last: Tensor, noise: StepNoise | None = None) -> Tensor:
        """What the last hidden layer gives, (K, B, H, W, C) -> logits (K, B, classes)."""
        kernel = tensors["dense.weight"].transpose(1, 2)  # (K, C, classes)
        if noise is not None:
            kernel = kernel * noise.scale
        return torch.baddbmm(tensors["dense.bias"].unsqueeze(1), self.pooled(last), kernel)


@dataclass(frozen=True)
class SmallCNN(StackedNetwork):
    """The base network of the Small CNN Zoo (Unterthiner et al. 2020, section 4.1).

    ``num_layers`` convolutions ``kernel`` x ``kernel`` with stride 2 and no padding, ``num_units`` filters each, activation
    and dropout after each; global average pooling; a dense layer. 4,970 weights with the defaults.
    """

    input_shape: tuple[int, int, int]
    num_layers: int = 3
    num_units: int = 16
    kernel: int = 3
    stride: int = 2
    classes: int = 10

    def __post_init__(self) -> None:
        if min(self.extents) < 1:
            raise MetanetError(
                f"images of {self.input_shape[0]}x{self.input_shape[1]} vanish in {self.num_layers} convolutions of "
                f"stride {self.stride}; take larger images or fewer layers"
            )

    @cached_property
    def sizes(self) -> list[tuple[int, int]]:
        """(H, W) before each convolution and after the last."""
        sizes = [self.input_shape[:2]]
        for _ in range(self.num_layers):
            sizes.append(tuple((s - self.kernel) // self.stride + 1 for s in sizes[-1]))  # type: ignore[arg-type]
        return sizes

    @property
    def extents(self) -> list[int]:
        """Smallest side before each convolution and after the last."""
        return [min(size) for size in self.sizes]

    @cached_property
    def units(self) -> list[int]:
        """Activations of each convolution for one image."""
        return [prod(size) * self.num_units for size in self.sizes[1:]]

    @cached_property
    def layout(self) -> Layout:
        """Kernel, then bias, of conv1 ... convL and dense."""
        parts: list[tuple[str, str, str, tuple[int, ...]]] = []
        channels = self.input_shape[2]
        for i in range(1, self.num_layers + 1):
            parts.append((f"conv{i}.weight", f"conv{i}", "kernel", (self.num_units, channels, self.kernel, self.kernel)))
            parts.append((f"conv{i}.bias", f"conv{i}", "bias", (self.num_units,)))
            channels = self.num_units
        parts.append(("dense.weight", "dense", "kernel", (self.classes, channels)))
        parts.append(("dense.bias", "dense", "bias", (self.classes,)))
        return Layout.build(parts)

    @property
    def multiply_adds(self) -> int:
        """Multiply-adds of one image's forward pass."""
        convolutions = sum(
            units * channels * self.kernel**2
            for units, channels in zip(self.units, [self.input_shape[2]] + [self.num_units] * (self.num_layers - 1), strict=True)
        )
        return convolutions + self.num_units * self.classes

    def module(self, activation: str, dropout: float = 0.0) -> nn.Sequential:
        """One such network as an ordinary PyTorch module with images (B, C, H, W); its state_dict fits :attr:`layout`."""
        layers: dict[str, nn.Module] = {}
        channels = self.input_shape[2]
        for i in range(1, self.num_layers + 1):
            layers[f"conv{i}"] = nn.Conv2d(channels, self.num_units, self.kernel, self.stride)
            layers[f"act{i}"] = ACTIVATIONS[activation]()
            layers[f"drop{i}"] = nn.Dropout(dropout)
            channels = self.num_units
        layers |= {"pool": nn.AdaptiveAvgPool2d(1), "flatten": nn.Flatten(), "dense": nn.Linear(channels, self.classes)}
        network = nn.Sequential()
        for name, layer in layers.items():
            network.add_module(name, layer)
        return network

    def prepare(self, images: Tensor) -> Tensor:
        """Patches of the images (B, H, W, C) for the first layer, shared by all networks: (1, B * positions, patch)."""
        return _patches(images.unsqueeze(0), self.kernel, self.stride)

    def layers(self, tensors: dict[str, Tensor], prepared: Tensor, activation: str, noise: StepNoise | None) -> Iterator[Tensor]:
        """Each convolution's output, (K, B, H, W, C)."""
        hidden = prepared
        batch = prepared.shape[1] // prod(self.sizes[1])
        for i in range(self.num_layers):
            weight = tensors[f"conv{i + 1}.weight"]
            kernel = weight.permute(0, 3, 4, 2, 1).reshape(len(weight), -1, self.num_units)
            window = None if i == 0 else (self.kernel, self.stride)
            hidden = stacked_conv(hidden, kernel, tensors[f"conv{i + 1}.bias"], activation, noise, i, window)
            hidden = hidden.view(len(weight), batch, *self.sizes[i + 1], self.num_units)  # (K, B, H, W, C)
            yield hidden


def stacked_conv(
    inputs: Tensor,
    kernel: Tensor,
    bias: Tensor,
    activation: str,
    noise: StepNoise | None,
    layer: int,
    window: tuple[int, int] | None,
) -> Tensor:
    """Convolution, activation and dropout of K networks.

    Args:
        inputs: (K, B, H, W, C), or patches (1, N, P) of the shared images where ``window`` is None.
        kernel: (K, P, out), taps outermost.
        bias: (K, out).
        noise: dropout of this step; the factor 1 / (1 - rate) of the layer before is folded into ``kernel``.
        layer: which layer, from 0.
        window: size and stride.

    Returns:
        (K, N, out), N positions of all images.
    """
    if noise is not None and layer > 0:
        kernel = kernel * noise.scale
    mask = None if noise is None else noise.mask(layer)
    return _StackedConv.apply(inputs, kernel, bias, activation, mask, window)


def _patches(images: Tensor, kernel: int, stride: int) -> Tensor:
    """(K, B, H, W, C) -> (K, B * OH * OW, kernel * kernel * C), channels innermost."""
    windows = images.unfold(2, kernel, stride).unfold(3, kernel, stride)  # (K, B, OH, OW, C, kh, kw)
    return windows.permute(0, 1, 2, 3, 5, 6, 4).reshape(images.shape[0], -1, kernel * kernel * images.shape[4])


def _fold_patches(patches: Tensor, shape: torch.Size, stride: int) -> Tensor:
    """The transpose of :func:`_patches`: (K, B, OH, OW, kh, kw, C) summed into (K, B, H, W, C).

    Patches overlap only across tiles of ``stride`` x ``stride`` taps, so each such tile is one pass
    without a collision; the first is a copy, and only what it leaves out is set to zero.
    """
    count, batch, out_h, out_w, kernel, _, channels = patches.shape
    if patches.shape[4:6] == shape[2:4]:  # one patch is the whole image
        return patches.view(shape)
    folded = patches.new_empty(shape)
    first = min(stride, kernel)
    if first < stride:
        folded.zero_()
    else:
        folded[:, :, out_h * stride :] = 0
        folded[:, :, :, out_w * stride :] = 0
    step = folded.stride()
    for i in range(0, kernel, stride):
        rows = min(stride, kernel - i)
        for j in range(0, kernel, stride):
            columns = min(stride, kernel - j)
            target = folded.as_strided(
                (count, batch, out_h, out_w, rows, columns, channels),
                (step[0], step[1], stride * step[2], stride * step[3], step[2], step[3], step[4]),
                i * step[2] + j * step[3],
            )
            tile = patches[:, :, :, :, i : i + rows, j : j + columns]
            target.copy_(tile) if i == j == 0 else target.add_(tile)
    return folded


class _StackedConv(torch.autograd.Function):
    """Convolution, bias, activation and dropout bits of K networks; the backward pass by hand."""

    @staticmethod
    def forward(
        ctx: Any,
        inputs: Tensor,
        kernel: Tensor,
        bias: Tensor,
        activation: str,
        mask: Tensor | None,
        window: tuple[int, int] | None,
    ) -> Tensor:
        """inputs (K, B, H, W, C), or patches (1, N, P) of the shared images where ``window`` is None -> (K, N, out)."""
        patches = inputs if window is None else _patches(inputs, *window)
        hidden = torch.baddbmm(bias.unsqueeze(1), patches.expand(len(kernel), -1, -1), kernel)
        hidden = hidden.relu_() if activation == "relu" else hidden.tanh_()
        if mask is not None:
            hidden.view(torch.int32).view_as(mask).bitwise_and_(mask)
        # A ReLU output of zero stands for "inactive or dropped"; tanh needs the mask itself.
        ctx.save_for_backward(patches, kernel, hidden, mask if activation == "tanh" else None)
        ctx.activation, ctx.window, ctx.input_shape = activation, window, inputs.shape
        return hidden

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        patches, kernel, hidden, mask = ctx.saved_tensors
        count = len(kernel)
        grad = grad.reshape(hidden.shape)  # ours alone: the output went into one view
        if ctx.activation == "relu":
            torch.ops.aten.threshold_backward.grad_input(grad, hidden, 0, grad_input=grad)
        else:
            torch.ops.aten.tanh_backward.grad_input(grad, hidden, grad_input=grad)
            if mask is not None:
                grad.view(torch.int32).view_as(mask).bitwise_and_(mask)
        grad_bias = grad.sum(1) if ctx.needs_input_grad[2] else None
        grad_kernel = torch.bmm(patches.transpose(1, 2).expand(count, -1, -1), grad) if ctx.needs_input_grad[1] else None
        grad_inputs = None
        if ctx.window is None and ctx.needs_input_grad[0]:
            grad_inputs = torch.bmm(grad, kernel.transpose(1, 2)).sum(0, keepdim=True)
        elif ctx.window is not None:
            size, stride = ctx.window
            _, batch, height, width, channels = ctx.input_shape
            out_h, out_w = (height - size) // stride + 1, (width - size) // stride + 1
            taps = torch.bmm(grad, kernel.transpose(1, 2)).view(count, batch, out_h, out_w, size, size, channels)
            grad_inputs = _fold_patches(taps, ctx.input_shape, stride)
        return grad_inputs, grad_kernel, grad_bias, None, None, None
