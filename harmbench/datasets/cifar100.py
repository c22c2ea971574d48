"""CIFAR-100."""

from __future__ import annotations

from typing import ClassVar

from harmbench.datasets._cifar import Cifar


class Cifar100(Cifar):
    """CIFAR-100: small photographs, 60,000 images, 32x32, 3 channels, 100 classes (the fine labels).

    Krizhevsky, 2009, through torchvision. Its 50,000 training images, 500 a class, give 45,000 for training and
    5,000, stratified, for validation. Its 10,000 test images are the test part. Not augmented. As float32 tensors it
    takes 0.7 GB.

    >>> from pathlib import Path
    >>> "is missing" in Cifar100().available(Path("/nowhere"))
    True
    """

    name: ClassVar[str] = "cifar100"
    source: ClassVar[str] = "CIFAR100"
    folder: ClassVar[str] = "cifar-100-python"
    files: ClassVar[tuple[str, ...]] = ("train", "test", "meta")
    num_classes: ClassVar[int] = 100
