"""MNIST."""

from __future__ import annotations

from typing import ClassVar

from harmbench.datasets._mnist import MnistLike


class Mnist(MnistLike):
    """MNIST: handwritten digits, 70,000 images, 28x28, 1 channel, 10 classes.

    LeCun, Cortes and Burges, 1998, through torchvision. Its 60,000 training images, 5,421 to 6,742 a class, give
    54,001 for training and 5,999, stratified, for validation. Its 10,000 test images are the test part.

    >>> from pathlib import Path
    >>> Mnist().available(Path("/nowhere"))
    "data set 'mnist' is not in /nowhere/MNIST/raw (train-images-idx3-ubyte is missing); get it with `harmbench ...`"
    """

    name: ClassVar[str] = "mnist"
    source: ClassVar[str] = "MNIST"
    folder: ClassVar[str] = "MNIST/raw"
