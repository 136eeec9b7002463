"""How often intervals hold and tables err, in worlds where the truth is known.

python scripts/simulate_intervals.py                    # --worlds 2000 --seed 0

Tables: rows that are equal in truth (ridge regressions, each on noisy features of its own that are drawn alike), on splits into
halves of the networks and seeds that fit four fifths of a training half. An error is any row told apart from the best. Beside it
stands what 95 % intervals of one pair each would do there, and how often one pair named in advance is told apart.
Coverage: of intervals of scores, and of differences of two models of equal error.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd

from metanet.evaluation.differences import Scored, beside_best, difference, paired_interval
from metanet.evaluation.intervals import score_interval
from metanet.evaluation.resampling import Resamples
from metanet.machine import describe_machine
from metanet.metrics import r2, tau
from metanet.runs.records import Answers

FEATURES, NOISE, COMMON, RIDGE = 6, 1.2, 0.8, 5.0
Sample = tuple[np.ndarray, np.ndarray]


# ------------------------------------------------------------------------------------------------ tables


def rows_of(
    rng: np.random.Generator, rows: int, networks: int, splits: int, seeds: int, worse: float = 0.0
) -> list[list[Answers]]:
    """What each row's runs answered on their test halves.

    Args:
        worse: how much noisier the features of the last row are, as a share; 0 makes all rows equal in truth.
    """
    truth, common = rng.standard_normal((2, networks))  # errors that all rows have in common
    noise = np.full(rows, NOISE)
    noise[-1] *= 1 + worse
    own = rng.standard_normal((rows, networks, FEATURES)) * noise[:, None, None]
    features = truth[:, None] + COMMON * common[:, None] + own
    answers: list[list[Answers]] = [[] for _ in range(rows)]
    for _ in range(splits):
        train, test = np.split(rng.permutation(networks), 2)
        test.sort()
        for row in range(rows):
            for _ in range(seeds):
                fitted = rng.choice(train, int(0.8 * len(train)), replace=False)
                predicted = _ridge(features[row][fitted], truth[fitted], features[row][test])
                answers[row].append(Answers(test, truth[test], predicted))
    return answers


def _ridge(x: np.ndarray, y: np.ndarray, new: np.ndarray) -> np.ndarray:
    middle, level = x.mean(0), y.mean()
    centred = x - middle
    slopes = np.linalg.solve(centred.T @ centred + RIDGE * np.eye(x.shape[1]), centred.T @ (y - level))
    return level + (new - middle) @ slopes


def table_errors(
    worlds: int, rows: int, networks: int, splits: int, seeds: int, seed: int = 0, worse: float = 0.0
) -> dict[str, float]:
    """Shares of tables in which something was told apart.

    Returns:
        ``table``: any row from the best, by the table's intervals; ``each``: the same by one pair's interval for each row;
        ``pair``: the first two rows, by one pair's interval; ``last``: the last row from the best, by the table's intervals.
    """
    rng = np.random.default_rng([seed, rows, networks, splits, seeds])
    found = np.zeros((worlds, 4), bool)
    for world in range(worlds):
        answers = rows_of(rng, rows, networks, splits, seeds, worse)
        resamples = Resamples(np.arange(networks))
        scored = [Scored.of(own, "r2", resamples) for own in answers]
        best = int(np.argmax([np.mean(list(row.points.values())) for row in scored]))
        together = [d.low > 0 for d in beside_best(scored, best)]
        each = [difference(scored[best], row).low > 0 for row in scored]
        pair = difference(scored[0], scored[1])
        found[world] = any(together), any(each), pair.low > 0 or pair.high < 0, together[-1]
    return dict(zip(("table", "each", "pair", "last"), found.mean(0).tolist(), strict=True))


# ------------------------------------------------------------------------------------------------ coverage


def _normal(rng: np.random.Generator, count: int) -> Sample:
    true = rng.standard_normal(count)
    return true, true + 0.33 * rng.standard_normal((2, count))


def _two_modes(rng: np.random.Generator, count: int) -> Sample:
    """Three in ten networks failed; they are told well."""
    failed = rng.random(count) < 0.3
    true = np.where(failed, 0.1 + 0.01 * rng.standard_normal(count), rng.beta(6, 2, count))
    return true, true + np.where(failed, 0.02, 0.08) * rng.standard_normal((2, count))


def _heavy_tails(rng: np.random.Generator, count: int) -> Sample:
    """Errors by Student's t of five degrees of freedom."""
    true = rng.standard_normal(count)
    return true, true + 0.25 * rng.standard_t(5, (2, count))


def _weak(rng: np.random.Generator, count: int) -> Sample:
    true = rng.standard_normal(count)
    return true, 0.5 * true + 0.5 * rng.standard_normal((2, count))


def _blunders(rng: np.random.Generator, count: int) -> Sample:
    """As two modes, but one network in 25 is taken for any that learned."""
    true, predicted = _two_modes(rng, count)
    return true, np.where(rng.random((2, count)) < 0.04, rng.beta(6, 2, (2, count)), predicted)


# Each draws what is true and what two models of equal error predict.
POPULATIONS: dict[str, Callable[[np.random.Generator, int], Sample]] = {
    "normal": _normal,
    "two modes": _two_modes,
    "heavy tails": _heavy_tails,
    "weak": _weak,
    "rare blunders": _blunders,
}

# Test networks of each class, and the share of each that is told rightly.
CLASSES = {
    "even": ((70, 60, 58), (0.5, 0.4, 0.6)),
    "rare and easily told": ((30, 28, 2, 1), (0.99,) * 4),
    "rare and easily told, others not": ((79, 60, 45, 2), (0.7, 0.8, 0.6, 0.99)),
    "rare and hard": ((80, 60, 3), (0.8, 0.8, 0.05)),
    "rare and guessed": ((30, 28, 2, 1), (0.25,) * 4),
    "few and easily told": ((20,) * 4, (0.97,) * 4),
    "one class": ((100,), (0.95,)),
}


def number_coverage(worlds: int, population: str, networks: int, seed: int = 0) -> dict[str, float]:
    """How often the intervals of R2, of tau, and of the difference of R2 of two models of equal error hold the truth."""
    draw, rng, ids = POPULATIONS[population], np.random.default_rng([seed, networks]), np.arange(networks)
    true, predicted = draw(rng, 500_000)
    truth = {"r2": r2(true, predicted[0]), "tau": tau(true[:200_000], predicted[0, :200_000]), "r2 - r2": 0.0}
    hits = np.zeros(3)
    for _ in range(worlds):
        true, predicted = draw(rng, networks)
        one, other = (Answers(ids, true, own) for own in predicted)
        spans = score_interval([one], "r2"), score_interval([one], "tau"), paired_interval([(one, other)], "r2")[:2]
        hits += [low <= value <= high for (low, high), value in zip(spans, truth.values(), strict=True)]
    return dict(zip(truth, (hits / worlds).tolist(), strict=True))


def share_coverage(worlds: int, classes: str, slices: int = 1, seed: int = 0) -> dict[str, float]:
    """How often the intervals of accuracy and balanced accuracy hold the truth, and how often the latter lies above it.

    Args:
        slices: rows of each network, whose shares of right ones differ as Beta(2, 2) does about its class's.
    """
    counts, shares = (np.array(values) for values in CLASSES[classes])
    rng = np.random.default_rng([seed, slices, *counts])
    kinds = np.repeat(np.arange(len(counts)), counts)
    truth = float(shares[kinds].mean()), float(shares.mean())
    ids, names = np.repeat(np.arange(len(kinds)), slices), np.repeat(kinds, slices).astype(str).astype(object)
    hits, above = np.zeros(2), 0
    for _ in range(worlds):
        chances = shares[kinds] if slices == 1 else rng.beta(4 * shares[kinds], 4 * (1 - shares[kinds]))
        right = rng.random(len(ids)) < np.repeat(chances, slices)
        answers = Answers(ids, names, np.where(right, names, "none"))
        spans = [score_interval([answers], measure) for measure in ("accuracy", "balanced_accuracy")]
        hits += [low - 1e-9 <= value <= high + 1e-9 for (low, high), value in zip(spans, truth, strict=True)]
        above += spans[1][0] > truth[1] + 1e-9
    return {"accuracy": hits[0] / worlds, "balanced accuracy": hits[1] / worlds, "all above the truth": above / worlds}


# ------------------------------------------------------------------------------------------------ all of it

TABLES = [(rows, networks, *runs) for networks in (400, 2000) for runs in ((1, 1), (1, 3), (5, 1), (5, 3)) for rows in (2, 5, 10)]
POWER = [(rows, 400, *runs) for runs in ((1, 1), (5, 3)) for rows in (2, 5, 10)]


def _tables(worlds: int, seed: int) -> Iterator[dict[str, object]]:
    for rows, networks, splits, seeds in TABLES:
        if networks == 400 or (rows, splits, seeds) in ((5, 1, 1), (5, 5, 3)):
            rates = table_errors(worlds, rows, networks, splits, seeds, seed)
            runs = {"networks": networks, "rows": rows, "splits x seeds": f"{splits} x {seeds}"}
            yield runs | {
                "any row, for the whole table": rates["table"],
                "any row, by each pair's 95 %": rates["each"],
                "one pair named in advance": rates["pair"],
            }


def _power(worlds: int, seed: int) -> Iterator[dict[str, object]]:
    for rows, networks, splits, seeds in POWER:
        rates = table_errors(worlds, rows, networks, splits, seeds, seed, worse=0.5)
        yield {"networks": networks, "rows": rows, "splits x seeds": f"{splits} x {seeds}", "told apart": rates["last"]}


def _numbers(worlds: int, seed: int) -> Iterator[dict[str, object]]:
    for population in POPULATIONS:
        for networks in (50, 100, 200, 500):
            yield {"predictions": population, "networks": networks} | number_coverage(worlds, population, networks, seed)


def _shares(worlds: int, seed: int) -> Iterator[dict[str, object]]:
    for classes, (counts, _) in CLASSES.items():
        for slices in (1, 20):
            named = {"classes": classes, "networks": " ".join(map(str, counts)), "slices": slices}
            yield named | share_coverage(worlds, classes, slices, seed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worlds", type=int, default=2000, help="of each row")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    began = time.process_time()
    print(f"{arguments.worlds} worlds a row: the standard error of .05 is {np.sqrt(0.05 * 0.95 / arguments.worlds):.4f}\n")
    for title, rows in (
        ("Equal rows: shares of tables in which some row is told apart from the best", _tables),
        ("Ten rows or fewer, of which the last has features half as noisy again: how often it is told apart", _power),
        ("Coverage of 95 % intervals of numbers (rare blunders: a sample that has none cannot know of them)", _numbers),
        ("Coverage of 95 % intervals of shares, one slice or twenty a network", _shares),
    ):
        table = pd.DataFrame(rows(arguments.worlds, arguments.seed))
        print(f"{title}\n{table.to_string(index=False, float_format='{:.3f}'.format)}\n", flush=True)
    print(f"{time.process_time() - began:.0f} CPU seconds; {describe_machine(1)}")


if __name__ == "__main__":
    main()
