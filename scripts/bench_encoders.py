"""Encoders beside neural functional networks of other authors: same zoo, same split, one core each.

python scripts/bench_encoders.py zoos/mnist_mini zoos/fashion_mnist_mini --out zoos/bench_encoders     # --splits 5 --peers

Two tables: 50 epochs each, and 300 seconds of the processor each. The peers (``pip install -e '.[bench]'``, then ``--peers``)
are the layers of Zhou et al. 2023 as published; ours have their defaults but for the number of epochs. All read the last
snapshot of each network; the validation part, a fifth of the training half, chooses the epoch, and no model is fitted on it.
Rates are training networks per second of one core, validation left out. Fits lie below ``--out``, so that an interrupted
bench goes on.
"""

from __future__ import annotations

import argparse
import os
import resource
import time
from pathlib import Path

OURS = ("stat_net", "deepsets", "nf_invariant", "gnn", "graph_transformer", "dmc_global_mini")
PEERS = ("nfn_hnp", "nfn_np")
EPOCHS, SECONDS = 50, 300.0
BUDGETS = (f"{EPOCHS} epochs", f"{SECONDS:.0f} s")
TARGET = "test_accuracy"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("zoos", nargs="+")
    parser.add_argument("--out", required=True, help="folder of the fits")
    parser.add_argument("--splits", type=int, default=1)
    parser.add_argument("--models", nargs="*", default=OURS)
    parser.add_argument("--peers", action="store_true", help="train the peers too")
    parser.add_argument("--budgets", nargs="*", default=BUDGETS, choices=BUDGETS)
    parser.add_argument("--report", action="store_true", help="only what was fitted before")
    arguments = parser.parse_args()
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[variable] = "1"

    import torch

    from metanet.machine import describe_machine

    torch.set_num_threads(1)
    out = Path(arguments.out)
    out.mkdir(parents=True, exist_ok=True)
    if not arguments.report:
        for split in range(arguments.splits):
            for zoo in arguments.zoos:
                for name in (*(PEERS if arguments.peers else ()), *arguments.models):
                    for budget in arguments.budgets:
                        _fit(Path(zoo), name, split, budget, out)
    print(describe_machine(1))
    for budget in arguments.budgets:
        _report(arguments.zoos, budget, arguments.splits, out)
    print(f"peak memory of this process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10:,.0f} MiB")


def _parts(zoo: Path, split: int):  # type: ignore[no-untyped-def]
    from metanet import open_zoo
    from metanet.zoo.split import split_networks

    view = open_zoo(zoo).view()
    drawn = split_networks(view.network_ids.tolist(), test=0.5, validation=0.2, seed=split)
    return [view.part(drawn, part) for part in ("train", "validation", "test")]


def _file(out: Path, zoo: Path, name: str, split: int, budget: str) -> Path:
    words = "" if name in PEERS else "-" + budget.replace(" ", "")
    return out / f"{zoo.name}-{name}-{split}{words}.npz"


def _fit(zoo: Path, name: str, split: int, budget: str, out: Path) -> None:
    """One fit, kept as curves (peers) or as its predictions."""
    import numpy as np

    path = _file(out, zoo, name, split, budget)
    if path.exists():
        return
    train, validation, test = _parts(zoo, split)
    facts = {"true": test.target(TARGET), "ids": test.network_ids.astype(str), "networks": len(train)}
    if name in PEERS:
        from nfn_peers import Peer

        peer = Peer(name)
        peer.fit(train, validation, test, TARGET, EPOCHS, SECONDS)
        seconds, losses, predicted = zip(*peer.curve, strict=True)
        np.savez(path, seconds=seconds, loss=losses, test=np.stack(predicted), **facts)
        return
    epochs = EPOCHS
    if budget != BUDGETS[0]:
        with np.load(_file(out, zoo, name, split, BUDGETS[0])) as first:
            epochs = max(1, int(SECONDS * float(first["rate"]) / len(train)))
    model, seconds = _train(name, train, validation, epochs)
    rate = len(train) * epochs / seconds
    np.savez(path, test=model.predict(test), seconds=seconds, epochs=epochs, rate=rate, **facts)
    print(f"{zoo.name} {name} split {split}: {epochs} epochs in {seconds:.0f} s", flush=True)


def _train(name: str, train, validation, epochs: int):  # type: ignore[no-untyped-def]
    from metanet import create_model
    from metanet.models.base import constructor_arguments
    from metanet.models.registry import model_class

    known = constructor_arguments(model_class(name))
    settings = {"max_epochs" if "max_epochs" in known else "epochs": epochs} | ({"refit": False} if "refit" in known else {})
    model = create_model(name, **settings, threads=1)
    began = time.process_time()
    model.fit(train, TARGET, validation if model.chooses else None)
    return model, time.process_time() - began


def _predictions(out: Path, zoo: Path, name: str, split: int, budget: str):  # type: ignore[no-untyped-def]
    """Test predictions within a budget, the epoch, and training networks per second; None where there is no such fit."""
    import numpy as np

    path = _file(out, zoo, name, split, budget)
    if not path.exists():
        return None
    with np.load(path) as found:
        if name not in PEERS:
            return found["true"], found["test"], int(found["epochs"]), float(found["rate"])
        seconds, losses = found["seconds"], found["loss"]
        within = np.flatnonzero(seconds <= SECONDS) if budget != BUDGETS[0] else np.arange(min(EPOCHS, len(seconds)))
        within = within if len(within) else np.array([0])
        chosen = int(within[losses[within].argmin()])
        networks = int(found["networks"])
        return found["true"], found["test"][chosen], int(within[-1]) + 1, networks * len(seconds) / float(seconds[-1])


def _report(zoos: list[str], budget: str, splits: int, out: Path) -> None:
    """Means over splits, and the paired difference of each of ours to the better peer over all test networks."""
    import numpy as np

    from metanet.evaluation.metrics import r2, tau
    from metanet.reproduce.encoders import paired_interval

    print(f"\n{budget} each")
    print(f"{'zoo':20} {'model':18} {'fits':>4} {'epochs':>6} {'R2':>7} {'tau':>6} {'networks/s':>10}   R2, tau - nfn_hnp (95 %)")
    for zoo in map(Path, zoos):
        for name in (*PEERS, *OURS):
            found = [_predictions(out, zoo, name, s, budget) for s in range(splits)]
            own = [f for f in found if f is not None]
            if not own:
                print(f"{zoo.name:20} {name:18} not measured")
                continue
            scores = np.array([[r2(t, p), tau(t, p), rate, epochs] for t, p, epochs, rate in own])
            words = ""
            if name not in PEERS:
                frames = [_frame(out, zoo, n, s, budget) for s in range(splits) for n in (name, "nfn_hnp")]
                pairs = [(a, b) for a, b in zip(frames[::2], frames[1::2], strict=True) if a is not None and b is not None]
                if pairs:
                    spans = [paired_interval(pairs, of, 200) for of in (r2, tau)]
                    words = ", ".join(f"{low:+.3f} to {high:+.3f}" for low, high in spans)
            mean = scores.mean(0)
            print(
                f"{zoo.name:20} {name:18} {len(own):4} {mean[3]:6.0f} {mean[0]:7.4f} {mean[1]:6.4f} {mean[2]:10,.0f}   {words}",
                flush=True,
            )


def _frame(out: Path, zoo: Path, name: str, split: int, budget: str):  # type: ignore[no-untyped-def]
    """Test predictions as the paired interval takes them, None where there are none."""
    import numpy as np
    import pandas as pd

    found = _predictions(out, zoo, name, split, budget)
    if found is None:
        return None
    with np.load(_file(out, zoo, name, split, budget)) as stored:
        return pd.DataFrame({"network_id": stored["ids"], "true": found[0], "predicted": found[1]})


if __name__ == "__main__":
    main()
