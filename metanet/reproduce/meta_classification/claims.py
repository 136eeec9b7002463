"""What the paper says of its meta-classifiers, checked."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import stats

from metanet.evaluation.differences import LEAST_OF_CLASS
from metanet.evaluation.intervals import margin
from metanet.probing.maps import ProbeMap
from metanet.reproduce.claim import Claim
from metanet.reproduce.study import TRAINING


def gains_of(table: pd.DataFrame) -> pd.DataFrame:
    """How much of the way from chance to certainty each target's score goes, and the standard error of that."""
    room = 1 - table["chance"]
    gain, error = (table["score"] - table["chance"]) / room, (table["high"] - table["low"]) / (2 * 1.96 * room)
    return pd.DataFrame({"gain": gain.to_numpy(), "error": error.to_numpy()}, index=pd.Index(table["target"]))


def compared(claim: str, gains: pd.DataFrame, better: str, worse: str) -> Claim:
    """Whether one target goes further from chance than another; networks are drawn for each, so errors add up in squares."""
    difference = gains.loc[better, "gain"] - gains.loc[worse, "gain"]
    half = 1.96 * np.hypot(gains.loc[better, "error"], gains.loc[worse, "error"])
    low, high = difference - half, difference + half
    words = f"{better} {gains.loc[better, 'gain']:.2f}, {worse} {gains.loc[worse, 'gain']:.2f} of the way from chance to 1"
    return Claim(claim, low, high, shown={"here": f"{words}: {difference:+.2f} ({low:+.2f} to {high:+.2f})"})


def hardest(table: pd.DataFrame, target: str) -> list[Claim]:
    """That no target goes less far from chance than this one; empty where there is none to compare."""
    gains = gains_of(table)
    if target not in gains.index or len(gains) < 2:
        return []
    easier = gains["gain"].drop(target).idxmin()
    return [compared(f"{target} is the hardest of the training hyperparameters", gains, easier, target)]


_TELLING = {  # the paper's sentence, and the parts that it names (section 5.2)
    "dataset": (
        "differences of the first convolution's filters",
        lambda r: r["part"].startswith("conv1.kernel") and "_d" in r["measure"],
    ),
    "optimizer": ("biases of the convolutions", lambda r: r["part"].startswith("conv") and r["part"].endswith("bias")),
    "activation": (
        "running means of the fully connected layers",
        lambda r: r["part"].startswith("fc") and "bn_mean" in r["part"],
    ),
}


def most_telling(table: pd.DataFrame, rounds: np.ndarray, target: str) -> Claim:
    """Whether the inputs that the paper names have larger coefficients than the others: their mean norms' ratio over rounds.

    Args:
        table, rounds: of :func:`norms_of`.
    """
    top = table.sort_values("norm", ascending=False).head(10)
    found = ", ".join(f"{r.part} {r.measure}" for r in top.head(3).itertuples())
    if target not in _TELLING:
        return Claim("", shown={"here": f"largest: {found}"})
    words, named = _TELLING[target]
    mine = table.apply(named, axis=1).to_numpy()
    if not mine.any():
        return Claim(f"most telling: {words}", shown={"here": f"these networks have none; largest: {found}"})
    ratios = rounds[:, mine].mean(1) / rounds[:, ~mine].mean(1)
    half = stats.t.ppf(0.975, len(ratios) - 1) * ratios.std(ddof=1) / np.sqrt(len(ratios)) if len(ratios) > 1 else np.inf
    low, high = ratios.mean() - half, ratios.mean() + half
    span = f"{low:.2f} to {high:.2f}" if len(ratios) > 1 else "one round, so no interval"
    share = f"{top.apply(named, axis=1).sum()} of the ten largest ({mine.mean():.0%} of the inputs)"
    here = f"{ratios.mean():.2f} times the mean norm of the others ({span}), {share}; {found}"
    return Claim(f"most telling: {words}", low, high, above=1.0, shown={"here": here})


def local_claims(table: pd.DataFrame, maps: dict[tuple[str, str], ProbeMap]) -> list[Claim]:
    """What is said of slices.

    Args:
        table: scores of slices of all weights, a row a target.
        maps: by target and part of the weights.
    """
    claims = []
    training = table[table["target"].isin(TRAINING)]
    gains = gains_of(training)
    if "w_init" in gains.index and len(gains) > 1:
        other = gains["gain"].drop("w_init").idxmax()
        claim = "initialisation is the most local of the training hyperparameters"
        claims.append(compared(claim, gains, "w_init", other))
    claims += hardest(training, "batch_size")
    if ("dataset", "conv") in maps and ("dataset", "fc") in maps:
        claim = "the data set is told better from convolutional than from fully connected weights"
        claims.append(better(claim, maps["dataset", "conv"], maps["dataset", "fc"]))
    return claims


def better(claim: str, one: ProbeMap, other: ProbeMap) -> Claim:
    """Whether one map scores higher than another of the same networks."""
    if not np.array_equal(one.strata, other.strata):
        return Claim(claim, np.nan, np.nan, shown={"here": "maps of other networks"})
    gap, without = one.score() - other.score(), one.without() - other.without()
    half = half_width(without, one)
    return Claim(claim, gap - half, gap + half, shown={"here": signed(gap, half)})


def half_width(without: np.ndarray, drawn: ProbeMap) -> float:
    """Half of the interval of a difference within a map; nan where a class has too few networks to say."""
    return float(margin(without)) if drawn.rarest >= LEAST_OF_CLASS else float("nan")


def signed(gap: float, half: float) -> str:
    """A difference with its interval in words."""
    return (
        f"{gap:+.3f} ({gap - half:+.3f} to {gap + half:+.3f})" if np.isfinite(half) else f"{gap:+.3f} (too few of a class to say)"
    )
