"""The CUDA kernel's text compiled as C++ with a loop in place of the threads: its index arithmetic against float64 torch."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from test_fused_engine import TORCH, keep_masks, padded, reference_gradient, unpadded
from torch.nn import functional

from metanet.generation.engines.fused_cuda_engine import RULE_CODES, defines, kernel_text, network_rows, shared_bytes
from metanet.generation.native import kernel_order
from metanet.generation.networks import SmallCNN

COMPILER = shutil.which("g++") or shutil.which("clang++")
pytestmark = pytest.mark.skipif(COMPILER is None, reason="no C++ compiler to compile the emulation with")

GEOMETRIES = [
    ((28, 28, 1), 3, 16, 64),
    ((32, 32, 1), 3, 16, 256),
    ((16, 16, 1), 3, 16, 32),
    ((17, 22, 3), 2, 8, 50),
    ((19, 19, 1), 1, 32, 7),
]


class Emulation:
    """One geometry, compiled."""

    def __init__(self, network: SmallCNN, threads: int, folder: Path) -> None:
        self.network = network
        library = folder / "emulated.so"
        source = folder / "kernel.cu"
        source.write_text(kernel_text())  # what CuPy hands to NVRTC
        flags = [f"-D{name}={value}" for name, value in (defines(network) | {"THREADS": threads}).items()]
        assert COMPILER is not None
        subprocess.run(
            [
                COMPILER,
                "-x",
                "c++",
                "-std=c++17",
                "-O1",
                "-shared",
                "-fPIC",
                "-DEMULATED",
                *flags,
                str(source),
                "-o",
                str(library),
            ],
            check=True,
        )
        self.library = ctypes.CDLL(str(library))
        self.library.emulated_train.restype = ctypes.c_double
        self.library.emulated_evaluate.restype = ctypes.c_double

    def train(self, weights, mean, square, pixels, labels, order, batch, first_step, row, activation) -> float:  # type: ignore[no-untyped-def]
        steps = len(order) // batch
        return self.library.emulated_train(
            *(_pointer(pixels), _pointer(labels.astype(np.int32)), _pointer(order.astype(np.int32)), steps, batch),
            *(ctypes.c_longlong(first_step), _pointer(weights), _pointer(mean), _pointer(square), _pointer(row), activation),
        )

    def evaluate(self, weights, pixels, labels, activation) -> tuple[int, float]:  # type: ignore[no-untyped-def]
        hits = ctypes.c_longlong()
        order = np.arange(len(labels), dtype=np.int32)
        loss = self.library.emulated_evaluate(
            *(_pointer(pixels), _pointer(labels.astype(np.int32)), _pointer(order), len(labels), _pointer(weights), activation),
            ctypes.byref(hits),
        )
        return hits.value, loss


_KEEP: list[np.ndarray] = []


def _pointer(array: np.ndarray) -> ctypes.c_void_p:
    _KEEP.append(array)
    return array.ctypes.data_as(ctypes.c_void_p)


@pytest.fixture(scope="module", params=GEOMETRIES, ids=str)
def emulation(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Emulation:
    shape, depth, units, threads = request.param
    return Emulation(SmallCNN(shape, num_layers=depth, num_units=units), threads, tmp_path_factory.mktemp("emulated"))


def test_it_keeps_weights_as_the_cpu_kernel_does(emulation: Emulation) -> None:
    assert emulation.library.emulated_weights() == len(kernel_order(emulation.network))
    assert emulation.library.emulated_shared_bytes() == shared_bytes(emulation.network) < 227 * 1024


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_the_gradient_is_that_of_float64_torch(emulation: Emulation, activation: str) -> None:
    """One step of SGD at rate 1 gives minus the gradient; 13 images are no multiple of a block of images."""
    network, rng = emulation.network, np.random.default_rng(0)
    start = (0.15 * rng.standard_normal(network.layout.size)).astype(np.float32)
    pixels, labels = rng.integers(0, 256, (13, *network.input_shape), dtype=np.uint8), rng.integers(0, 10, 13)
    weights, mean, square = padded(network, start), padded(network, 0 * start), padded(network, 0 * start)
    row = network_rows([1.0], [1e-3], [0.3], ["sgd"], [77])
    code = {"relu": 0, "tanh": 1}[activation]
    loss = emulation.train(weights, mean, square, pixels, labels, np.arange(13), 13, 5, row, code)
    masks = keep_masks(network, 0.3, 77, 5, 13)
    expected_loss, expected = reference_gradient(network, activation, start, pixels, labels, 1e-3, masks, 0.3)
    assert loss == pytest.approx(expected_loss, rel=1e-5)
    got = start - unpadded(network, weights)
    for spec in network.layout.tensors:
        part = slice(spec.start, spec.stop)
        np.testing.assert_allclose(got[part], expected[part], rtol=1e-3, atol=2e-4 * np.abs(expected[part]).max() + 1e-7)


@pytest.mark.parametrize("optimizer", sorted(RULE_CODES))
def test_ten_steps_end_where_torch_optim_ends(emulation: Emulation, optimizer: str) -> None:
    network, rng = emulation.network, np.random.default_rng(1)
    start = network.initial({"hp.w_init": "he_normal", "hp.init_std": 0.1, "init_seed": 3})
    pixels, labels = rng.integers(0, 256, (16, *network.input_shape), dtype=np.uint8), rng.integers(0, 10, 16)
    order = np.concatenate([rng.permutation(16) for _ in range(5)])
    rate = {"sgd": 0.05, "momentum": 0.01, "adam": 1e-3, "rmsprop": 1e-3}[optimizer]
    weights, mean, square = padded(network, start), padded(network, 0 * start), padded(network, 0 * start)
    row = network_rows([rate], [1e-3], [0.0], [optimizer], [1])
    emulation.train(weights, mean, square, pixels, labels, order[:40], 8, 0, row, 1)
    emulation.train(weights, mean, square, pixels, labels, order[40:], 8, 5, row, 1)  # an epoch a launch
    module = network.module("tanh").double()
    module.load_state_dict(network.layout.unflatten(torch.from_numpy(start).double()))
    stepper = TORCH[optimizer](list(module.parameters()), rate)
    images = torch.from_numpy(pixels).double().permute(0, 3, 1, 2) * 2 / 255 - 1
    for batch in order.reshape(10, 8):
        loss = functional.cross_entropy(module(images[batch]), torch.from_numpy(labels[batch]))
        loss = loss + 1e-3 * sum((p**2).sum() for p in module.parameters() if p.ndim > 1)
        stepper.zero_grad()
        loss.backward()
        stepper.step()
    expected = network.layout.flatten(module.state_dict())
    assert np.isclose(unpadded(network, weights), expected, rtol=1e-3, atol=1e-4).mean() > 0.999


def test_evaluation_counts_and_sums(emulation: Emulation) -> None:
    network, rng = emulation.network, np.random.default_rng(2)
    vector = network.initial({"hp.w_init": "he_normal", "hp.init_std": 0.1, "init_seed": 1})
    pixels, labels = rng.integers(0, 256, (21, *network.input_shape), dtype=np.uint8), rng.integers(0, 10, 21)
    module = network.module("relu")
    module.load_state_dict(network.layout.unflatten(torch.from_numpy(vector)))
    logits = module(torch.from_numpy(pixels).float().permute(0, 3, 1, 2) * 2 / 255 - 1).detach()
    hits, loss = emulation.evaluate(padded(network, vector), pixels, labels, 0)
    assert hits == int((logits.argmax(1).numpy() == labels).sum())
    assert loss == pytest.approx(float(functional.cross_entropy(logits, torch.from_numpy(labels), reduction="sum")), rel=1e-4)
    broken = padded(network, np.full_like(vector, np.nan))
    assert np.isnan(emulation.evaluate(broken, pixels, labels, 0)[1])
