"""Arrays of a finished trial that plots need. `harmbench.results.artifacts` defines each of them."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from harmbench.datasets import Dataset
from harmbench.datasets._tasks import TokenTask
from harmbench.meters import HeldOut, Outcome
from harmbench.results.artifacts import Arrays
from harmbench.results.records import Artifact
from harmbench.runner.model import Classifier

FEATURE_SAMPLES = 512  # whose features are kept: enough to compare models by, and 1.5 MB at 768 features


def collect(kinds: Collection[Artifact], dataset: Dataset, model: Classifier, outcome: Outcome) -> Arrays:
    """Collect the artifacts of the selected state.

    Leaves out kinds that the trial does not have: a model of images has no embedding, and a text no confusion matrix.

    Args:
        kinds: those that the suite keeps.
        dataset: names the tokens.
        model: in its selected state.
        outcome: of the trial.
    """
    arrays: Arrays = {}
    if "class_weights" in kinds:
        arrays |= _class_weights(outcome.held_out())
    if "confusion" in kinds and outcome.test_logits is not None:
        arrays["confusion"] = _confusion(outcome.test_logits, outcome.test_targets)
    table = getattr(model.backbone, "embedding", None)
    if "embedding" in kinds and isinstance(table, nn.Embedding):
        arrays |= _embedding(table.weight.detach(), dataset)
    if "features" in kinds:
        arrays |= _features(outcome.held_out().features)
    if "spectrum" in kinds:
        arrays |= _spectrum(outcome.held_out().features)
    return arrays


def _class_weights(held_out: HeldOut) -> Arrays:
    arrays: Arrays = {"class_weights": held_out.weights.float().numpy()}
    if held_out.image_shape is not None:
        arrays["image_shape"] = np.array(held_out.image_shape)
    return arrays


def _confusion(logits: Tensor, targets: Tensor) -> NDArray[np.int32]:
    classes = logits.shape[1]
    counts = torch.bincount(targets * classes + logits.argmax(1), minlength=classes**2)
    return counts.reshape(classes, classes).int().numpy()


def _embedding(table: Tensor, dataset: Dataset) -> Arrays:
    """Embedding table, with the names of its tokens if the data set has them."""
    numbers = range(len(table))
    labels: Sequence[str] = [str(number) for number in numbers]
    shades: Sequence[float] = numbers
    links: Sequence[tuple[int, int]] = ()
    if isinstance(dataset, TokenTask):
        labels = dataset.labels()
        shades = dataset.shades()
        links = dataset.links()
    return {
        "embedding": table.float().cpu().numpy(),
        "token_labels": np.array(labels),
        "token_shades": np.array(shades, dtype=np.float32),
        "token_links": np.array(links, dtype=np.int32).reshape(-1, 2),
    }


def spread(count: int, most: int) -> Tensor:
    """Indices of at most `most` of `count` items, evenly spread.

    >>> spread(5, 2).tolist()
    [0, 2]
    """
    kept = min(count, most)
    return torch.arange(kept) * count // kept


def _features(features: Tensor) -> Arrays:
    if not features.isfinite().all():
        return {}
    kept = spread(len(features), FEATURE_SAMPLES)
    return {"features": features[kept].float().numpy()}


def _spectrum(features: Tensor) -> Arrays:
    if not features.isfinite().all():
        return {}
    return {"spectrum": torch.linalg.svdvals(features - features.mean(0)).float().numpy()}
