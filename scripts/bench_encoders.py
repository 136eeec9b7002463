"""Encoders beside neural functional networks of other authors: same zoo, same split, one core each.

python scripts/bench_encoders.py zoos/mnist_mini zoos/fashion_mnist_mini --out zoos/bench_encoders     # --splits 5 --peers
python scripts/bench_encoders.py zoos/mnist_mini zoos/nws_main_mini --rates     # of training steps

Two tables: 50 epochs each, and 300 seconds of the processor each. The peers (``pip install -e '.[bench]'``, then ``--peers``)
are the layers of Zhou et al. 2023 as published; ours have their defaults but for the number of epochs. All read the last
snapshot of each network; the validation part, a fifth of the training half, chooses the epoch, and no model is fitted on it.
Rates are training networks per second of one core; ours count what goes before and the validation of each epoch too. Fits
lie below ``--out``, so that an interrupted bench goes on.
"""

from __future__ import annotations

import argparse
import os
import resource
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

OURS = ("stat_net", "deepsets", "nf_invariant", "gnn", "graph_transformer", "dmc_global_mini")
PEERS = ("nfn_hnp", "nfn_np")
EPOCHS, SECONDS = 50, 300.0
BUDGETS = (f"{EPOCHS} epochs", f"{SECONDS:.0f} s")
TARGET = "test_accuracy"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("zoos", nargs="+")
    parser.add_argument("--out", help="folder of the fits")
    parser.add_argument("--rates", action="store_true", help="time training steps instead, in an idle machine")
    parser.add_argument("--threads", type=int, default=1, help="of --rates")
    parser.add_argument("--seconds", type=float, default=10, help="of each measurement of --rates")
    parser.add_argument("--splits", type=int, default=1)
    parser.add_argument("--models", nargs="*", default=OURS)
    parser.add_argument("--peers", nargs="*", choices=PEERS, help="train these peers too; without a name both")
    parser.add_argument("--budgets", nargs="*", default=BUDGETS, choices=BUDGETS)
    parser.add_argument("--report", action="store_true", help="only what was fitted before")
    arguments = parser.parse_args()
    peers = () if arguments.peers is None else arguments.peers or PEERS
    if not (arguments.rates or arguments.out):
        parser.error("give --out FOLDER for the fits, or --rates")
    threads = arguments.threads if arguments.rates else 1
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[variable] = str(threads)

    import torch

    from metanet.machine import describe_machine

    torch.set_num_threads(threads)
    if arguments.rates:
        print(describe_machine(threads))
        _rates([Path(z) for z in arguments.zoos], arguments.seconds, peers)
        return
    out = Path(arguments.out)
    out.mkdir(parents=True, exist_ok=True)
    if not arguments.report:
        for split in range(arguments.splits):
            for zoo in arguments.zoos:
                for name in (*peers, *arguments.models):
                    for budget in arguments.budgets:
                        _fit(Path(zoo), name, split, budget, out)
    print(describe_machine(1))
    for budget in arguments.budgets:
        _report(arguments.zoos, budget, arguments.splits, out, dict.fromkeys((*PEERS, *OURS, *arguments.models)))
    print(f"peak memory of this process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10:,.0f} MiB")


def _rates(zoos: list[Path], seconds: float, peers: Sequence[str]) -> None:
    """Training steps (forward, backward, AdamW) of the defaults on batches of 512 snapshots, the reading of weights included.

    Of a zoo of one architecture a batch is dense, of a mixed one it holds as many parts as architectures. Every model's first
    rate is on the first zoo; its ratio is that of weights per second. Each is measured in a process of its own, whose peak
    memory is printed.
    """
    from metanet import list_models
    from metanet.models.encoder import Encoder
    from metanet.models.registry import model_class

    print(f"{'model':18} {'zoo':20} {'batch':>5} {'networks/s':>10} {'Mweights/s':>10}  {'of the first':>12} {'peak MiB':>9}")
    encoders = [n for n in list_models() if issubclass(model_class(n), Encoder)]
    jobs = [(name, zoo) for name in encoders for zoo in zoos] + [(name, zoos[0]) for name in peers]
    first: dict[str, float] = {}
    for name, zoo in jobs:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            batch, rate, weights, peak = pool.submit(_measured, name, zoo, seconds).result()
        share = weights / first.setdefault(name, weights)
        row = f"{name:18} {zoo.name:20} {batch:5} {rate:10,.0f} {weights / 1e6:10.1f}  {share:12.2f} {peak:9,.0f}"
        print(row, flush=True)


def _measured(name: str, zoo: Path, seconds: float) -> tuple[int, float, float, float]:
    """Batch size, networks and weights a second of training steps, and this process's peak memory in MiB."""
    import numpy as np
    import torch

    from metanet import create_model, open_zoo
    from metanet.models.encoder import Encoder

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    view = open_zoo(zoo).view(epoch="all")
    view = view.take(np.random.default_rng(0).permutation(len(view))[:512])
    if name in PEERS:
        from nfn_peers import BATCH, training_steps

        batch, steps = BATCH, training_steps(name, view)
    else:
        model = create_model(name)
        assert isinstance(model, Encoder)
        batch, steps = model.batch_size, _training_steps(model, view)
    rate = _rate(steps, seconds)
    weights = float(view.zoo.snapshots["length"].to_numpy()[view.rows].mean()) * rate
    return batch, rate, weights, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def _rate(steps: Iterator[int], seconds: float) -> float:
    """Networks per second of training steps; the first three, which build what is built once, are not counted."""
    for _ in range(3):
        next(steps)
    done, began = 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        done += next(steps)
    return done / (time.perf_counter() - began)


def _training_steps(model, view) -> Iterator[int]:  # type: ignore[no-untyped-def]
    """Steps of an encoder without an end: how many networks each held."""
    import torch

    from metanet.models.target import Target

    model.prepare(view, [TARGET])
    model.targets = [Target.of(view, TARGET)]
    batches = model.batches(view, seed=0)
    network = model.create_heads().train()
    optimizer = model.create_optimizer(network)
    while True:
        for batch in batches:
            loss = torch.nn.functional.binary_cross_entropy_with_logits(network(batch)[0][:, 0], batch.codes[TARGET])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            yield len(batch)


def _parts(zoo: Path, split: int):  # type: ignore[no-untyped-def]
    from metanet import open_zoo

    view = open_zoo(zoo).view()
    drawn = view.draw_split(test=0.5, validation=0.2, seed=split)
    return [view.part(drawn, part) for part in ("train", "validation", "test")]


def _file(out: Path, zoo: Path, name: str, split: int, budget: str) -> Path:
    words = "" if name in PEERS else "-" + budget.replace(" ", "")
    return out / f"{zoo.name}-{name}-{split}{words}.npz"


def _fit(zoo: Path, name: str, split: int, budget: str, out: Path) -> None:
    """One fit, kept as curves (peers) or as its predictions."""
    import numpy as np

    path = _file(out, zoo, name, split, budget)
    if _predictions(out, zoo, name, split, budget) is not None:
        return
    train, validation, test = _parts(zoo, split)
    facts = {"true": test.target(TARGET), "ids": test.network_ids.astype(str), "networks": len(train)}
    if name in PEERS:
        from nfn_peers import Peer

        peer = Peer(name)
        peer.fit(train, validation, test, TARGET, EPOCHS, None if budget == BUDGETS[0] else SECONDS)
        seconds, losses, predicted = zip(*peer.curve, strict=True)
        np.savez(path, seconds=seconds, loss=losses, test=np.stack(predicted), **facts)
        return
    epochs = EPOCHS
    if budget != BUDGETS[0]:
        _fit(zoo, name, split, BUDGETS[0], out)
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
        if budget != BUDGETS[0] and seconds[-1] < SECONDS:  # fitted for the other budget alone
            return None
        within = np.flatnonzero(seconds <= SECONDS) if budget != BUDGETS[0] else np.arange(min(EPOCHS, len(seconds)))
        within = within if len(within) else np.array([0])
        chosen = int(within[losses[within].argmin()])
        networks = int(found["networks"])
        return found["true"], found["test"][chosen], int(within[-1]) + 1, networks * len(seconds) / float(seconds[-1])


def _report(zoos: list[str], budget: str, splits: int, out: Path, names) -> None:  # type: ignore[no-untyped-def]
    """Means over splits, and the paired difference of each of ours to nfn_hnp, the better peer, over the splits of both."""
    import numpy as np

    from metanet.evaluation.differences import paired_interval
    from metanet.metrics import r2, tau

    print(f"\n{budget} each")
    print(f"{'zoo':20} {'model':18} {'fits':>4} {'epochs':>6} {'R2':>7} {'tau':>6} {'networks/s':>10}   R2, tau - nfn_hnp (95 %)")
    for zoo in map(Path, zoos):
        for name in names:
            found = [_predictions(out, zoo, name, s, budget) for s in range(splits)]
            own = [f for f in found if f is not None]
            if not own:
                print(f"{zoo.name:20} {name:18} not measured")
                continue
            scores = np.array([[r2(t, p), tau(t, p), rate, epochs] for t, p, epochs, rate in own])
            words = ""
            if name not in PEERS:
                answers = [_answers(out, zoo, n, s, budget) for s in range(splits) for n in (name, "nfn_hnp")]
                pairs = [(a, b) for a, b in zip(answers[::2], answers[1::2], strict=True) if a is not None and b is not None]
                if pairs:
                    words = "; ".join(paired_interval(pairs, measure).words for measure in ("r2", "tau"))
            mean = scores.mean(0)
            print(
                f"{zoo.name:20} {name:18} {len(own):4} {mean[3]:6.0f} {mean[0]:7.4f} {mean[1]:6.4f} {mean[2]:10,.0f}   {words}",
                flush=True,
            )


def _answers(out: Path, zoo: Path, name: str, split: int, budget: str):  # type: ignore[no-untyped-def]
    """What a model answered on its test networks, None where there are none."""
    import numpy as np

    from metanet.runs.records import Answers

    found = _predictions(out, zoo, name, split, budget)
    if found is None:
        return None
    with np.load(_file(out, zoo, name, split, budget)) as stored:
        return Answers(stored["ids"], found[0], found[1])


if __name__ == "__main__":
    main()
