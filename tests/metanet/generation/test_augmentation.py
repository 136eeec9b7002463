"""Augmentation: each image by its own draw, and by the amounts that the paper gives."""

from __future__ import annotations

import colorsys
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.ndimage import affine_transform

from metanet.cli.main import main
from metanet.errors import MetanetError
from metanet.generation import augmentation
from metanet.generation.augmentation import augment

NONE = {"SHIFT": 0.0, "ROTATION": 0.0, "SHEAR": 0.0, "ZOOM": {"paper": 0.0}, "BRIGHTNESS": 0.0, "CONTRAST": (1.0, 1.0),
        "HUE": 0.0, "SATURATION": (1.0, 1.0), "NOISE": 0.0}  # fmt: skip


@pytest.fixture
def only(monkeypatch: pytest.MonkeyPatch):
    """Switch everything off but some amounts."""

    def switch(**amounts: object) -> None:
        for name, value in (NONE | amounts).items():
            monkeypatch.setattr(augmentation, name, value)

    return switch


def images(count: int = 6, channels: int = 3) -> torch.Tensor:
    return torch.rand(count, channels, 16, 16, generator=torch.Generator().manual_seed(0)) * 0.6 + 0.2


def run(x: torch.Tensor, seed: int = 1) -> torch.Tensor:
    return augment(x, torch.Generator().manual_seed(seed))


def test_nothing_leaves_images_as_they_are(only) -> None:
    only()
    torch.testing.assert_close(run(images()), images(), atol=1e-5, rtol=0)


def test_the_same_draw_gives_the_same_and_every_image_its_own() -> None:
    x = images(1).expand(5, -1, -1, -1)
    y = run(x)
    assert torch.equal(y, run(x))
    assert not torch.equal(y, run(x, seed=2))
    assert all(not torch.allclose(y[i], y[j]) for i in range(5) for j in range(i))
    assert y.min() >= 0
    assert y.max() <= 1
    assert augment(images(3, 1), torch.Generator()).shape == (3, 1, 16, 16)


@pytest.mark.parametrize("degrees", [15.0, -10.0])
def test_rotation_is_about_the_centre_by_degrees(only, monkeypatch: pytest.MonkeyPatch, degrees: float) -> None:
    only(ROTATION=degrees)
    monkeypatch.setattr(torch, "rand", lambda *shape, generator: torch.ones(*shape))  # the upper end
    y = run(images(1))[0].numpy()
    angle = np.radians(degrees)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])  # output -> input, (row, column)
    for sign in (1, -1):
        matrix = turn if sign == 1 else turn.T
        offset = np.array([7.5, 7.5]) - matrix @ np.array([7.5, 7.5])
        expected = np.stack([affine_transform(c, matrix, offset, order=1, mode="nearest") for c in images(1)[0].numpy()])
        inner = np.abs(y - expected)[:, 4:12, 4:12].max()
        if inner < 1e-4:
            return
    pytest.fail("neither direction of the rotation fits")


def test_shift_is_in_pixels_and_black_comes_in(only, monkeypatch: pytest.MonkeyPatch) -> None:
    only(SHIFT=3.0)
    monkeypatch.setattr(torch, "rand", lambda *shape, generator: torch.ones(*shape))
    y, x = run(images(1)), images(1)
    torch.testing.assert_close(y[..., 3:, 3:], x[..., :-3, :-3], atol=1e-5, rtol=0)
    assert y[..., :3, :].abs().max() < 1e-5
    assert y[..., :3].abs().max() < 1e-5


def test_the_amounts_are_those_of_the_paper() -> None:
    """Supplement A.1."""
    names = ("SHIFT", "ROTATION", "SHEAR", "BRIGHTNESS", "CONTRAST", "HUE", "SATURATION", "NOISE")
    assert [getattr(augmentation, name) for name in names] == [3, 15, 3, 0.2, (0.5, 1.5), 0.08, (0.3, 1.5), 0.03]


def test_light_changes_before_colour(only, monkeypatch: pytest.MonkeyPatch) -> None:
    """Brightness, contrast, hue, saturation, as the authors' code has them; the colours by colorsys."""
    only(BRIGHTNESS=0.2, CONTRAST=(0.5, 1.5), HUE=0.08, SATURATION=(0.3, 1.5))
    monkeypatch.setattr(torch, "rand", lambda *shape, generator: torch.ones(*shape))
    x = images(1)
    y, lit = run(x), x + 0.2
    lit = ((lit - lit.mean()) * 1.5 + lit.mean()).clamp(0, 1)
    for row, column in ((0, 0), (5, 9), (15, 3)):
        h, s, v = colorsys.rgb_to_hsv(*lit[0, :, row, column].tolist())
        expected = colorsys.hsv_to_rgb((h + 0.08) % 1.0, min(s * 1.5, 1.0), v)
        np.testing.assert_allclose(y[0, :, row, column].numpy(), expected, atol=1e-4)


def test_zoom_is_by_3_3_percent_or_10(only, monkeypatch: pytest.MonkeyPatch) -> None:
    assert augmentation.ZOOM == {"paper": 0.033, "code": 0.1}
    ramp = torch.linspace(0.2, 0.8, 16).expand(1, 3, 16, 16)
    for zoom, amount in (("paper", 0.033), ("code", 0.1)):
        only(ZOOM={zoom: amount})
        monkeypatch.setattr(torch, "rand", lambda *shape, generator: torch.ones(*shape))
        y = augment(ramp, torch.Generator(), zoom)
        slope = (y[0, 0, 8, 10] - y[0, 0, 8, 5]) / (ramp[0, 0, 8, 10] - ramp[0, 0, 8, 5])
        assert float(slope) == pytest.approx(1 / (1 + amount), rel=1e-3)


def test_an_unknown_zoom_is_named() -> None:
    with pytest.raises(MetanetError, match="zoom=papers: give paper or code"):
        augment(images(), torch.Generator(), "papers")


def test_colours_move_as_in_hsv(only, monkeypatch: pytest.MonkeyPatch) -> None:
    only(HUE=0.08, SATURATION=(1.0, 1.2))
    monkeypatch.setattr(torch, "rand", lambda *shape, generator: torch.ones(*shape))
    x = images(1)
    y = run(x)
    for row, column in ((0, 0), (5, 9), (15, 3)):
        h, s, v = colorsys.rgb_to_hsv(*x[0, :, row, column].tolist())
        expected = colorsys.hsv_to_rgb((h + 0.08) % 1.0, min(s * 1.2, 1.0), v)
        np.testing.assert_allclose(y[0, :, row, column].numpy(), expected, atol=1e-4)


def test_contrast_is_about_the_images_mean_and_brightness_is_added(only, monkeypatch: pytest.MonkeyPatch) -> None:
    only(BRIGHTNESS=0.1, CONTRAST=(0.5, 1.5))
    monkeypatch.setattr(torch, "rand", lambda *shape, generator: torch.ones(*shape))
    x = images(2) * 0.3 + 0.3
    brighter = x + 0.1
    mean = brighter.mean((1, 2, 3), keepdim=True)
    torch.testing.assert_close(run(x), 1.5 * (brighter - mean) + mean, atol=1e-5, rtol=0)


def test_noise_has_a_spread_of_its_own_in_every_image(only) -> None:
    only(NOISE=0.03)
    x = torch.full((200, 3, 16, 16), 0.5)
    spread = (run(x) - x).std((1, 2, 3))
    assert float(spread.max()) < 0.033
    assert float(spread.min()) < 0.002
    assert float(spread.mean()) == pytest.approx(0.015, abs=0.002)


def test_without_kornia_nothing_is_grown_and_the_way_out_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "kornia", None)
    words = ["generate", "recipe=nws_fixed_mini", "data=digits", "n=2", f"out={tmp_path / 'zoo'}"]
    assert main(words) == 2
    assert not (tmp_path / "zoo").exists()
    with pytest.raises(MetanetError, match=r"metanet-weights\[nws\]"):
        augment(torch.zeros(1, 3, 8, 8), torch.Generator())
