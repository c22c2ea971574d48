"""Share of pixel weights that are nearly zero, in the whole image and at its border."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from harmbench._torch import torch
from harmbench.meters._base import HeldOut, Meter, Outcome, Watcher
from harmbench.results.records import Measurement

if TYPE_CHECKING:
    from torch import Tensor

BORDER = 8  # the border is so many-th a part of the shorter side wide


class PixelWeights(Meter):
    """Share of a head's weights on pixels that are nearly zero, of the whole image and of its border.

    For a head right on the pixels (backbone `pixels`). arXiv 2502.01628 reports that the peripheral weights of a single
    layer on MNIST are almost exactly 0, and masks those below 0.01, but gives no share. The measures:
    - near_zero_pixel_share: share of the weights w (K, C, H, W) with abs(w) < `threshold`.
    - near_zero_border_share: the same of those at the border, a frame of an eighth of the image's shorter side, and of
      at least one pixel.

    A center is compared with the pixel's own value: the background is 0 where the data set has `scaling=unit`, as in
    the paper, and is not where pixels are standardized.
    """

    name: ClassVar[str] = "pixel_weights"

    threshold: float = Field(default=0.01, gt=0, description="size below which a weight counts as nearly zero")

    def watcher(self) -> Watcher:
        return _PixelWeightsWatcher(self.threshold)


class _PixelWeightsWatcher(Watcher):
    def __init__(self, threshold: float) -> None:
        self._threshold = threshold

    def measurements(self, outcome: Outcome) -> list[Measurement]:
        total, border = near_zero_shares(outcome.held_out(), self._threshold)
        reason = "" if total is not None else "the head does not read pixels; the backbone pixels lets it"
        return [
            Measurement.of("near_zero_pixel_share", total, "1", "neither", reason),
            Measurement.of("near_zero_border_share", border, "1", "neither", reason),
        ]


def near_zero_shares(held_out: HeldOut, threshold: float) -> tuple[float | None, float | None]:
    """Return the shares of near-zero weights in the whole image and at its border, or None if the weights are not
    pixels.
    """
    if held_out.image_shape is None:
        return None, None
    near = held_out.weights.reshape(-1, *held_out.image_shape).abs() < threshold
    _, height, width = held_out.image_shape
    return near.double().mean().item(), near[..., border_mask(height, width)].double().mean().item()


def border_mask(height: int, width: int) -> Tensor:
    """Mask of the border of an image, (H, W).

    >>> border_mask(3, 4).long().tolist()
    [[1, 1, 1, 1], [1, 0, 0, 1], [1, 1, 1, 1]]
    """
    wide = max(1, min(height, width) // BORDER)
    mask = torch.ones(height, width, dtype=torch.bool)
    mask[wide : height - wide, wide : width - wide] = False
    return mask
