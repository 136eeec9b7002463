"""The fused engine on a CUDA device: one network a thread block, an epoch a launch (kernel.cu, compiled at run time)."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from metanet.errors import MetanetError
from metanet.generation import native
from metanet.generation.engines import Engine
from metanet.generation.engines.fused_engine import ACTIVATION_CODES, RULE_CODES, EpochOrders, float32_alone
from metanet.generation.group import GroupModule
from metanet.generation.native import MOST_CLASSES, kernel_order
from metanet.generation.networks import SmallCNN
from metanet.generation.plan import Plan

THREADS = 256
FIRST_LAYER_PARTS = 8
GROUP = 2048
# Half of the 227 KiB that a multiprocessor of an H100 or H200 has for blocks: two blocks hide each other's barriers.
SHARED_BYTES_GOAL = 113 * 1024


def images_together(network: SmallCNN) -> int:
    """Images that go through a layer at once: as many as leave room for two blocks a multiprocessor."""
    return next((n for n in (8, 4, 2) if shared_bytes(network, n) <= SHARED_BYTES_GOAL), 1)


def shared_bytes(network: SmallCNN, images: int | None = None) -> int:
    """Shared memory of a block, as block.cuh lays it out."""
    images = images_together(network) if images is None else images
    height, width, channels = network.input_shape
    inputs = -(-height * width * channels // 4) * 4
    activations = images * (inputs + sum(network.units) + 2 * network.num_units + 2 * MOST_CLASSES)
    scratch = FIRST_LAYER_PARTS * 9 * channels * network.num_units
    return 4 * (2 * len(kernel_order(network)) + activations + scratch + 2 * images)


def defines(network: SmallCNN) -> dict[str, int]:
    """The geometry as kernel.cu takes it."""
    height, width, channels = network.input_shape
    return {
        "HEIGHT": height,
        "WIDTH": width,
        "CIN": channels,
        "C": network.num_units,
        "DEPTH": network.num_layers,
        "CLASSES": network.classes,
        "IMAGES": images_together(network),
        "THREADS": THREADS,
        "SCRATCH": FIRST_LAYER_PARTS,
    }


def network_rows(
    rates: Sequence[float], l2regs: Sequence[float], dropouts: Sequence[float], rules: Sequence[str], seeds: Sequence[int]
) -> np.ndarray:
    """Hyperparameters as block.cuh's ``Row``, one a network."""
    kind = np.dtype([("rate", "f4"), ("l2reg", "f4"), ("scale", "f4"), ("threshold", "u4"), ("rule", "i4"), ("seed", "u4")])
    rows = np.zeros(len(rates), kind)
    dropout = np.asarray(dropouts, np.float64)
    rows["rate"], rows["l2reg"], rows["scale"] = rates, l2regs, 1 / (1 - dropout)
    rows["threshold"] = np.minimum(65535, np.round(dropout * 65536))
    rows["rule"], rows["seed"] = [RULE_CODES[name] for name in rules], np.asarray(seeds, np.uint64).astype(np.uint32)
    return rows


def why_not_cuda(network: object) -> str | None:
    """Why the kernel cannot train a network here; None where it can."""
    if not torch.cuda.is_available():
        return "there is no CUDA device"
    if not isinstance(network, SmallCNN) or (network.kernel, network.stride) != (3, 2):
        return "it trains the networks of recipe=small_cnn only"
    if network.num_units % 4 or network.classes > MOST_CLASSES:
        return f"it needs a width that is a multiple of 4 and at most {MOST_CLASSES} classes"
    try:
        import cupy
    except ImportError:
        return "it needs CuPy: pip install 'metanet-weights[cuda]'"
    limit = cupy.cuda.Device().attributes["MaxSharedMemoryPerBlockOptin"]
    if shared_bytes(network) > limit:
        return f"a network needs {shared_bytes(network):,} bytes of shared memory, a block of this GPU has {limit:,}"
    return None


def kernel_text() -> str:
    """``kernel.cu``, each file in place of the line that includes it: CuPy keeps what it compiled by the text it is given."""
    folder = Path(str(native.__file__)).parent
    lines = (folder / "kernel.cu").read_text().splitlines(keepends=True)
    return "".join((folder / line.split('"')[1]).read_text() if line.startswith('#include "') else line for line in lines)


@functools.cache
def _compiled(geometry: tuple[tuple[str, int], ...]) -> Any:
    import cupy

    options = ("--std=c++17", *(f"-D{name}={value}" for name, value in geometry))
    return cupy.RawModule(code=kernel_text(), options=options, backend="nvrtc")


class FusedCudaEngine(Engine):
    """One small CNN a thread block of a GPU, which has a few hundred blocks at once."""

    name = "fused_cuda"
    measured_networks = 512

    def refusal(self, plan: Plan, trainer: dict[str, Any]) -> str | None:
        if (asked := trainer.get("accelerator", "auto")) not in ("auto", "gpu", "cuda"):
            return f"it runs on a CUDA device, not on trainer.accelerator={asked}"
        return float32_alone(trainer) or plan.first_reason(why_not_cuda)

    def group(self, plan: Plan, rows: pd.DataFrame, threads: int, *shared: Any) -> CudaGroup:
        return CudaGroup(plan.network(rows, SmallCNN), *shared)

    def group_size(self, work: float) -> int:
        return GROUP


class CudaGroup(GroupModule):
    """K small CNNs on one GPU; see :class:`metanet.generation.group.GroupModule` for the rest.

    Args:
        network: the architecture.

    Raises:
        MetanetError: the kernel cannot train the network here.
    """

    def __init__(self, network: SmallCNN, table: pd.DataFrame, *arguments: Any, **settings: Any) -> None:
        super().__init__(table, *arguments, **settings)
        if (reason := why_not_cuda(network)) is not None:
            raise MetanetError(f"the fused CUDA engine cannot train this network: {reason}")
        self.network = network
        order = kernel_order(network)
        self._kept = np.flatnonzero(order >= 0)
        self._positions = order[self._kept]
        start = np.zeros((len(table), len(order)), np.float32)
        start[:, self._kept] = np.stack([network.initial(row) for row in table.to_dict("records")])[:, self._positions]
        self._start = torch.from_numpy(start)
        (activation,) = table["hp.activation"].unique()
        self._activation = np.int32(ACTIVATION_CODES[activation])
        rates, l2regs, dropouts, rules = (table[f"hp.{n}"].tolist() for n in ("learning_rate", "l2reg", "dropout", "optimizer"))
        rows = network_rows(rates, l2regs, dropouts, rules, table["dropout_seed"].tolist())
        self._rows = torch.from_numpy(rows.view(np.uint8).copy())

    def configure_optimizers(self) -> None:
        """None: the kernel steps."""

    def train_dataloader(self) -> EpochOrders:
        return EpochOrders(self)

    def on_train_start(self) -> None:
        import cupy

        module = _compiled(tuple(defines(self.network).items()))
        self._shared = shared_bytes(self.network)
        self._train, self._evaluate = (module.get_function(name) for name in ("train", "evaluate"))
        for function in (self._train, self._evaluate):
            function.max_dynamic_shared_size_bytes = self._shared
        self._cupy = cupy
        self.weights = self._start.to(self.device)
        self._mean, self._square = torch.zeros_like(self.weights), torch.zeros_like(self.weights)
        self._rows = self._rows.to(self.device)
        self._losses = torch.zeros(len(self.table), dtype=torch.float64, device=self.device)
        self._labels = {id(labels): labels.int() for labels in (self.data.train_labels, self.data.test_labels)}
        super().on_train_start()

    def training_step(self, order: Tensor, batch_idx: int) -> Tensor:
        """One epoch of every network; returns the epoch's mean losses, shape (K,)."""
        batch = self.data.batches.batch_size
        steps = len(order) // batch
        images, labels = self.data.train_images, self._labels[id(self.data.train_labels)]
        self._launch(
            self._train,
            *(images, labels, order.int(), np.int32(steps), np.int32(batch), np.int64(self.steps)),
            *(self.weights, self._mean, self._square, self._rows, self._activation, self._losses),
        )
        self.steps += steps
        return self._losses / steps

    def vectors(self) -> np.ndarray:
        vectors = np.empty((len(self.table), self.network.layout.size), np.float32)
        vectors[:, self._positions] = self.weights.cpu().numpy()[:, self._kept]
        return vectors

    def finite(self) -> np.ndarray:
        return (torch.isfinite(self.weights).all(1) & torch.isfinite(self._losses)).cpu().numpy()

    def evaluate(self, images: Tensor, labels: Tensor) -> tuple[np.ndarray, np.ndarray]:
        order = torch.arange(len(labels), dtype=torch.int32, device=self.device)
        hits = torch.zeros(len(self.table), dtype=torch.int64, device=self.device)
        losses = torch.zeros(len(self.table), dtype=torch.float64, device=self.device)
        self._launch(
            self._evaluate,
            *(images, self._labels[id(labels)], order, np.int32(len(labels)), self.weights, self._activation, hits, losses),
        )
        return hits.cpu().numpy() / len(labels), losses.cpu().numpy() / len(labels)

    def forget(self, rows: np.ndarray) -> None:
        broken = torch.from_numpy(rows).to(self.device)
        for tensor in (self.weights, self._mean, self._square):
            tensor[broken] = 0.0

    def _launch(self, function: Any, *arguments: Any) -> None:
        """A block a network, on torch's stream."""
        kept = list(self._contiguous(arguments))
        pointers = [self._cupy.uint64(a.data_ptr()) if isinstance(a, Tensor) else a for a in kept]
        with self._cupy.cuda.ExternalStream(torch.cuda.current_stream().cuda_stream):
            function((len(self.table),), (THREADS,), tuple(pointers), shared_mem=self._shared)
        torch.cuda.current_stream().synchronize()

    @staticmethod
    def _contiguous(arguments: Sequence[Any]) -> Iterator[Any]:
        for argument in arguments:
            yield argument.contiguous() if isinstance(argument, Tensor) else argument
