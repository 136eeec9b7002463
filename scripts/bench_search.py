"""The search's speed: GBM configurations of the paper's space, three folds, 1,000 networks x 56 statistics.

python scripts/bench_search.py                # 100 configurations
python scripts/bench_search.py --quick        # 20

Grows 1,000 networks on digits first (seconds). Prints the share of the workers' time that is not spent within LightGBM, and
what 1,000 configurations would take at this rate; and the memory that the largest trees need on 15,000 x 4,970 inputs.
"""

from __future__ import annotations

import argparse
import os
import resource
import tempfile
from pathlib import Path

N_NETWORKS = 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="20 configurations, and no measurement of memory")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)), help="processes of one thread each")
    parser.add_argument("--memory", action="store_true", help=argparse.SUPPRESS)  # the part that runs in a process of its own
    arguments = parser.parse_args()
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[variable] = "1"
    if arguments.memory:
        print(f"{_peak_of_large_trees() / 2**30:.2f}")
        return

    from metanet.cli.compose import compose
    from metanet.evaluation.search import Rows, Search, SearchPlan, Subject
    from metanet.generation.recipes import create_recipe
    from metanet.generation.runner import generate
    from metanet.launching.launcher import Launcher
    from metanet.machine import describe_machine

    print(describe_machine(1))
    configurations = 20 if arguments.quick else 100
    with tempfile.TemporaryDirectory() as folder:
        recipe = create_recipe(**compose("quickstart", {})["recipe"])
        zoo = generate(recipe, n=2 * N_NETWORKS, out=Path(folder) / "zoo", workers=arguments.workers)
        assert zoo is not None
        train, test = zoo.view().split(test=0.5, seed=0)
        plan, launcher = SearchPlan(n=configurations), Launcher("local", arguments.workers)
        warm = SearchPlan(n=arguments.workers, space={"max_trees": 5})  # workers begin and import outside the measurement
        rows = Rows(train, train, test)
        subject = Subject("gbm", {}, "stats")
        Search(subject, rows, warm, Path(folder) / "warm", {}, launcher).run_and_score(None)
        search = Search(subject, rows, plan, Path(folder) / "search", {}, launcher)
        result = search.run_and_score(None)
    seconds, share = search.seconds, search.busy_seconds / (search.seconds * arguments.workers)
    shape = f"{len(train)} networks x 56 inputs"
    print(f"{configurations} GBM configurations x 3 folds, {shape}, {arguments.workers} workers: {seconds:.1f} s")
    print(f"outside LightGBM: {1 - share:.1%} of the workers' time")
    print(f"1,000 configurations at this rate: {seconds / configurations * 1000 / 60:.1f} minutes")
    print(f"best R2: {result.metrics['r2_cv']:.3f} in cross-validation, {result.metrics['r2']:.3f} on the test part")
    if not arguments.quick:
        import subprocess
        import sys

        answer = subprocess.run([sys.executable, __file__, "--memory"], capture_output=True, text=True, check=True)
        print(
            f"15,000 x 4,970 inputs, depth 15, 10,000 leaves, 255 bins, a trial's three folds: peak {answer.stdout.strip()} GiB"
        )


def _peak_of_large_trees() -> int:
    """Peak resident bytes of a process that runs one trial of the largest trees on random inputs."""
    import numpy as np

    from metanet.evaluation.search.trials import Material, run_trial
    from metanet.models.target import Target

    rng = np.random.default_rng(0)
    x = rng.standard_normal((15_000, 4970), np.float32)
    y, folds = rng.random(15_000), np.arange(15_000) % 3
    material = Material("gbm", {}, Target("test_accuracy", "share"), x, y, folds, x, y, folds, "memory")
    largest = {"max_depth": 15, "num_leaves": 10_000, "max_bin": 255, "colsample_bytree": 0.1, "reg_lambda": 0.0, "max_trees": 3}
    run_trial(material, 0, 0, largest, None)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    main()
