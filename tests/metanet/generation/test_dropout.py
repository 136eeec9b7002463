from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest

from metanet.generation.dropout import DropoutNoise, mix

RATES = np.array([0.0, 0.1, 0.35, 0.7])
N = 200_000


def masks(step: int = 3, layer: int = 1, start: int = 0, count: int = N, seeds: tuple[int, ...] = (5, 6, 7, 8)) -> np.ndarray:
    noise = DropoutNoise(RATES, np.array(seeds))
    field = noise.field(step, layer, start, count)
    return noise.keep_mask(field, noise.multipliers(step, layer), slice(0, 4)).numpy()


def test_the_tensors_agree_with_integer_arithmetic_in_numpy() -> None:
    """The same counters in uint32 numpy: hash of position, odd multiplier, threshold on the high 31 bits."""
    golden = np.uint32(0x9E3779B9)
    with np.errstate(over="ignore"):
        key = mix(mix(np.array([3], np.uint32) + golden) + np.uint32(1))
        field = mix(np.arange(1000, dtype=np.uint32) ^ key)
        odd = mix(mix(np.array([5, 6, 7, 8], np.uint32)) ^ (mix(np.array([3], np.uint32)) + golden * np.uint32(2))) | np.uint32(1)
        product = (field * odd[:, None]).view(np.int32) >> 1
    keep = product >= (-(2**30) + np.round(RATES * 2**31)).astype(np.int64)[:, None]
    assert np.array_equal(masks(count=1000) != 0, keep)


def test_bits_are_all_ones_or_all_zeros() -> None:
    assert set(np.unique(masks(count=1000))) == {0, -1}


@pytest.mark.parametrize("k", range(4))
def test_the_rate_is_kept(k: int) -> None:
    dropped = int((masks()[k] == 0).sum())
    if RATES[k] == 0:
        assert dropped == 0
    else:
        assert binomtest(dropped, N, RATES[k]).pvalue > 1e-4


def test_networks_steps_layers_and_neighbours_are_independent() -> None:
    base = masks() != 0
    others = {
        "step": masks(step=4) != 0,
        "layer": masks(layer=2) != 0,
        "seed": masks(seeds=(15, 16, 17, 18)) != 0,
        "neighbour": np.roll(base, 1, axis=1),
        "image": np.roll(base, 144, axis=1),
    }
    for name, other in others.items():
        for k in range(1, 4):
            assert abs(np.corrcoef(base[k], other[k])[0, 1]) < 5 / np.sqrt(N), (name, k)
    for a in range(1, 4):
        for b in range(a + 1, 4):
            assert abs(np.corrcoef(base[a], base[b])[0, 1]) < 5 / np.sqrt(N), (a, b)


def test_tiles_of_images_and_networks_see_the_same_bits() -> None:
    whole = masks(count=1000)
    assert np.array_equal(masks(start=400, count=600), whole[:, 400:])
    noise = DropoutNoise(RATES, np.array([5, 6, 7, 8]))
    part = noise.keep_mask(noise.field(3, 1, 0, 1000), noise.multipliers(3, 1), slice(2, 4))
    assert np.array_equal(part.numpy(), whole[2:])
    alone = DropoutNoise(RATES[2:3], np.array([7]))
    own = alone.keep_mask(alone.field(3, 1, 0, 1000), alone.multipliers(3, 1), slice(0, 1))
    assert np.array_equal(own.numpy()[0], whole[2])


def test_mix_is_a_bijection_on_a_sample() -> None:
    assert len(np.unique(mix(np.arange(1 << 20, dtype=np.uint32)))) == 1 << 20


def test_from_one_seed_a_higher_rate_drops_what_a_lower_drops() -> None:
    kept = masks(seeds=(42, 42, 42, 42), count=5000) != 0
    for low, high in ((0, 1), (1, 2), (2, 3)):
        assert not (kept[high] & ~kept[low]).any()
        assert (kept[low] & ~kept[high]).any()
