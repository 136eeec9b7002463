"""The same engine on a CUDA device; run with ``make test-gpu``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import small_recipe

from metanet.generation.dropout import DropoutNoise
from metanet.generation.runner import generate

pytestmark = pytest.mark.gpu


@pytest.fixture(autouse=True)
def _needs_cuda() -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device here")


def test_dropout_bits_are_those_of_the_cpu() -> None:
    masks = []
    for device in ("cpu", "cuda"):
        noise = DropoutNoise(np.array([0.1, 0.5]), np.array([1, 2]), device)
        masks.append(noise.keep_mask(noise.field(3, 1, 7, 1000), noise.multipliers(3, 1), slice(0, 2)).cpu())
    assert torch.equal(*masks)


@pytest.mark.parametrize("engine", ["torch", "fused_cuda"])
def test_a_zoo_grown_there_has_the_same_metrics(tmp_path: Path, engine: str) -> None:
    if engine == "fused_cuda":
        pytest.importorskip("cupy")
    zoos = [
        generate(small_recipe(), n=12, out=tmp_path / accelerator, trainer={"accelerator": accelerator}, engine=used)
        for accelerator, used in (("cpu", "fused" if engine == "fused_cuda" else "torch"), ("gpu", engine))
    ]
    frames = [zoo.view(epoch=[0, 1]).frame for zoo in zoos]
    np.testing.assert_allclose(frames[0]["test_loss"], frames[1]["test_loss"], rtol=0.05)
    np.testing.assert_allclose(frames[0]["test_accuracy"], frames[1]["test_accuracy"], atol=0.05)
