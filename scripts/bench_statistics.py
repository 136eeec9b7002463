"""The 56 layer statistics, vectorised, against a loop of numpy.percentile, mean and var over networks.

python scripts/bench_statistics.py            # 30,000 x 4,970
python scripts/bench_statistics.py --quick    # 6,000 x 4,970, within a minute
"""

from __future__ import annotations

import argparse
import os
import resource
import time

import numpy as np

from metanet.generation.networks import SmallCNN
from metanet.machine import describe_machine
from metanet.representations.statistics import layer_statistics


def peak_bytes() -> int:
    """Largest resident size of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def loop(weights: np.ndarray, segments: list[tuple[int, int]]) -> np.ndarray:
    """One network, one tensor at a time."""
    rows = np.empty((len(weights), 7 * len(segments)))
    for i, vector in enumerate(weights):
        values = []
        for start, stop in segments:
            part = vector[start:stop]
            values += [part.mean(), part.var(), *np.percentile(part, [0, 25, 50, 75, 100])]
        rows[i] = values
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer networks, within a minute")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    arguments = parser.parse_args()
    n = 6_000 if arguments.quick else 30_000
    layout = SmallCNN((28, 28, 1)).layout
    weights = np.empty((n, layout.size), np.float32)
    rng = np.random.default_rng(0)
    for start in range(0, n, 1000):
        weights[start : start + 1000] = rng.standard_normal((min(1000, n - start), layout.size), dtype=np.float32)
    segments = [(t.start, t.stop) for t in layout.tensors]
    layer_statistics(weights[:1000], layout, threads=arguments.threads)  # warm up
    before = peak_bytes()
    times = {}
    for threads in sorted({1, arguments.threads}):
        seconds = []
        for _ in range(3):
            began = time.perf_counter()
            fast, _ = layer_statistics(weights, layout, threads=threads)
            seconds.append(time.perf_counter() - began)
        times[threads] = float(np.median(seconds))
    extra = peak_bytes() - before
    began = time.perf_counter()
    slow = loop(weights, segments)
    slow_seconds = time.perf_counter() - began
    gap = np.abs(fast - slow).max()
    print(describe_machine(arguments.threads))
    print(f"{n:,} x {layout.size:,} float32 ({weights.nbytes / 2**20:.0f} MiB) -> {fast.shape[1]} statistics")
    print(f"{'loop of numpy.percentile, mean, var':<40}{slow_seconds:8.2f} s")
    for threads, seconds in times.items():
        print(f"{f'layer_statistics, {threads} thread(s)':<40}{seconds:8.2f} s  {slow_seconds / seconds:6.1f}x (median of 3)")
    print(f"largest difference {gap:.2g}; peak memory {1 + extra / weights.nbytes:.2f} times the matrix")
    print(f"ratio: {slow_seconds / times[arguments.threads]:.2f}")


if __name__ == "__main__":
    main()
