"""Training steps of convolutional networks with batch normalisation and pooling, one network at a time.

The convolutions are torch's, on channels-last images, but for the first: three channels leave a library's vectors mostly
empty (``native/thin_conv.hpp``). What follows one - batch normalisation, 2x2 max-pooling, activation -
is memory traffic, and is here one pass forward and one back (``native/norm_pool.hpp``): all activations here are monotone, so
the maximum is taken first and a quarter of the values is activated. Where the extension was not built, or off the CPU, the
same is done by torch's own operations.
"""

from __future__ import annotations

import functools
from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from metanet.generation.native import load_kernel, variants
from metanet.generation.nws import DROPOUT, NWSNetwork

EPS, MOMENTUM = 1e-5, 0.1  # of batch normalisation; torch counts the momentum from the other end than TensorFlow (.9)


def activate(x: Tensor, activation: str) -> Tensor:
    """One of the four activations."""
    return getattr(torch, activation)(x) if activation != "elu" else functional.elu(x)


@functools.cache
def _kernel() -> ModuleType | None:
    return load_kernel() if variants() else None


def native(x: Tensor) -> bool:
    """Whether the extension normalises and pools these activations."""
    kernel = _kernel()
    return kernel is not None and x.device.type == "cpu" and x.dtype == torch.float32 and x.shape[1] in kernel.norm_pool_channels


class NormPool(torch.autograd.Function):
    """Batch normalisation by the batch's own statistics, then 2x2 max-pooling; either may be left out.

    Without normalisation ``scale`` and ``shift`` are applied as they are, and are not differentiated; the gradient is then
    that of a scale of one.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, shift: Tensor, pool: int, normed: bool) -> tuple[Tensor, Tensor, Tensor]:
        """x (B, C, H, W), channels-last -> pooled, and the batch's mean and biased variance, (C,) each."""
        kernel = _kernel()
        assert kernel is not None
        count, channels, height, width = x.shape
        x = x.contiguous(memory_format=torch.channels_last)
        shape = (count, channels, height // pool, width // pool)
        pooled = torch.empty(shape, memory_format=torch.channels_last)
        chosen = torch.empty(shape if pool > 1 else (0, channels, 1, 1), dtype=torch.uint8, memory_format=torch.channels_last)
        scale = scale.detach().contiguous()
        mean, inverse, variance = torch.zeros(channels), torch.ones(channels), torch.ones(channels)
        vectors = [v.numpy() for v in (scale, shift.detach().contiguous(), mean, inverse, variance)]
        kernel.norm_pool(_flat(x), *vectors, _flat(pooled), _flat(chosen), pool, EPS, normed)
        ctx.save_for_backward(x, chosen, scale, mean, inverse)
        ctx.pool, ctx.normed = pool, normed
        ctx.mark_non_differentiable(mean, variance)
        return pooled, mean, variance

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        kernel = _kernel()
        assert kernel is not None
        x, chosen, scale, mean, inverse = ctx.saved_tensors
        grad_scale, grad_shift = torch.empty_like(scale), torch.empty_like(scale)
        grad = grad.contiguous(memory_format=torch.channels_last)
        vectors = [v.numpy() for v in (scale, mean, inverse, grad_scale, grad_shift)]
        # The gradient takes the place of x, which is in the cache and which no convolution needs for its own gradient.
        kernel.norm_pool_backward(_flat(grad), _flat(x), _flat(chosen), *vectors, _flat(x), ctx.pool, ctx.normed)
        return x, grad_scale, grad_shift, None, None


class ThinConv(torch.autograd.Function):
    """The first convolution: images of three channels, few filters, stride 1, padded to the same size.

    Images are not differentiated.
    """

    @staticmethod
    def forward(ctx: Any, images: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """(B, 3, H, W), channels-last -> (B, filters, H, W), channels-last."""
        kernel = _kernel()
        assert kernel is not None
        shape = (len(images), len(weight), *images.shape[2:])
        out = torch.empty(shape, dtype=images.dtype, memory_format=torch.channels_last)
        kernel.thin_conv(_flat(images), weight.detach().contiguous().numpy(), bias.detach().contiguous().numpy(), _flat(out))
        ctx.save_for_backward(images)
        ctx.shape = weight.shape
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        kernel = _kernel()
        assert kernel is not None
        (images,) = ctx.saved_tensors
        grad_weight, grad_bias = grad.new_empty(ctx.shape), grad.new_empty(ctx.shape[0])
        grad = grad.contiguous(memory_format=torch.channels_last)
        kernel.thin_conv_gradient(_flat(images), _flat(grad), grad_weight.numpy(), grad_bias.numpy())
        return None, grad_weight, grad_bias


def convolve(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """A convolution of stride 1 that keeps the size; (B, C, H, W) channels-last -> (B, filters, H, W)."""
    kernel, size = _kernel(), weight.shape[2]
    thin = (
        kernel is not None
        and not x.requires_grad
        and (x.device.type, x.dtype, x.shape[1], x.shape[3] % 16) == ("cpu", torch.float32, 3, 0)
        and x.shape[2] >= size
        and len(weight) in kernel.thin_conv_filters
    )
    if thin:
        return ThinConv.apply(x, weight, bias)
    return functional.conv2d(x, weight.contiguous(memory_format=torch.channels_last), bias, padding=size // 2)


def _flat(x: Tensor) -> Any:
    """The array (n, H, W, C) below a channels-last tensor."""
    return x.detach().permute(0, 2, 3, 1).numpy()


def logits(
    network: NWSNetwork, tensors: dict[str, Tensor], images: Tensor, activation: str, noise: torch.Generator | None = None
) -> Tensor:
    """Images (B, C, H, W) in [0, 1] -> outputs (B, 20).

    Args:
        tensors: of one network, by the layout's names; in training the running statistics in it are moved on.
        noise: of the dropout in training, on the images' device; None for evaluation, by the running statistics.
    """
    training = noise is not None
    hidden = images.contiguous(memory_format=torch.channels_last)
    for conv in network.convolutions:
        hidden = convolve(hidden, tensors[f"{conv.name}.weight"], tensors[f"{conv.name}.bias"])
        hidden = _norm_pool(network, tensors, conv.name, hidden, 2 if conv.pooled else 1, training)
        hidden = activate(hidden, activation)
    hidden = hidden.flatten(1)
    for layer in network.dense[:-1]:
        hidden = functional.linear(hidden, tensors[f"{layer.name}.weight"], tensors[f"{layer.name}.bias"])
        hidden = activate(hidden, activation)
        if network.batch_norm:
            hidden = _batch_norm(tensors, layer.name, hidden, training)
        if noise is not None:
            kept = torch.empty_like(hidden).bernoulli_(1 - DROPOUT, generator=noise)
            hidden = hidden * kept.div_(1 - DROPOUT)
    return functional.linear(hidden, tensors["out.weight"], tensors["out.bias"])


def _norm_pool(network: NWSNetwork, tensors: dict[str, Tensor], name: str, x: Tensor, pool: int, training: bool) -> Tensor:
    if not native(x):
        if network.batch_norm:
            x = _batch_norm(tensors, name, x, training)
        return functional.max_pool2d(x, 2) if pool == 2 else x
    if not network.batch_norm:
        return NormPool.apply(x, x.new_ones(x.shape[1]), x.new_zeros(x.shape[1]), pool, False)[0]
    scale, shift = tensors[f"{name}_norm.weight"], tensors[f"{name}_norm.bias"]
    running_mean, running_var = tensors[f"{name}_norm.running_mean"], tensors[f"{name}_norm.running_var"]
    if not training:
        slope = scale / (running_var + EPS).sqrt()
        return NormPool.apply(x, slope, shift - running_mean * slope, pool, False)[0]
    pooled, mean, variance = NormPool.apply(x, scale, shift, pool, True)
    count = x.numel() // x.shape[1]
    running_mean.lerp_(mean, MOMENTUM)
    running_var.lerp_(variance * (count / (count - 1)), MOMENTUM)
    return pooled


def _batch_norm(tensors: dict[str, Tensor], name: str, x: Tensor, training: bool) -> Tensor:
    statistics = tensors[f"{name}_norm.running_mean"], tensors[f"{name}_norm.running_var"]
    return functional.batch_norm(
        x, *statistics, tensors[f"{name}_norm.weight"], tensors[f"{name}_norm.bias"], training, MOMENTUM, EPS
    )
