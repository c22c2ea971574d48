"""Base class of MNIST and of data sets in its format."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from harmbench.datasets._torchvision import TorchvisionDataset

if TYPE_CHECKING:
    from torch import Tensor


class MnistLike(TorchvisionDataset):
    """Base of sets in MNIST's file format: 1 channel, 10 classes."""

    files: ClassVar[tuple[str, ...]] = (
        "train-images-idx3-ubyte",
        "train-labels-idx1-ubyte",
        "t10k-images-idx3-ubyte",
        "t10k-labels-idx1-ubyte",
    )
    num_classes: ClassVar[int] = 10

    @staticmethod
    def to_pixels(data: Any) -> Tensor:
        pixels: Tensor = data.unsqueeze(1)
        return pixels
