"""The fused engine against float64 torch, torch.optim and a numpy copy of its dropout bits."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import small_recipe
from scipy.stats import ks_2samp
from torch.nn import functional

from metanet.data_modules.images import ImageDataModule, load_images, scale_pixels
from metanet.errors import MetanetError
from metanet.generation import native
from metanet.generation.dropout import mix
from metanet.generation.engines import fused_engine
from metanet.generation.engines.fused_engine import ACTIVATION_CODES, FusedGroup, why_not
from metanet.generation.mlp import MLP
from metanet.generation.native import kernel_order, load_kernel, variants
from metanet.generation.networks import SmallCNN
from metanet.generation.plan import make_plan
from metanet.generation.training import train_rows

pytestmark = pytest.mark.skipif(not variants(), reason="the fused engine was not built here")

TORCH = {
    "sgd": lambda p, rate: torch.optim.SGD(p, rate),
    "momentum": lambda p, rate: torch.optim.SGD(p, rate, momentum=0.9),
    "adam": lambda p, rate: torch.optim.Adam(p, rate, eps=1e-7),
    "rmsprop": lambda p, rate: torch.optim.RMSprop(p, rate, alpha=0.9, eps=1e-7),
}
SIZES = [(28, 28, 1), (32, 32, 1), (16, 16, 1), (33, 40, 3)]
ARCHITECTURES = [
    *((shape, 3, units) for shape, units in itertools.product(SIZES, (8, 16, 32))),
    ((28, 30, 1), 2, 8),
    ((16, 16, 1), 1, 16),
    ((64, 64, 1), 4, 16),
]


def padded(network: SmallCNN, vector: np.ndarray) -> np.ndarray:
    order = kernel_order(network)
    out = torch.zeros(len(order)).numpy()
    out[order >= 0] = vector[order[order >= 0]]
    return out


def unpadded(network: SmallCNN, vector: np.ndarray) -> np.ndarray:
    order = kernel_order(network)
    out = np.empty(network.layout.size, np.float32)
    out[order[order >= 0]] = vector[order >= 0]
    return out


def keep_masks(network: SmallCNN, rate: float, seed: int, step: int, images: int) -> list[np.ndarray]:
    """The kernel's dropout bits in plain numpy: (images, H, W, C) of bool for each layer."""
    golden, masks = np.uint32(0x9E3779B9), []
    with np.errstate(over="ignore"):
        for layer, (size, units) in enumerate(zip(network.sizes[1:], network.units, strict=True)):
            unit = np.arange(units, dtype=np.uint32)
            word, high = unit // 32 * 16 + unit % 16, unit // 16 % 2 == 1
            rows = []
            for image in range(images):
                key = mix(mix(mix(np.uint32(seed) + golden) ^ np.uint32(step)) ^ np.uint32(image * 64 + layer))
                bits = mix(key + word * golden)
                half = np.where(high, bits >> np.uint32(16), bits & np.uint32(0xFFFF))
                rows.append(half >= round(rate * 65536))
            masks.append(np.stack(rows).reshape(images, *size, network.num_units))
    return masks


def reference_gradient(
    network: SmallCNN, activation: str, weights: np.ndarray, pixels: np.ndarray, labels: np.ndarray, l2reg: float,
    masks: list[np.ndarray] | None = None, rate: float = 0.0,
) -> tuple[float, np.ndarray]:  # fmt: skip
    """Loss and gradient in float64 torch, with given dropout masks."""
    module = network.module(activation).double()
    module.load_state_dict(network.layout.unflatten(torch.from_numpy(weights).double()))
    hidden = torch.from_numpy(pixels).double().permute(0, 3, 1, 2) * 2 / 255 - 1
    layer = 0
    for name, child in module.named_children():
        hidden = child(hidden)
        if name.startswith("act") and masks is not None:
            hidden = hidden * torch.from_numpy(masks[layer]).permute(0, 3, 1, 2) / (1 - rate)
            layer += 1
    loss = functional.cross_entropy(hidden, torch.from_numpy(labels))
    kernels = [p for p in module.parameters() if p.ndim > 1]
    (loss + l2reg * sum((p**2).sum() for p in kernels)).backward()
    return loss.item(), torch.cat([p.grad.reshape(-1) for p in module.parameters()]).numpy()  # type: ignore[union-attr]


@pytest.mark.parametrize("variant", variants())
@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize(("shape", "depth", "units"), ARCHITECTURES)
def test_gradients_are_those_of_float64_torch(
    shape: tuple[int, int, int], depth: int, units: int, activation: str, variant: str
) -> None:
    """With dropout and l2, a batch that is no multiple of any block."""
    rng = np.random.default_rng(0)
    network = SmallCNN(shape, num_layers=depth, num_units=units)
    kernel = load_kernel(variant).Network(*shape, depth, units, 10)
    weights = (0.15 * rng.standard_normal(network.layout.size)).astype(np.float32)
    pixels, labels = rng.integers(0, 256, (13, *shape), dtype=np.uint8), rng.integers(0, 10, 13)
    rate, seed, step, l2reg = 0.3, 77, 5, 1e-3
    out = padded(network, weights)
    loss = kernel.gradient(padded(network, weights), out, pixels, labels, step, ACTIVATION_CODES[activation], l2reg, rate, seed)
    masks = keep_masks(network, rate, seed, step, 13)
    expected_loss, expected = reference_gradient(network, activation, weights, pixels, labels, l2reg, masks, rate)
    assert loss == pytest.approx(expected_loss, rel=1e-5)
    got = unpadded(network, out)
    for spec in network.layout.tensors:  # relative to each tensor's own scale
        part = slice(spec.start, spec.stop)
        np.testing.assert_allclose(got[part], expected[part], rtol=1e-4, atol=1e-4 * np.abs(expected[part]).max())


@pytest.mark.parametrize("optimizer", sorted(TORCH))
@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize("shape", SIZES)
def test_ten_steps_end_where_torch_optim_ends(shape: tuple[int, int, int], activation: str, optimizer: str) -> None:
    rng = np.random.default_rng(1)
    network = SmallCNN(shape)
    kernel = load_kernel().Network(*shape, 3, 16, 10)
    start = network.initial({"w_init": 0, "hp.w_init": "he_normal", "hp.init_std": 0.1, "init_seed": 3})
    pixels, labels = rng.integers(0, 256, (64, *shape), dtype=np.uint8), rng.integers(0, 10, 64)
    order = np.concatenate([rng.permutation(64) for _ in range(5)])  # ten batches of 32
    rate, l2reg = {"sgd": 0.05, "momentum": 0.01, "adam": 1e-3, "rmsprop": 1e-3}[optimizer], 1e-3
    weights, mean, square = (padded(network, v) for v in (start, np.zeros_like(start), np.zeros_like(start)))
    codes = {"sgd": 0, "momentum": 1, "adam": 2, "rmsprop": 3}
    kernel.train(
        *(weights, mean, square, pixels, labels, order, 32, 0, codes[optimizer], ACTIVATION_CODES[activation]),
        *(rate, l2reg, 0.0, 1),
    )
    module = network.module(activation).double()
    module.load_state_dict(network.layout.unflatten(torch.from_numpy(start).double()))
    stepper = TORCH[optimizer](list(module.parameters()), rate)
    images = torch.from_numpy(pixels).double().permute(0, 3, 1, 2) * 2 / 255 - 1
    for batch in order.reshape(10, 32):
        loss = functional.cross_entropy(module(images[batch]), torch.from_numpy(labels[batch]))
        loss = loss + l2reg * sum((p**2).sum() for p in module.parameters() if p.ndim > 1)
        stepper.zero_grad()
        loss.backward()
        stepper.step()
    expected = network.layout.flatten(module.state_dict())
    # Adam and RMSprop divide by the root of a squared gradient: where it is nearly zero, float32 decides its sign.
    close = np.isclose(unpadded(network, weights), expected, rtol=1e-3, atol=1e-4)
    assert close.mean() > 0.999
    assert np.abs(expected - start).max() > 1e-3


def test_metrics_are_those_of_the_torch_module() -> None:
    images = load_images("digits")
    network = SmallCNN(images.shape)
    kernel = load_kernel().Network(*images.shape, 3, 16, 10)
    vector = network.initial({"hp.w_init": "he_normal", "hp.init_std": 0.1, "init_seed": 0})
    module = network.module("tanh", dropout=0.5).eval()
    module.load_state_dict(network.layout.unflatten(torch.from_numpy(vector)))
    logits = module(scale_pixels(images.test_images).permute(0, 3, 1, 2)).detach()
    correct, loss = kernel.evaluate(padded(network, vector), images.test_images.numpy(), images.test_labels.numpy(), 1)
    assert abs(correct - int((logits.argmax(1) == images.test_labels).sum())) <= 1
    assert loss / 360 == pytest.approx(float(functional.cross_entropy(logits, images.test_labels)), rel=1e-5)


def test_dropout_drops_its_share_independently() -> None:
    network = SmallCNN((28, 28, 1))
    masks = keep_masks(network, 0.3, seed=5, step=2, images=40)
    for mask in masks:
        assert abs(mask.mean() - 0.7) < 5 * np.sqrt(0.21 / mask.size)
    flat = masks[0].reshape(40, -1).astype(float)
    correlations = np.corrcoef(flat)[np.triu_indices(40, 1)]
    assert np.abs(correlations).max() < 5 / np.sqrt(flat.shape[1])
    other = keep_masks(network, 0.3, seed=5, step=3, images=1)[0].ravel()
    assert abs(np.corrcoef(flat[0], other)[0, 1]) < 5 / np.sqrt(other.size)


def group_rows(n: int, **changes: object) -> tuple[pd.DataFrame, object]:
    plan = make_plan(small_recipe(**changes), load_images("digits").facts(), n, engine="fused")
    return plan.group(0), plan


def test_threads_decide_nothing() -> None:
    rows, plan = group_rows(6, activation="tanh", train_fraction=0.1)
    images = load_images("digits")
    one, two = (train_rows(plan, rows, images, {}, threads=threads) for threads in (1, 2))  # type: ignore[arg-type]
    for a, b in zip(one.snapshots, two.snapshots, strict=True):
        assert np.array_equal(a.weights, b.weights)  # type: ignore[arg-type]
        assert np.array_equal(a.metrics["test_loss"], b.metrics["test_loss"])


def test_a_network_that_diverges_is_marked_and_disturbs_nobody() -> None:
    rows, plan = group_rows(5, activation="relu", optimizer="sgd", w_init="he_normal", train_fraction=0.1)
    images = load_images("digits")
    calm = train_rows(plan, rows, images, {})  # type: ignore[arg-type]
    wild_rows = rows.copy()
    wild_rows.loc[2, "hp.learning_rate"] = 1e12
    wild = train_rows(plan, wild_rows, images, {})  # type: ignore[arg-type]
    assert wild.alive.tolist() == [True, True, False, True, True]
    others = [0, 1, 3, 4]
    assert np.array_equal(calm.snapshots[-1].weights[others], wild.snapshots[-1].weights[others])  # type: ignore[index]
    assert np.isfinite(wild.snapshots[-1].weights).all()  # type: ignore[arg-type]


@pytest.mark.slow
def test_both_engines_give_the_same_distribution_of_accuracies() -> None:
    """Two samples of 150 networks, with dropout, whose bits differ; and without, network by network."""
    images = load_images("digits")
    for dropout in ({"uniform": [0.0, 0.7]}, 0.0):
        accuracies = []
        for engine in ("torch", "fused"):
            plan = make_plan(small_recipe(epochs=12, dropout=dropout), images.facts(), 150, engine=engine)
            found = {}
            for g in range(plan.groups):
                module = train_rows(plan, plan.group(g), images, {"accelerator": "cpu"})
                found |= dict(zip(module.table["network_id"], module.snapshots[-1].metrics["test_accuracy"], strict=True))
            accuracies.append(np.array([found[i] for i in plan.table["network_id"]]))
        assert ks_2samp(*accuracies).pvalue > 0.01
        assert abs(np.diff([a.mean() for a in accuracies])[0]) < 0.02
        if dropout == 0.0:
            assert np.corrcoef(*accuracies)[0, 1] > 0.98


def test_what_it_cannot_train_is_said() -> None:
    assert why_not(SmallCNN((16, 16, 1))) is None
    assert "widths 8, 16, 32, not 12" in str(why_not(SmallCNN((16, 16, 1), num_units=12)))
    assert "1 or 3 channels" in str(why_not(SmallCNN((16, 16, 2))))
    assert "at most 16 classes" in str(why_not(SmallCNN((16, 16, 1), classes=17)))
    assert "recipe=small_cnn only" in str(why_not(MLP((16, 16, 1))))
    rows, _ = group_rows(2, train_fraction=0.1, activation="relu")
    data = ImageDataModule(load_images("digits"), 32, 0.1)
    with pytest.raises(MetanetError, match="not 12"):
        FusedGroup(SmallCNN((16, 16, 1), num_units=12), rows, data, 1, [0])
    with pytest.raises(MetanetError, match="no fused engine for 'neon'"):
        load_kernel("neon")


def test_without_the_extension_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (native, fused_engine):
        monkeypatch.setattr(module, "variants", lambda: ())
    assert "not built" in str(why_not(SmallCNN((16, 16, 1))))
    with pytest.raises(MetanetError, match="engine=torch"):
        load_kernel()


def test_mistakes_in_the_kernels_arguments_are_refused() -> None:
    kernel = load_kernel()
    with pytest.raises(ValueError, match="vanish"):
        kernel.Network(6, 6, 1, 3, 16, 10)
    network = kernel.Network(16, 16, 1, 3, 16, 10)
    with pytest.raises(ValueError, match="another size"):
        network.evaluate(np.zeros(3, np.float32), np.zeros((1, 16, 16, 1), np.uint8), np.zeros(1, np.int64), 0)
    weights = [torch.zeros(network.weights).numpy() for _ in range(3)]
    pixels, labels, order = np.zeros((4, 16, 16, 1), np.uint8), np.zeros(4, np.int64), np.zeros(4, np.int64)
    good = [*weights, pixels, labels, order, 2, 0, 0, 0, 0.1, 0.0, 0.0, 1]
    for position, value, says in (
        (3, pixels[:3], "do not belong together"),
        (4, labels + 10, "none of the network's classes"),
        (4, labels - 1, "none of the network's classes"),
        (5, order + 4, "names no image"),
        (6, 0, "needs an image"),
        (8, 4, "no such optimizer"),
        (9, 2, "no such activation"),
        (12, 1.0, r"dropout must lie"),
    ):
        with pytest.raises(ValueError, match=says):
            network.train(*good[:position], value, *good[position + 1 :])
    with pytest.raises(TypeError):
        network.train(np.zeros((network.weights, 2), np.float32)[:, 0], *good[1:])  # a copy would lose what was trained
    assert kernel.multiply_add_rate(0.05) > 1e9
