"""Fit the rational function with which the fused engine computes tanh, and print it as C++.

tanh(x) / x is fitted as P(u) / Q(u) with u = x^2, least squares of the relative error on Chebyshev points
of [0, 9], reweighted until the linearised problem agrees with the true one.

    python scripts/fit_tanh.py > metanet/generation/native/tanh_coefficients.inc
"""

from __future__ import annotations

import sys

import numpy as np

NUMERATOR, DENOMINATOR, END = 4, 4, 9.0


def fit(points: int = 4000) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients of P and Q, lowest power of u first; Q(0) = 1."""
    x = END * (1 - np.cos(np.pi * (np.arange(points) + 0.5) / points)) / 2
    u, target = x**2, np.tanh(x) / x
    scaled = u / END**2
    weight, denominator = np.ones(points), np.ones(points)
    for _ in range(200):
        powers = scaled[:, None] ** np.arange(max(NUMERATOR, DENOMINATOR) + 1)
        columns = np.hstack([powers[:, : NUMERATOR + 1], -target[:, None] * powers[:, 1 : DENOMINATOR + 1]])
        factor = (weight / (target * denominator))[:, None]
        solution = np.linalg.lstsq(columns * factor, (target[:, None] * factor)[:, 0], rcond=None)[0]
        p, q = solution[: NUMERATOR + 1], np.append(1.0, solution[NUMERATOR + 1 :])
        denominator = powers[:, : DENOMINATOR + 1] @ q
        error = np.abs(powers[:, : NUMERATOR + 1] @ p / denominator / target - 1)
        weight = weight * (0.5 + error / error.mean())  # Lawson: towards the smallest largest error
        weight /= weight.mean()
    scale_p, scale_q = END ** (2 * np.arange(NUMERATOR + 1)), END ** (2 * np.arange(DENOMINATOR + 1))
    print(f"largest relative error {error.max():.2e}", file=sys.stderr)
    return p / scale_p, q / scale_q


def main() -> None:
    print("// Made by scripts/fit_tanh.py.")
    for name, coefficients in zip("pq", fit(), strict=True):
        for i, value in enumerate(coefficients[::-1]):
            start = f"F {name} = F{{}} + " if i == 0 else f"{name} = {name} * u + "
            print(f"{start}{value:.9g}f;" if "." in f"{value:.9g}" or "e" in f"{value:.9g}" else f"{start}{value:.1f}f;")


if __name__ == "__main__":
    main()
