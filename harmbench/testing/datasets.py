"""The contract of a data set, on its own files.

    tensors     inputs and targets of matching lengths and types
    parts       disjoint, the same at every load, with nested shares by `train_fraction`
    images      float32, finite, every class in every part, stratified, standardized by the training part
    tokens      within the vocabulary, one answer for each question
    text        windows that predict every token once

`check_dataset` runs all of them; each is also a function of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from harmbench.datasets import Dataset, Splits, leaked_share
from harmbench.errors import DatasetUnavailableError
from harmbench.testing._contract import (
    Contract,
    Result,
    Skipped,
    components_of,
    enforce,
    is_written_as_it_is_read,
    judge,
    require,
)


@dataclass(frozen=True)
class Loaded:
    """A data set's splits, and how to load them again.

    Attributes:
        splits: the whole data set.
        data_dir: folder of data sets.
    """

    splits: Splits
    data_dir: Path


def parts(splits: Splits) -> dict[str, tuple[Tensor, Tensor]]:
    """Inputs and targets of each part by its name."""
    return {
        "train": (splits.train_inputs, splits.train_targets),
        "validation": (splits.validation_inputs, splits.validation_targets),
        "test": (splits.test_inputs, splits.test_targets),
    }


def rows(inputs: Tensor) -> set[bytes]:
    """The distinct inputs, as bytes."""
    return {sample.numpy().tobytes() for sample in inputs}


def _only(dataset: Dataset, kind: str) -> None:
    if dataset.gives != kind:
        raise Skipped(f"it gives {dataset.gives}, not {kind}")


# Of every data set.


def has_matching_tensors(_: Dataset, loaded: Loaded) -> None:
    """Targets are int64, one for each input. Inputs are contiguous and have one shape in all parts."""
    shape = tuple(loaded.splits.train_inputs.shape[1:])
    for name, (inputs, targets) in parts(loaded.splits).items():
        require(targets.dtype == torch.int64, f"targets of {name} are {targets.dtype}, not int64")
        expected = (len(targets), *shape)
        require(inputs.shape == expected, f"inputs of {name} have shape {tuple(inputs.shape)}, not {expected}")
        require(inputs.is_contiguous(), f"inputs of {name} are not contiguous")


def has_disjoint_parts(_: Dataset, loaded: Loaded) -> None:
    """No input is in two parts, or twice in one."""
    named = {name: rows(inputs) for name, (inputs, _) in parts(loaded.splits).items()}
    doubled = sum(map(len, named.values())) - len(set.union(*named.values()))
    require(doubled == 0, f"an input is in two parts: {doubled} of them")


def loads_the_same_twice(dataset: Dataset, loaded: Loaded) -> None:
    """Two loads are equal, bit for bit: the split does not depend on chance."""
    again = dataset.splits(loaded.data_dir, download=False)
    for field, first, second in zip(Splits._fields, loaded.splits, again, strict=True):
        is_same = first is second is None or torch.equal(torch.as_tensor(first), torch.as_tensor(second))
        require(is_same, f"two loads differ in {field}")


def keeps_nested_shares(dataset: Dataset, loaded: Loaded) -> None:
    """`train_fraction` keeps a stratified share, drawn by the seed, nested in larger ones. Other parts stay whole."""

    def load(share: float, seed: int) -> Splits:
        return dataset.model_copy(update={"train_fraction": share}).load(loaded.data_dir, download=False, seed=seed)

    whole, half, quarter = (load(share, seed=0) for share in (1.0, 0.5, 0.25))
    for some, share in ((half, 0.5), (quarter, 0.25)):
        _is_share(dataset, whole, some, share)
    nested = rows(quarter.train_inputs) < rows(half.train_inputs) < rows(whole.train_inputs)
    require(nested, "shares are not nested")
    drawn = rows(half.train_inputs)
    require(rows(load(0.5, seed=0).train_inputs) == drawn, "the same seed draws another share")
    require(rows(load(0.5, seed=1).train_inputs) != drawn, "another seed draws the same share")


def _is_share(dataset: Dataset, whole: Splits, some: Splits, share: float) -> None:
    counts = dataset.strata(whole).bincount().tolist()
    expected = [max(1, round(share * count)) for count in counts]
    size = len(some.train_targets)
    require(size == sum(expected), f"another share than asked for: {size} samples, not {sum(expected)}")
    if dataset.gives == "images":
        require(some.train_targets.bincount().tolist() == expected, "the share is not stratified")
    require(torch.equal(some.test_inputs, whole.test_inputs), "the share touches the test part")
    require(torch.equal(some.validation_inputs, whole.validation_inputs), "the share touches validation")


def knows_its_classes(dataset: Dataset, loaded: Loaded) -> None:
    """`known_classes`, where it is given, is the number of classes."""
    if dataset.gives == "text":
        raise Skipped("it gives text, whose tokenizer may find fewer tokens than asked for")
    known, number = dataset.known_classes(loaded.data_dir), loaded.splits.num_classes
    if known is None:
        raise Skipped("it does not give known_classes")
    require(known == number, f"known_classes is {known}, and the splits have {number} classes")


# Of images.


def has_images(dataset: Dataset, loaded: Loaded) -> None:
    """Images are finite float32 (M, C, H, W), and every class is in every part."""
    _only(dataset, "images")
    for name, (inputs, targets) in parts(loaded.splits).items():
        require(inputs.dtype == torch.float32, f"images of {name} are {inputs.dtype}, not float32")
        require(inputs.ndim == 4, f"images of {name} have shape {tuple(inputs.shape)}, not (M, C, H, W)")
        require(inputs.isfinite().all(), f"images of {name} are not finite")
        classes = sorted(set(targets.tolist()))
        is_complete = classes == list(range(loaded.splits.num_classes))
        require(is_complete, f"classes of {name}: {len(classes)} of {loaded.splits.num_classes}")


def is_stratified(dataset: Dataset, loaded: Loaded) -> None:
    """Validation has its share of each class, to one image."""
    _only(dataset, "images")
    splits = loaded.splits
    train, validation = (
        targets.bincount(minlength=splits.num_classes).double()
        for targets in (splits.train_targets, splits.validation_targets)
    )
    expected = (train + validation) * validation.sum() / (train + validation).sum()
    off = (validation - expected).abs().max().item()
    require(off <= 1, f"validation is not stratified: a class is off by {off:.1f} images")


def is_standardized(dataset: Dataset, loaded: Loaded) -> None:
    """Each channel of the training part has mean 0 and deviation 1, or its values range from 0 to 1."""
    _only(dataset, "images")
    inputs = loaded.splits.train_inputs
    if inputs.min() == 0 and inputs.max() == 1:
        return
    deviation, mean = torch.std_mean(inputs.double(), dim=(0, 2, 3), correction=0)
    largest = mean.abs().max().item()
    require(largest < 1e-5, f"the training part's mean is not 0: {largest:.3g}")
    off = (deviation - 1).abs().max().item()
    require(off < 1e-5, f"the training part's deviation is not 1: off by {off:.3g}")


# Of tokens and text.


def has_tokens(dataset: Dataset, loaded: Loaded) -> None:
    """Tokens are int64 (M, T) within the vocabulary. A question has one answer. No test input is in training."""
    _only(dataset, "tokens")
    answers: dict[bytes, int] = {}
    for name, (inputs, targets) in parts(loaded.splits).items():
        _are_tokens(name, inputs, loaded.splits.num_classes)
        _are_within(name, targets, loaded.splits.num_classes)
        for question, answer in zip(inputs, targets.tolist(), strict=True):
            known = answers.setdefault(question.numpy().tobytes(), answer)
            require(known == answer, f"a question has two answers: {question.tolist()} has {known} and {answer}")
    _does_not_leak(loaded.splits)


def has_windows_of_text(dataset: Dataset, loaded: Loaded) -> None:
    """Text comes as windows that are their own targets, and that predict each token once."""
    _only(dataset, "text")
    splits = loaded.splits
    for name, (inputs, targets) in parts(splits).items():
        _are_tokens(name, inputs, splits.num_classes)
        require(torch.equal(inputs, targets), f"windows of {name} do not have themselves as targets")
    is_whole = torch.equal(splits.train_inputs[:-1, -1], splits.train_inputs[1:, 0])
    require(is_whole, "a token is never predicted: a window does not begin with the last token of the one before")
    sizes = None if splits.token_bytes is None else tuple(splits.token_bytes.shape)
    require(sizes == (splits.num_classes,), f"token_bytes is {sizes}, not one for each of {splits.num_classes} tokens")
    _does_not_leak(splits)


def _are_tokens(name: str, inputs: Tensor, vocabulary: int) -> None:
    require(inputs.dtype == torch.int64, f"tokens of {name} are {inputs.dtype}, not int64; train on int64")
    require(inputs.ndim == 2, f"tokens of {name} have shape {tuple(inputs.shape)}, not (M, T)")
    _are_within(name, inputs, vocabulary)


def _are_within(name: str, tokens: Tensor, vocabulary: int) -> None:
    least, most = int(tokens.min()), int(tokens.max())
    is_within = 0 <= least <= most < vocabulary
    require(is_within, f"a token of {name} is not in the vocabulary: {least} to {most} of {vocabulary}")


def _does_not_leak(splits: Splits) -> None:
    share = leaked_share(splits)
    require(share == 0, f"{share:.1%} of the test inputs are training inputs too")


CONTRACTS: tuple[Contract, ...] = (
    has_matching_tensors,
    has_disjoint_parts,
    has_images,
    is_stratified,
    is_standardized,
    has_tokens,
    has_windows_of_text,
    loads_the_same_twice,
    keeps_nested_shares,
    knows_its_classes,
)


def judge_dataset(dataset: Dataset | type[Dataset], data_dir: Path = Path("data")) -> tuple[Result, ...]:
    """The result of each contract on a data set.

    Args:
        dataset: an instance, or a class, of which all named variants are judged.
        data_dir: folder of data sets.

    Raises:
        DatasetUnavailableError: where the data are not on this machine.
    """
    results: list[Result] = []
    for each in components_of(dataset):
        if missing := each.available(data_dir):
            raise DatasetUnavailableError(missing)
        loaded = Loaded(each.splits(data_dir, download=False), data_dir)
        results += judge(each, (is_written_as_it_is_read,))
        results += judge(each, CONTRACTS, loaded)
    return tuple(results)


def check_dataset(dataset: Dataset | type[Dataset], data_dir: Path = Path("data")) -> tuple[Result, ...]:
    """Check a data set, or all named variants of a class, against the contract.

    Args:
        dataset: an instance, or a class.
        data_dir: folder of data sets.

    Returns:
        One result for each variant and contract.

    Raises:
        ContractError: naming every broken contract, with numbers.
        DatasetUnavailableError: where the data are not on this machine.

    >>> from harmbench.datasets import DATASETS
    >>> results = check_dataset(DATASETS.parse("digits"))
    >>> results[2].contract, results[2].status
    ('has_disjoint_parts', 'passed')
    """
    return enforce(judge_dataset(dataset, data_dir))
