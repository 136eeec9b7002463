"""Deep meta-classifiers and probe maps: drawing slices beside a training step, and a whole map.

python scripts/bench_probe.py zoos/nws_main_mini            # a zoo of the neural weight space; --quick for a tenth of the map

Slices of 5,000 weights are drawn for batches of 64 from all snapshots of the zoo, after every snapshot was read once and
checked. A training step is forward, backward and Adam. The map asks an untrained dmc_local_mini, whose time is that of a
trained one.
"""

from __future__ import annotations

import argparse
import os
import resource
import time

BATCH = 64


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("zoo")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--length", type=int, default=5_000, help="values of a slice")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2)
    arguments = parser.parse_args()
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[variable] = str(arguments.threads)

    import numpy as np
    import torch

    from metanet import open_zoo
    from metanet.data_modules.slices import SliceBatches, Slices
    from metanet.machine import describe_machine
    from metanet.models.dmc import LOCAL, DMCNetwork

    torch.set_num_threads(arguments.threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    print(describe_machine(arguments.threads))
    view = open_zoo(arguments.zoo).view(epoch="all")
    lengths = view.zoo.snapshots["length"]
    print(f"{len(view)} snapshots of {lengths.min():,} to {lengths.max():,} values")

    batches = SliceBatches(Slices(view, arguments.length), np.zeros(len(view), np.int64), BATCH)
    began = time.perf_counter()
    for _ in batches:
        pass
    first = time.perf_counter() - began
    before = _own_memory()
    drawn = {}
    for permute in (False, True):
        batches = SliceBatches(Slices(view, arguments.length), np.zeros(len(view), np.int64), BATCH, permute=permute)
        times = []
        for _ in range(200):
            began = time.perf_counter()
            batches.draw(batches.rng.integers(0, len(view), BATCH))
            times.append(time.perf_counter() - began)
        drawn[permute] = float(np.median(times))
    print(
        f"a batch of {BATCH} slices of {arguments.length:,}: {1e3 * drawn[False]:.2f} ms, of networks with permuted neurons "
        f"{1e3 * drawn[True]:.2f} ms; the first epoch, every snapshot checked: {first:.1f} s"
    )
    print(
        f"memory of the process's own (beside the mapped files): {before / 2**20:.0f} MiB, after: {_own_memory() / 2**20:.0f} MiB"
    )

    for divide in (1, 8):
        network = DMCNetwork(LOCAL, arguments.length, 4, divide, squash=True).to(device)
        optimizer = torch.optim.Adam(network.parameters())
        values, labels = (
            torch.randn(BATCH, 1, arguments.length, device=device),
            torch.zeros(BATCH, dtype=torch.long, device=device),
        )
        best = float("inf")
        for _ in range(4):
            began = time.perf_counter()
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(network(values), labels).backward()
            optimizer.step()
            if device.type == "cuda":
                torch.cuda.synchronize()
            best = min(best, time.perf_counter() - began)
        name = "dmc_local" if divide == 1 else "dmc_local_mini"
        rates = (
            f"{BATCH / best:,.0f} slices/s (the paper's on a GTX 1080 Ti: about 1,100)"
            if divide == 1
            else f"{BATCH / best:,.0f} slices/s"
        )
        print(
            f"a training step of {name} on {device.type}: {1e3 * best:.0f} ms, {rates}; drawing takes "
            f"{drawn[False] / best:.1%} of it, {drawn[True] / best:.1%} with permuted neurons"
        )
    whole_map(view, 8 if arguments.quick else 80, arguments.length, arguments.threads)
    print(f"peak memory of all of this, mapped files too: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB")


def whole_map(view, networks: int, length: int, threads: int) -> None:
    """A map of 100 positions and all snapshots."""
    import numpy as np

    from metanet.models import create_model
    from metanet.probing.maps import probe_map

    ids = np.unique(view.network_ids)
    train = view.of_networks(ids[-20:])
    model = create_model("dmc_local_mini", slice=length, epochs=1, threads=threads, balance="none").fit(train, "hp.optimizer")
    drawn = probe_map(model, view.of_networks(ids[:networks]), positions=100)
    facts = drawn.facts
    print(
        f"a map of {facts['networks']} networks x {facts['snapshots']} snapshots x 100 slices of {facts['slice']:,}: "
        f"{facts['seconds']:.0f} s, {facts['slices_per_second']:,.0f} slices/s, {facts['share_outside_forward']:.1%} outside the "
        "meta-model's forward passes"
    )


def _own_memory() -> int:
    """Bytes of the process that are no mapped files; Linux only."""
    with open("/proc/self/status") as status:
        return next(1024 * int(line.split()[1]) for line in status if line.startswith("RssAnon"))


if __name__ == "__main__":
    main()
