from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import kstest, norm, truncnorm, uniform

from metanet.errors import MetanetError
from metanet.generation.initializers import INITIALIZERS, initial_weights
from metanet.zoo import Layout

LAYOUT = Layout.build([("w", "l", "kernel", (64, 32, 3, 3)), ("b", "l", "bias", (64,))])
FAN_IN, FAN_OUT = 32 * 9, 64 * 9


def kernel(name: str, std: float = 0.05, seed: int = 0) -> np.ndarray:
    return initial_weights(LAYOUT, name, std, seed)[: LAYOUT.tensors[0].stop].astype(float)


@pytest.mark.parametrize(
    ("name", "std"),
    [
        ("glorot_normal", np.sqrt(2 / (FAN_IN + FAN_OUT))),
        ("he_normal", np.sqrt(2 / FAN_IN)),
        ("normal", 0.05),
        # Keras does not correct TruncatedNormal for what the cut takes away.
        ("truncated_normal", 0.05 * truncnorm(-2, 2).std()),
    ],
)
def test_the_standard_deviation_is_keras(name: str, std: float) -> None:
    assert kernel(name).std() == pytest.approx(std, rel=0.02)


@pytest.mark.parametrize("name", ["glorot_normal", "he_normal", "truncated_normal"])
def test_truncated_initialisers_follow_the_truncated_normal(name: str) -> None:
    values = kernel(name)
    scale = 0.05 if name == "truncated_normal" else values.std() / truncnorm(-2, 2).std()
    assert kstest(values[:5000] / scale, truncnorm(-2, 2).cdf).pvalue > 1e-3


def test_orthogonal_rows() -> None:
    rows = kernel("orthogonal").reshape(64, -1)
    np.testing.assert_allclose(rows @ rows.T, np.eye(64), atol=1e-5)


@pytest.mark.parametrize("name", sorted(INITIALIZERS))
def test_biases_are_zero_and_the_seed_decides(name: str) -> None:
    assert not initial_weights(LAYOUT, name, 0.1, 1)[-64:].any()
    assert np.array_equal(kernel(name, seed=1), kernel(name, seed=1))
    assert (name == "constant") == np.array_equal(kernel(name, seed=1), kernel(name, seed=2))


def test_an_unknown_initialiser_is_named() -> None:
    with pytest.raises(MetanetError, match="did you mean 'he_normal'"):
        initial_weights(LAYOUT, "he_norml", 0.1, 0)


def test_glorot_uniform_and_the_constant() -> None:
    values = kernel("glorot_uniform")
    bound = np.sqrt(6 / (FAN_IN + FAN_OUT))
    assert kstest(values[:5000] / bound, uniform(-1, 2).cdf).pvalue > 1e-3
    assert np.abs(values).max() <= bound
    assert set(kernel("constant")) == {float(np.float32(0.1))}


def test_normalisation_begins_as_the_identity() -> None:
    kinds = ("kernel", "bias", "bn_shift", "bn_scale", "bn_mean", "bn_var")
    layout = Layout.build([(kind, "l", kind, (3, 2) if kind == "kernel" else (3,)) for kind in kinds])
    vector = initial_weights(layout, "constant", 1.0, 0)
    parts = {t.kind: vector[t.start : t.stop].mean() for t in layout.tensors}
    assert {k: round(float(v), 6) for k, v in parts.items()} == {
        **{"kernel": 0.1, "bias": 0, "bn_shift": 0, "bn_scale": 1, "bn_mean": 0, "bn_var": 1}
    }


def test_from_one_seed_truncated_normals_differ_by_scale_alone() -> None:
    draws = [kernel(name, std, seed=42) for name, std in (("glorot_normal", 1.0), ("he_normal", 1.0), ("truncated_normal", 0.3))]
    correlations = np.corrcoef(draws)
    np.testing.assert_allclose(correlations, 1.0, atol=1e-6)
    assert abs(np.corrcoef(draws[0], kernel("glorot_normal", seed=43))[0, 1]) < 0.03


def test_from_one_seed_orthogonal_is_the_qr_factor_of_normal() -> None:
    normal, orthogonal = (kernel(name, 1.0, seed=42).reshape(64, -1) for name in ("normal", "orthogonal"))
    q, r = np.linalg.qr(normal.T)
    np.testing.assert_allclose(orthogonal, (q * np.sign(np.diag(r))).T, atol=1e-4)


def test_the_scales_of_batch_normalisation_spread_about_one() -> None:
    layout = Layout.build([("w", "l", "kernel", (4, 3)), ("s", "l", "bn_scale", (5000,)), ("v", "l", "bn_var", (7,))])
    vector = initial_weights(layout, "he_normal", 1.0, 3, bn_scale_std=0.002)
    assert kstest((vector[12:5012].astype(float) - 1) / 0.002, norm.cdf).pvalue > 1e-3
    assert set(vector[5012:]) == {1.0}
    assert np.array_equal(vector[:12], initial_weights(layout, "he_normal", 1.0, 3)[:12])  # the kernels do not notice
