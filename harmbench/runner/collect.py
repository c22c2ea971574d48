"""The arrays that plots need, from a finished trial; `harmbench.results.artifacts` says what each is."""

from __future__ import annotations

from collections.abc import Collection

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
    """The artifacts of the selected state; a kind that the trial does not have, such as the embedding of a model that
    reads images or the confusion matrix of one of text, is left out.

    Args:
        kinds: what the suite asks for.
        dataset: names the tokens.
        model: in its selected state.
        outcome: of the trial.
    """
    found: Arrays = {}
    if "class_weights" in kinds:
        found |= _class_weights(outcome.held_out())
    if "confusion" in kinds and outcome.test_logits is not None:
        found["confusion"] = _confusion(outcome.test_logits, outcome.test_targets)
    if "embedding" in kinds and isinstance(table := getattr(model.backbone, "embedding", None), nn.Embedding):
        found |= _embedding(table.weight.detach(), dataset)
    if "features" in kinds and (features := outcome.held_out().features).isfinite().all():
        found["features"] = features[spread(len(features), FEATURE_SAMPLES)].float().numpy()
    if "spectrum" in kinds:
        found |= _spectrum(outcome.held_out().features)
    return found


def _class_weights(examined: HeldOut) -> Arrays:
    shape = {} if examined.image_shape is None else {"image_shape": np.array(examined.image_shape)}
    return {"class_weights": examined.weights.float().numpy(), **shape}


def _confusion(logits: Tensor, targets: Tensor) -> NDArray[np.int32]:
    classes = logits.shape[1]
    counts = torch.bincount(targets * classes + logits.argmax(1), minlength=classes**2)
    return counts.reshape(classes, classes).int().numpy()


def _embedding(table: Tensor, dataset: Dataset) -> Arrays:
    """The table with its tokens' names, as far as the data set is a task that names them."""
    named = dataset if isinstance(dataset, TokenTask) else None
    numbers = range(len(table))
    return {
        "embedding": table.float().cpu().numpy(),
        "token_labels": np.array(named.labels() if named else [str(number) for number in numbers]),
        "token_shades": np.array(named.shades() if named else numbers, dtype=np.float32),
        "token_links": np.array(named.links() if named else (), dtype=np.int32).reshape(-1, 2),
    }


def spread(count: int, most: int) -> Tensor:
    """Indices of at most so many of `count`, evenly spread.

    >>> spread(5, 2).tolist()
    [0, 2]
    """
    kept = min(count, most)
    return torch.arange(kept) * count // kept


def _spectrum(features: Tensor) -> Arrays:
    if not features.isfinite().all():
        return {}
    return {"spectrum": torch.linalg.svdvals(features - features.mean(0)).float().numpy()}
