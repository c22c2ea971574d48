"""Base class of the two CIFAR data sets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harmbench._torch import torch
from harmbench.datasets._torchvision import TorchvisionDataset

if TYPE_CHECKING:
    from torch import Tensor


class Cifar(TorchvisionDataset):
    """Base of the CIFAR sets: 3 channels, stored with the channel last."""

    @staticmethod
    def to_pixels(data: Any) -> Tensor:
        return torch.from_numpy(data).permute(0, 3, 1, 2).contiguous()
