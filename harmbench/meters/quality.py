"""Quality of the predictions on the test part."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from harmbench._torch import torch
from harmbench.meters._base import Meter, Outcome, Watcher
from harmbench.results.records import Measurement

if TYPE_CHECKING:
    from torch import Tensor


class Quality(Meter):
    """Accuracy, balanced accuracy, macro F1, negative log-likelihood and calibration error on the test part.

    The test part is read once, with the state that validation selected. Balanced accuracy is the mean recall over the
    classes that occur. Macro F1 is the mean F1 over the classes that occur or are predicted, and is 0 for a class
    without true positives. The calibration error is the expected calibration error over 15 bins of equal width. Text
    has accuracy and NLL only, over the tokens to be predicted.
    """

    name: ClassVar[str] = "quality"

    def watcher(self) -> Watcher:
        return _QualityWatcher()


class _QualityWatcher(Watcher):
    def measurements(self, outcome: Outcome) -> list[Measurement]:
        measurements = [
            Measurement.of("test_accuracy", outcome.test_hits.double().mean().item(), "1", "higher"),
            Measurement.of("test_nll", outcome.test_nll.mean().item(), "nat", "lower"),
            Measurement.of("validation_accuracy", outcome.best.validation_accuracy, "1", "higher"),
            Measurement.of("final_train_loss", outcome.curve[-1].train_loss, "nat", "lower"),
        ]
        if outcome.test_logits is not None:
            measurements += by_class(outcome.test_logits.double(), outcome.test_targets)
        return measurements


def by_class(logits: Tensor, targets: Tensor) -> list[Measurement]:
    """Return the measures that need the probabilities of all classes, from logits (M, K)."""
    confusion = confusion_matrix(logits.argmax(-1), targets, logits.shape[1])
    return [
        Measurement.of("test_balanced_accuracy", balanced_accuracy(confusion), "1", "higher"),
        Measurement.of("test_macro_f1", macro_f1(confusion), "1", "higher"),
        Measurement.of("test_calibration_error", calibration_error(logits.softmax(-1), targets), "1", "lower"),
    ]


def confusion_matrix(predicted: Tensor, targets: Tensor, num_classes: int) -> Tensor:
    """Counts (K, K) of (true class, predicted class)."""
    return torch.bincount(targets * num_classes + predicted, minlength=num_classes**2).view(num_classes, -1).double()


def balanced_accuracy(confusion: Tensor) -> float:
    """Mean recall over the classes that occur."""
    occurs = confusion.sum(1) > 0
    return (confusion.diagonal()[occurs] / confusion.sum(1)[occurs]).mean().item()


def macro_f1(confusion: Tensor) -> float:
    """Mean over classes that occur or are predicted of 2 TP / (2 TP + FP + FN)."""
    total = confusion.sum(0) + confusion.sum(1)
    return (2 * confusion.diagonal()[total > 0] / total[total > 0]).mean().item()


def calibration_error(probabilities: Tensor, targets: Tensor, bins: int = 15) -> float:
    """Expected calibration error: mean |confidence - accuracy| over bins of equal width, weighted by their counts."""
    confidence, predicted = probabilities.max(-1)
    right = (predicted == targets).double()
    index = (confidence * bins).ceil().long().clamp(1, bins) - 1
    gap = torch.zeros(bins, dtype=torch.double).index_add_(0, index, confidence.double() - right)
    return (gap.abs().sum() / len(targets)).item()
