"""The breast-cancer data set that scikit-learn carries."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from harmbench.datasets import Dataset, Part, Splits, in_three

if TYPE_CHECKING:
    from torch import Tensor


class BreastCancer(Dataset):
    """Breast cancer Wisconsin (diagnostic): 569 cell samples, 30 features, 2 classes, included in scikit-learn.

    Street, Wolberg and Mangasarian, 1993, as scikit-learn has it. A feature is a channel of one pixel: images are
    (30, 1, 1), for backbones that flatten them, such as mlp. Fixed stratified split, 60 / 20 / 20 %.

    >>> BreastCancer().load(Path("data"), download=False, seed=0).train_inputs.shape
    torch.Size([342, 30, 1, 1])
    """

    name: ClassVar[str] = "breast_cancer"

    def known_classes(self, data_dir: Path) -> int:
        return 2

    def splits(self, data_dir: Path, download: bool) -> Splits:
        import torch
        from sklearn.datasets import load_breast_cancer

        source = load_breast_cancer()
        features = torch.from_numpy(source.data)[:, :, None, None]
        train, validation, test = in_three(Part(features, torch.from_numpy(source.target).long()))
        deviation, mean = torch.std_mean(train.pixels, dim=0, correction=0)  # the training part's alone

        def scaled(part: Part) -> tuple[Tensor, Tensor]:
            return ((part.pixels - mean) / deviation).float(), part.targets

        return Splits(*scaled(train), *scaled(validation), *scaled(test), num_classes=2)
