"""The order of the training data."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor


def batch_indices(train_size: int, batch_size: int, steps: int, seed: int) -> Iterator[Tensor]:
    """Indices (B,) of each step's batch, cut from an endless stream of shuffled passes.

    Every batch is full, so every step does the same work. A batch may span two passes. The indices depend on the
    arguments only.

    >>> [len(batch) for batch in batch_indices(train_size=10, batch_size=4, steps=3, seed=0)]
    [4, 4, 4]
    """
    generator = torch.Generator().manual_seed(seed)
    size = min(batch_size, train_size)
    stream = torch.empty(0, dtype=torch.long)
    for _ in range(steps):
        if len(stream) < size:
            stream = torch.cat([stream, torch.randperm(train_size, generator=generator)])
        yield stream[:size]
        stream = stream[size:]
