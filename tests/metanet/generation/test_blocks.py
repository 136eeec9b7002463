"""The blocks engine's steps beside PyTorch modules."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from metanet.generation import blocks
from metanet.generation.native import load_kernel, variants
from metanet.generation.nws import ACTIVATIONS, NWSNetwork

needs_kernel = pytest.mark.skipif(not variants(), reason="the extension was not built")
NETWORKS = [
    NWSNetwork((16, 16, 3), 3, 5, 2, 4, 16),
    NWSNetwork((32, 32, 3), 5, 3, 3, 8, 32),
    NWSNetwork((16, 8, 1), 3, 4, 2, 12, 16),
    NWSNetwork((16, 16, 3), 3, 4, 2, 8, 16, batch_norm=False),
]


def compare(network: NWSNetwork, activation: str, dtype: torch.dtype, tolerance: float) -> None:
    """Beside modules in float64: torch's own float32 gradients err by more than the bound on some processors."""
    torch.manual_seed(3)
    module = network.module(activation, dropout=0.0).double()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))  # scales of both signs among them
    height, width, channels = network.input_shape
    images, labels = torch.rand(24, channels, height, width, dtype=dtype), torch.arange(24) % 10
    wide = images.double()
    state = {name: value.to(dtype, copy=True) for name, value in module.state_dict().items() if value.is_floating_point()}
    learned = [name for name, _ in module.named_parameters()]
    leaves = [state[name].requires_grad_() for name in learned]
    outputs = blocks.logits(network, state, images, activation, torch.Generator())
    functional.cross_entropy(outputs, labels).backward()
    expected = module.train()(wide)
    functional.cross_entropy(expected, labels).backward()
    torch.testing.assert_close(outputs.double(), expected, rtol=tolerance, atol=tolerance)
    layers: dict[str, float] = {}
    for name, parameter in module.named_parameters():
        layer = name.split(".")[0]
        layers[layer] = max(layers.get(layer, 0.0), float(parameter.grad.abs().max()))  # type: ignore[union-attr]
    for name, leaf, parameter in zip(learned, leaves, module.parameters(), strict=True):
        assert leaf.grad is not None
        assert parameter.grad is not None
        largest = layers[name.split(".")[0]] + 1e-3  # a bias before normalisation has a gradient of rounding noise alone
        torch.testing.assert_close(leaf.grad.double() / largest, parameter.grad / largest, rtol=0, atol=20 * tolerance, msg=name)
    running = {n: v for n, v in module.state_dict().items() if "running" in n}
    for name, value in running.items():
        torch.testing.assert_close(state[name].double(), value, rtol=tolerance, atol=tolerance)
    still = {name: value.detach() for name, value in state.items()}
    torch.testing.assert_close(
        blocks.logits(network, still, images, activation).double(),
        module.eval()(wide),
        rtol=10 * tolerance,
        atol=10 * tolerance,
    )


@pytest.fixture
def _no_dropout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "DROPOUT", 0.0)


@needs_kernel
@pytest.mark.usefixtures("_no_dropout")
@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
@pytest.mark.parametrize("network", NETWORKS)
def test_the_extension_does_what_modules_do(network: NWSNetwork, activation: str) -> None:
    compare(network, activation, torch.float32, 1e-4)


@pytest.mark.usefixtures("_no_dropout")
@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
@pytest.mark.parametrize("network", NETWORKS)
def test_torchs_own_operations_do_so_too(network: NWSNetwork, activation: str) -> None:
    compare(network, activation, torch.float64, 1e-10)


@needs_kernel
@pytest.mark.parametrize("channels", [4, 8, 12, 16, 24, 32, 48])
@pytest.mark.parametrize("pool", [1, 2])
@pytest.mark.parametrize("normed", [True, False])
def test_norm_pool_of_every_width(channels: int, pool: int, normed: bool) -> None:
    """Against double precision, with a mean that is a hundred times the spread."""
    generator = torch.Generator().manual_seed(channels)
    x = 100 + torch.randn(3, channels, 6, 10, generator=generator)
    scale = torch.randn(channels, generator=generator) if normed else torch.ones(channels)
    shift = torch.randn(channels, generator=generator) if normed else torch.zeros(channels)
    weigh = torch.randn(3, channels, 6 // pool, 10 // pool, generator=generator)
    a = [t.clone().requires_grad_() for t in (x, scale, shift)]
    pooled, _, _ = blocks.NormPool.apply(*a, pool, normed)
    # the gradient overwrites x in memory, so it is taken of a copy
    mine = torch.autograd.grad((pooled * weigh).sum(), a)
    b = [t.double().requires_grad_() for t in (x, scale, shift)]
    wide = functional.batch_norm(b[0], None, None, b[1], b[2], True, 0.0, blocks.EPS) if normed else b[0]
    wide = functional.max_pool2d(wide, pool)
    expected = torch.autograd.grad((wide * weigh).sum(), b[: 3 if normed else 1])
    torch.testing.assert_close(pooled.double(), wide, rtol=1e-4, atol=2e-4)
    for one, other in zip(mine, expected, strict=False):
        torch.testing.assert_close(one.double(), other, rtol=1e-3, atol=1e-3)


@needs_kernel
@pytest.mark.parametrize("filters", [4, 8, 12])
@pytest.mark.parametrize("size", [1, 3, 5, 7, 9])
@pytest.mark.parametrize("shape", [(3, 32, 32), (2, 9, 16), (1, 24, 48)])
def test_the_first_convolution_of_every_width(filters: int, size: int, shape: tuple[int, int, int]) -> None:
    count, height, width = shape
    generator = torch.Generator().manual_seed(size)
    images = torch.randn(count, 3, height, width, generator=generator).contiguous(memory_format=torch.channels_last)
    weight, bias = torch.randn(filters, 3, size, size, generator=generator), torch.randn(filters, generator=generator)
    weigh = torch.randn(count, filters, height, width, generator=generator)
    ours = [t.clone().requires_grad_() for t in (weight, bias)]
    out = blocks.ThinConv.apply(images, *ours)
    theirs = [t.double().requires_grad_() for t in (weight, bias)]
    expected = functional.conv2d(images.double(), *theirs, padding=size // 2)
    torch.testing.assert_close(out.double(), expected, rtol=1e-5, atol=1e-4)
    found = torch.autograd.grad((out * weigh).sum(), ours)
    for one, other in zip(found, torch.autograd.grad((expected * weigh).sum(), theirs), strict=True):
        torch.testing.assert_close(one.double() / other.abs().max(), other / other.abs().max(), rtol=0, atol=1e-5)


@needs_kernel
def test_convolutions_go_where_they_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    """The extension's for colour images, torch's for all else; the same numbers either way."""
    called = []
    monkeypatch.setattr(blocks.ThinConv, "apply", lambda *a: called.append(a[1].shape) or functional.conv2d(*a, padding="same"))
    for channels, filters, width, dtype, native in (
        *((3, 8, 32, torch.float32, True), (8, 8, 32, torch.float32, False), (3, 6, 32, torch.float32, False)),
        *((3, 8, 24, torch.float32, False), (3, 8, 32, torch.float64, False)),
    ):
        called.clear()
        x, weight = torch.rand(2, channels, 32, width, dtype=dtype), torch.rand(filters, channels, 5, 5, dtype=dtype)
        out = blocks.convolve(x, weight, torch.zeros(filters, dtype=dtype))
        assert bool(called) == native
        torch.testing.assert_close(out, functional.conv2d(x, weight, padding=2))


@needs_kernel
def test_the_extension_refuses_what_does_not_fit() -> None:
    import numpy as np

    kernel = load_kernel()
    x, one = np.zeros((1, 4, 4, 8), "f4"), np.zeros(8, "f4")
    out, chosen = np.zeros((1, 2, 2, 8), "f4"), np.zeros((1, 2, 2, 8), "u1")
    kernel.norm_pool(x, one, one, one.copy(), one.copy(), one.copy(), out, chosen, 2, 1e-5, True)
    image, filters = np.zeros((1, 16, 16, 3), "f4"), np.zeros((8, 3, 5, 5), "f4")
    result = np.zeros((1, 16, 16, 8), "f4")
    kernel.thin_conv(image, filters, one, result)
    for bad in ((image[..., :2].copy(), filters, one), (image, filters[:7].copy(), one), (image, filters, one[:4].copy())):
        with pytest.raises(ValueError, match=r"must be|no build|do not belong"):
            kernel.thin_conv(*bad, result)
    for wrong in ((np.zeros((1, 3, 4, 8), "f4"), out), (np.zeros((1, 4, 4, 7), "f4"), out), (x, out[:, :1])):
        with pytest.raises(ValueError, match=r"x|pooled|channels"):
            kernel.norm_pool(wrong[0], one, one, one.copy(), one.copy(), one.copy(), wrong[1].copy(), chosen, 2, 1e-5, True)


def test_half_of_the_units_are_dropped_and_the_rest_doubled() -> None:
    network = NWSNetwork((8, 8, 3), 3, 3, 1, 4, 512, batch_norm=False)
    module = network.module("tanh")
    state = dict(module.state_dict())
    state["out.weight"] = torch.zeros_like(state["out.weight"])
    state["out.weight"][0] = 1.0
    images = torch.rand(64, 3, 8, 8)
    first = blocks.logits(network, state, images, "tanh", torch.Generator().manual_seed(1))
    again = blocks.logits(network, state, images, "tanh", torch.Generator().manual_seed(1))
    other = blocks.logits(network, state, images, "tanh", torch.Generator().manual_seed(2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    state["fc1.weight"], state["fc1.bias"] = torch.zeros_like(state["fc1.weight"]), torch.full((512,), 0.5)
    outputs = blocks.logits(network, state, images, "tanh", torch.Generator().manual_seed(1))[:, 0]
    counts = (outputs - state["out.bias"][0]) / (2 * torch.tanh(torch.tensor(0.5)))
    torch.testing.assert_close(counts, counts.round(), atol=1e-2, rtol=0)
    assert abs(counts.mean() / 512 - 0.5) < 0.02
