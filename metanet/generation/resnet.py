"""Small residual networks that can overfit: an architecture that predictors trained on small CNNs never saw.

They stand where Unterthiner et al. 2020 (section 5.2, Table 4) use ResNet-32 of three widths: skip connections, batch
normalisation, and more weights than their few images need.
"""

from __future__ import annotations

from torch import Tensor, nn


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with batch normalisation, added to their input (a 1x1 convolution where its shape changes)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        same = stride == 1 and inputs == outputs
        self.skip = nn.Identity() if same else nn.Conv2d(inputs, outputs, 1, stride, bias=False)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, outputs, H / stride, W / stride)."""
        hidden = self.relu(self.norm1(self.conv1(x)))
        return self.relu(self.norm2(self.conv2(hidden)) + self.skip(x))


class ResNetMini(nn.Sequential):
    """A convolution, three stages of residual blocks, global average pooling, dropout, and a dense layer.

    Args:
        channels: of the images.
        units: filters of the first stage; the second and third have two and four times as many at half the size each.
        blocks: of each stage; 2 + 6 * blocks layers with weights, shortcuts not counted.
        classes: number of logits.
        dropout: before the dense layer.
    """

    def __init__(self, channels: int, units: int, blocks: int, classes: int, dropout: float) -> None:
        super().__init__()
        self.add_module("conv", nn.Conv2d(channels, units, 3, 2, padding=1, bias=False))
        self.add_module("norm", nn.BatchNorm2d(units))
        self.add_module("relu", nn.ReLU())
        width = units
        for stage in range(3):
            for block in range(blocks):
                outputs, stride = units * 2**stage, 2 if stage > 0 and block == 0 else 1
                self.add_module(f"block{stage + 1}_{block + 1}", ResidualBlock(width, outputs, stride))
                width = outputs
        self.add_module("pool", nn.AdaptiveAvgPool2d(1))
        self.add_module("flatten", nn.Flatten())
        self.add_module("dropout", nn.Dropout(dropout))
        self.add_module("dense", nn.Linear(width, classes))
