"""The handwritten digits that scikit-learn carries."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from harmbench._torch import torch
from harmbench.datasets._base import Dataset, Splits
from harmbench.datasets._parts import Part, Scaling, in_three, in_unit_range, standardized


class Digits(Dataset):
    """Handwritten digits of scikit-learn: 1,797 images, 8x8, 1 channel, 10 classes, no download.

    The test part of "Optical Recognition of Handwritten Digits" (Alpaydin and Kaynak, 1998, UCI repository): counts
    from 0 to 16 of dark pixels in 4x4 blocks, 174 to 183 images a class, no two images equal. Fixed stratified split,
    60 / 20 / 20 %. `scaling=unit` leaves pixels between 0 and 1 in place of standardizing them.

    >>> from pathlib import Path
    >>> splits = Digits().load(Path("data"), download=False, seed=0)
    >>> splits.train_inputs.shape, len(splits.validation_targets), len(splits.test_targets)
    (torch.Size([1079, 1, 8, 8]), 359, 359)
    """

    name: ClassVar[str] = "digits"

    scaling: Scaling = "standard"

    def known_classes(self, data_dir: Path) -> int:
        return 10

    def splits(self, data_dir: Path, download: bool) -> Splits:
        from sklearn.datasets import load_digits

        source = load_digits()
        pixels = torch.from_numpy(source.images).to(torch.uint8).unsqueeze(1)
        whole = Part(pixels, torch.from_numpy(source.target).long())
        if self.scaling == "unit":
            return in_unit_range(*in_three(whole), num_classes=10, brightest=16)
        return standardized(*in_three(whole), num_classes=10, source=self.name)
