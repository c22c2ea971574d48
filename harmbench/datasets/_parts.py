"""From the pixels of a source to `Splits`, the steps that data sets share.

    Part            pixels and targets
    carve           a stratified share of a part, apart from the rest
    in_three        60 / 20 / 20, for sources without a split of their own
    standardized    three parts -> Splits, by the training part's mean and deviation
    in_unit_range   three parts -> Splits, between 0 and 1

Pixels stay whole numbers until the last step. The statistics come from counts of values, so they are exact, and
the same whatever the number of threads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

from harmbench._torch import torch
from harmbench.datasets._base import Splits, stratified_share
from harmbench.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

Scaling = Literal["standard", "unit"]  # mean 0 and deviation 1 in each channel, or from 0 to 1
SPLIT_SEED = 20_250  # fixes every split that is ours; changing it changes every result


class Part(NamedTuple):
    """Images of one purpose: pixels uint8 (M, C, H, W) and class indices int64 (M,)."""

    pixels: Tensor
    targets: Tensor

    def where(self, mask: Tensor) -> Part:
        """The images that a boolean mask (M,) selects, in their order."""
        return Part(self.pixels[mask], self.targets[mask])


def carve(part: Part, share: float) -> tuple[Part, Part]:
    """The rest, and a stratified share of a part.

    >>> import torch
    >>> part = Part(torch.zeros(20, 1, 2, 2, dtype=torch.uint8), torch.tensor([0, 1] * 10))
    >>> [len(piece.targets) for piece in carve(part, 0.2)]
    [16, 4]
    """
    carved = torch.zeros(len(part.targets), dtype=torch.bool)
    carved[stratified_share(part.targets, share, SPLIT_SEED)] = True
    return part.where(~carved), part.where(carved)


def in_three(part: Part) -> tuple[Part, Part, Part]:
    """Train, validation and test: 60, 20 and 20 % of each class."""
    rest, test = carve(part, 0.2)
    train, validation = carve(rest, 0.25)
    return train, validation, test


def standardized(train: Part, validation: Part, test: Part, num_classes: int, source: str) -> Splits:
    """Splits whose training part has mean 0 and deviation 1 in each channel. The other parts are scaled by the same
    statistics.

    Args:
        train: the part that the statistics are computed from.
        validation: scaled by them.
        test: scaled by them.
        num_classes: number of classes of the data set.
        source: name of the data set for error messages.

    Raises:
        UsageError: if a channel is constant, so that it has no scale.
    """
    mean, deviation = channel_statistics(train.pixels)
    if not deviation.all():
        channel = int((deviation == 0).nonzero()[0])
        raise UsageError(f"{source}: channel {channel} has the same value in every pixel of every training image")

    def scaled(part: Part) -> tuple[Tensor, Tensor]:
        pixels = part.pixels.float().sub_(mean[:, None, None])
        return pixels.div_(deviation[:, None, None]), part.targets.long()

    return Splits(*scaled(train), *scaled(validation), *scaled(test), num_classes)


def in_unit_range(train: Part, validation: Part, test: Part, num_classes: int, brightest: int) -> Splits:
    """Splits of pixels from 0 to 1. The background stays 0.

    >>> import torch
    >>> part = Part(torch.tensor([[[[0, 16]]]], dtype=torch.uint8), torch.tensor([1]))
    >>> in_unit_range(part, part, part, num_classes=2, brightest=16).train_inputs
    tensor([[[[0., 1.]]]])
    """

    def scaled(part: Part) -> tuple[Tensor, Tensor]:
        return part.pixels.float().div_(brightest), part.targets.long()

    return Splits(*scaled(train), *scaled(validation), *scaled(test), num_classes)


def channel_statistics(pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation (C,) over all pixels of each channel, float32.

    >>> import torch
    >>> channel_statistics(torch.tensor([[[[0, 2]]], [[[4, 6]]]], dtype=torch.uint8))
    (tensor([3.]), tensor([2.2361]))
    """
    histograms = [torch.bincount(channel.flatten(), minlength=256) for channel in pixels.unbind(1)]
    counts = torch.stack(histograms).double()
    values = torch.arange(256, dtype=torch.float64)
    shares = counts / counts.sum(1, keepdim=True)
    mean = shares @ values
    deviation = (shares * (values - mean[:, None]).square()).sum(1).sqrt()
    return mean.float(), deviation.float()
