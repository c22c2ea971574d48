"""Fashion-MNIST."""

from __future__ import annotations

from typing import ClassVar

from harmbench.datasets._mnist import MnistLike


class FashionMnist(MnistLike):
    """Fashion-MNIST: articles of clothing, 70,000 images, 28x28, 1 channel, 10 classes. It is harder than MNIST.

    Xiao, Rasul and Vollgraf, 2017 (arXiv 1708.07747), through torchvision. Its 60,000 training images, 6,000 a class,
    give 54,000 for training and 6,000, stratified, for validation. Its 10,000 test images are the test part.

    >>> from pathlib import Path
    >>> "is missing" in FashionMnist().available(Path("/nowhere"))
    True
    """

    name: ClassVar[str] = "fashion_mnist"
    source: ClassVar[str] = "FashionMNIST"
    folder: ClassVar[str] = "FashionMNIST/raw"
