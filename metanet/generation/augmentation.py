"""Random transformations of training images, one draw for each image, a whole batch at once (Eilertsen et al. 2020, A.1).

Shift by up to 3 pixels, rotation by up to 15 degrees, zoom by up to 3.3 % (the paper) or 10 % (its code), shear by up to 3
degrees; what comes in from beyond the border is black. Then, in the order of the authors' code, brightness +-.2, contrast .5 to
1.5 about the image's mean, hue +-.08 of the circle, saturation times .3 to 1.5, and Gaussian noise whose standard deviation is
drawn up to .03; clipped to [0, 1] before the colours, which are defined there alone, and at the end. Where their code draws
colours once a batch, here every image has its own. The pixels are moved and coloured by Kornia, on the images' own device. The
numbers come from a generator on the CPU, so that every device draws the same.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from metanet.errors import MetanetError

SHIFT, ROTATION, SHEAR = 3.0, 15.0, 3.0  # pixels, degrees, degrees
ZOOM = {"paper": 0.033, "code": 0.1}
BRIGHTNESS, CONTRAST, HUE, SATURATION, NOISE = 0.2, (0.5, 1.5), 0.08, (0.3, 1.5), 0.03


def augment(images: Tensor, generator: torch.Generator, zoom: str = "paper") -> Tensor:
    """Images (B, C, H, W) in [0, 1] -> the same shape, each moved and coloured by its own draw.

    Args:
        images: of one or three channels; hue and saturation leave grey images as they are.
        generator: on the CPU.
        zoom: ``paper`` or ``code``.

    Raises:
        MetanetError: ``zoom`` is no word of :data:`ZOOM`; Kornia is not installed.
    """
    if zoom not in ZOOM:
        raise MetanetError(f"recipe.zoom={zoom}: give {' or '.join(ZOOM)}")
    enhance, transform = kornia()
    count, channels, height, width = images.shape

    def draw(low: float, high: float, *shape: int) -> Tensor:
        return (torch.rand(count, *shape, generator=generator) * (high - low) + low).to(images)

    shift = draw(-SHIFT, SHIFT, 2)
    angle = draw(-ROTATION, ROTATION)
    scale = draw(1 - ZOOM[zoom], 1 + ZOOM[zoom])
    shear = draw(-math.tan(math.radians(SHEAR)), math.tan(math.radians(SHEAR)), 2)
    hue, saturation = draw(-HUE, HUE) * 2 * math.pi, draw(*SATURATION)
    brightness, contrast = draw(-BRIGHTNESS, BRIGHTNESS, 1, 1, 1), draw(*CONTRAST, 1, 1, 1)
    noise = draw(0.0, NOISE, 1, 1, 1) * torch.randn(images.shape, generator=generator).to(images)

    centre = images.new_tensor([(width - 1) / 2, (height - 1) / 2]).expand(count, 2)
    affine = transform.get_affine_matrix2d(shift, centre, scale[:, None].expand(count, 2), angle, shear[:, 0], shear[:, 1])
    moved = transform.warp_affine(images, affine[:, :2], (height, width), padding_mode="zeros") + brightness
    mean = moved.mean((1, 2, 3), keepdim=True)
    lit = ((moved - mean) * contrast + mean).clamp(0, 1)
    if channels == 3:
        lit = enhance.adjust_saturation(enhance.adjust_hue(lit, hue), saturation)
    return (lit + noise).clamp(0, 1)


def kornia() -> tuple[Any, Any]:
    """Kornia's colours and geometry, which only augmentation needs.

    Raises:
        MetanetError: it is not installed.
    """
    try:
        from kornia import enhance
        from kornia.geometry import transform
    except ImportError:
        raise MetanetError(
            "augmentation needs Kornia: pip install 'metanet-weights[nws]', or give recipe.hyperparameters.augmentation=false"
        ) from None
    return enhance, transform
