"""CIFAR-10."""

from __future__ import annotations

from typing import ClassVar

from harmbench.datasets._cifar import Cifar


class Cifar10(Cifar):
    """CIFAR-10: small photographs, 60,000 images, 32x32, 3 channels, 10 classes.

    Krizhevsky, 2009, through torchvision. Its 50,000 training images, 5,000 a class, give 45,000 for training and
    5,000, stratified, for validation. Its 10,000 test images are the test part. Not augmented. As float32 tensors it
    takes 0.7 GB.

    >>> from pathlib import Path
    >>> "is missing" in Cifar10().available(Path("/nowhere"))
    True
    """

    name: ClassVar[str] = "cifar10"
    source: ClassVar[str] = "CIFAR10"
    folder: ClassVar[str] = "cifar-10-batches-py"
    files: ClassVar[tuple[str, ...]] = (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch", "batches.meta")
    num_classes: ClassVar[int] = 10
