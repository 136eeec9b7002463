from __future__ import annotations

import platform
import subprocess
import sys

import pytest

CODE = """
import resource, torch
from metanet.generation.memory import keep_freed_memory
from metanet.generation.networks import SmallCNN
torch.set_num_threads(1)
assert keep_freed_memory()
network = SmallCNN((28, 28, 1))
weights, prepared = torch.randn(6, 4970) * 0.1, network.prepare(torch.randn(64, 28, 28, 1))
def step():
    tile = weights.detach().requires_grad_()
    torch.autograd.grad(network.logits(tile, prepared, "relu").square().sum(), tile)
for _ in range(12):
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc's malloc takes the option")
def test_passes_do_not_fault_their_memory_in_again() -> None:
    """Page faults of twenty passes, counted by the kernel; each takes and frees about 8,000 pages."""
    faults = int(subprocess.check_output([sys.executable, "-c", CODE], text=True))
    assert faults < 20 * 8000 / 20
