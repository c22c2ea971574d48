"""The contract of data sets, over every registered one, and what each says about files that are not as they should be.

Sets that need a download are read from small files of the same format as the real ones, written here.
"""

from __future__ import annotations

import gzip
import hashlib
import itertools
import json
import math
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pytest
import torch
from PIL import Image

from harmbench._torchvision import import_torchvision
from harmbench.datasets import DATASETS, Dataset, Splits, leaked_share
from harmbench.datasets._parts import Part, carve, in_three, standardized
from harmbench.datasets._tasks import Items, SampledTask, TokenTask, drawn
from harmbench.datasets.folder import Folder
from harmbench.errors import ContractError, DatasetUnavailableError, OptionError, UsageError
from harmbench.testing import check_dataset
from harmbench.testing.datasets import Loaded, has_disjoint_parts, is_standardized, parts, rows

Patch = pytest.MonkeyPatch
RNG = np.random.default_rng


# ---------------------------------------------------------------- small files of the real formats


def write_mnist(folder: Path, name: str, zipped: bool = False) -> None:
    raw = folder / {"mnist": "MNIST", "fashion_mnist": "FashionMNIST"}[name] / "raw"
    raw.mkdir(parents=True)
    for part, each in (("train", 20), ("t10k", 5)):
        labels = np.tile(np.arange(10, dtype=np.uint8), each)
        pixels = RNG(each).integers(0, 256, (len(labels), 28, 28), dtype=np.uint8)
        for kind, array in (("images-idx3", pixels), ("labels-idx1", labels)):
            content = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">i4").tobytes() + array.tobytes()
            file = raw / f"{part}-{kind}-ubyte"
            file.with_name(f"{file.name}.gz").write_bytes(gzip.compress(content)) if zipped else file.write_bytes(
                content
            )


def write_cifar(folder: Path, name: str, patch: Patch) -> None:
    """Batches as torchvision wants them; it is told their checksums in place of the real ones."""
    source = getattr(import_torchvision().datasets, name.upper())
    classes, labels_key = (10, "labels") if name == "cifar10" else (100, "fine_labels")
    (folder / source.base_folder).mkdir(parents=True)

    def write(file: str, content: dict[str, Any]) -> str:
        data = pickle.dumps(content)
        (folder / source.base_folder / file).write_bytes(data)
        return hashlib.md5(data).hexdigest()

    def batches(files: list[list[str]], images: int) -> list[list[str]]:
        written = []
        for number, (file, _) in enumerate(files):
            pixels = RNG([number, images]).integers(0, 256, (images, 3072), dtype=np.uint8)
            labels = [label % classes for label in range(images)]
            written.append([file, write(file, {"data": pixels, labels_key: labels})])
        return written

    patch.setattr(source, "train_list", batches(source.train_list, 100 if name == "cifar10" else 1000))
    patch.setattr(source, "test_list", batches(source.test_list, 200))
    meta = {source.meta["key"]: [f"class {label}" for label in range(classes)]}
    patch.setattr(source, "meta", {**source.meta, "md5": write(source.meta["filename"], meta)})


def write_images(folder: Path, counts: dict[str, int], side: tuple[int, int] = (12, 10)) -> Path:
    """Colored PNG files, `counts` of each class."""
    for label, count in counts.items():
        (folder / label).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            pixels = RNG([*str(folder / label).encode(), number]).integers(0, 256, (*side, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / label / f"{number}.png")
    return folder


def sentences(count: int) -> list[str]:
    """Documents of random words."""
    words = ["gauge", "meter", "watt", "joule", "loss", "head", "naïve", "日本"]
    return [" ".join(RNG(number).choice(words, 200)) for number in range(count)]


def folder_of_text(folder: Path) -> dict[str, Any]:
    (folder / "text").mkdir()
    for number, document in enumerate(sentences(40)):
        (folder / "text" / f"{number}.md").write_text(document)
    return {"path": str(folder / "text"), "vocabulary": 300, "length": 32}


def binary_tokens(folder: Path) -> dict[str, Any]:
    for file, length in (("train.bin", 4000), ("val.bin", 900)):
        RNG(length).integers(0, 300, length, dtype=np.uint16).tofile(folder / file)
    return {"path": str(folder), "vocabulary": 301, "mask": 300, "length": 32}


def lines_of_json(folder: Path) -> dict[str, Any]:
    lines = [json.dumps({"text": document}) for document in sentences(40)]
    for part, some in (("train", lines[:30]), ("validation", lines[30:35]), ("test", lines[35:])):
        (folder / f"{part}.jsonl").write_text("\n".join(some))
    return {"path": str(folder), "vocabulary": 300, "length": 32}


def folder_of_images(folder: Path) -> dict[str, Any]:
    return {"path": str(write_images(folder / "pets", {"cat": 20, "dog": 30})), "size": 8}


# What writes the files of a data set, and returns the options that it then needs.
WRITERS: dict[str, Callable[[Path], dict[str, Any] | None]] = {
    "mnist": lambda folder: write_mnist(folder, "mnist"),
    "fashion_mnist": lambda folder: write_mnist(folder, "fashion_mnist"),
    "text": folder_of_text,
    "bins": binary_tokens,
    "hub": lines_of_json,
    "stdlib": lambda folder: {"vocabulary": 512, "held_out": 64},
    "folder": folder_of_images,
}


@pytest.fixture
def prepared(tmp_path: Path, monkeypatch: Patch) -> Callable[..., Dataset]:
    """A data set by name, with small files in `tmp_path` where it needs any."""

    def prepare(name: str, **options: Any) -> Dataset:
        if name.startswith("cifar"):
            write_cifar(tmp_path, name, monkeypatch)
        write = WRITERS.get(name, lambda folder: None)
        return DATASETS.members[name].from_options({**(write(tmp_path) or {}), **options})

    return prepare


# ---------------------------------------------------------------- the contract


@pytest.mark.parametrize("name", DATASETS.members)
def test_contract(name: str, prepared: Callable[..., Dataset], tmp_path: Path) -> None:
    check_dataset(prepared(name), tmp_path)


class Wrong(Dataset):
    """Breaks the contract as its option says."""

    name: ClassVar[str] = "wrong"
    how: str

    def splits(self, data_dir: Path, download: bool) -> Splits:
        pixels = torch.from_numpy(RNG(0).integers(0, 256, (90, 1, 4, 4), dtype=np.uint8))
        train, validation, test = in_three(Part(pixels, torch.arange(90) % 3))
        if self.how == "leaks":
            test = Part(test.pixels.clone(), test.targets)
            test.pixels[0] = train.pixels[0]
        if self.how == "skewed":
            validation = Part(validation.pixels, validation.targets.where(torch.arange(len(validation.targets)) < 9, 0))
        fair = standardized(train, validation, test, 3, "wrong")
        if self.how == "scaled over all":
            everything = torch.cat([inputs for inputs, _ in parts(fair).values()])
            shift = everything.mean()
            return fair._replace(
                train_inputs=fair.train_inputs - shift,
                validation_inputs=fair.validation_inputs - shift,
                test_inputs=fair.test_inputs - shift,
            )
        if self.how == "restless":
            return fair._replace(test_inputs=fair.test_inputs + torch.rand(()))
        if self.how == "doubles":
            return fair._replace(test_inputs=fair.test_inputs.double())
        if self.how == "another length":
            return fair._replace(test_targets=fair.test_targets[1:])
        return fair

    def known_classes(self, data_dir: Path) -> int:
        return 4 if self.how == "four classes" else 3

    def load(self, data_dir: Path, download: bool, seed: int) -> Splits:
        return super().load(data_dir, download, 0 if self.how == "one share" else seed)


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("leaks", "an input is in two parts"),
        ("skewed", "not stratified"),
        ("scaled over all", "the training part's mean is not 0"),
        ("restless", "two loads differ in test_inputs"),
        ("doubles", "images of test are torch.float64"),
        ("another length", "inputs of test have shape"),
        ("four classes", "known_classes is 4, and the splits have 3"),
        ("one share", "another seed draws the same share"),
    ],
)
def test_the_contract_catches_a_wrong_data_set(how: str, said: str, tmp_path: Path) -> None:
    check_dataset(Wrong(how="not at all"), tmp_path)
    with pytest.raises(ContractError, match=said):
        check_dataset(Wrong(how=how), tmp_path)


class WrongTask(TokenTask):
    """Breaks the contract of tasks as its option says."""

    name: ClassVar[str] = "wrong_task"
    how: str
    vocabulary: ClassVar[int] = 9  # type: ignore[assignment]

    def items(self) -> Items:
        questions = torch.cartesian_prod(torch.arange(9), torch.arange(9))
        answers = questions.sum(1) % (10 if self.how == "another token" else 9)
        if self.how == "two answers":
            return Items(torch.cat([questions, questions]), torch.cat([answers, (answers + 1) % 9]))
        if self.how == "twice":
            return Items(torch.cat([questions, questions]), torch.cat([answers, answers]))
        return Items(questions.double() if self.how == "numbers" else questions, answers)


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("twice", "an input is in two parts"),
        ("two answers", "an input is in two parts"),
        ("another token", "is not in the vocabulary"),
        ("numbers", "train"),
    ],
)
def test_the_contract_catches_a_wrong_task(how: str, said: str, tmp_path: Path) -> None:
    check_dataset(WrongTask(how="not at all"), tmp_path)
    with pytest.raises(ContractError, match=said):
        check_dataset(WrongTask(how=how), tmp_path)


class WrongText(Dataset):
    """Windows of a text, with a gap between them where its option says so."""

    name: ClassVar[str] = "wrong_text"
    gives: ClassVar[Literal["text"]] = "text"
    how: str

    def splits(self, data_dir: Path, download: bool) -> Splits:
        tokens = torch.from_numpy(RNG(0).integers(0, 50, 900))
        step = 9 if self.how == "a gap" else 8
        train, validation, test = (tokens[start : start + 280].unfold(0, 9, step) for start in (0, 300, 600))
        windows = [part.contiguous() for part in (train, train, validation, validation, test, test)]
        if self.how == "questions":
            windows[1] = windows[1].roll(-1, dims=1)
        sizes = torch.ones(49 if self.how == "a token without length" else 50, dtype=torch.int64)
        return Splits(*windows, num_classes=50, token_bytes=sizes)

    def strata(self, splits: Splits) -> torch.Tensor:
        return torch.zeros(len(splits.train_targets), dtype=torch.int64)


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("a gap", "a token is never predicted"),
        ("questions", "do not have themselves as targets"),
        ("a token without length", "token_bytes is"),
    ],
)
def test_the_contract_catches_a_wrong_text(how: str, reason: str, tmp_path: Path) -> None:
    check_dataset(WrongText(how="not at all"), tmp_path)
    with pytest.raises(ContractError, match=reason):
        check_dataset(WrongText(how=how), tmp_path)


def test_a_data_set_that_is_not_there_is_not_judged(tmp_path: Path) -> None:
    with pytest.raises(DatasetUnavailableError, match="data set 'mnist' is not in"):
        check_dataset(DATASETS.parse("mnist"), tmp_path)


# ---------------------------------------------------------------- the content of each

# The questions once more, in plain Python: (question, answer), vocabulary, number of questions.
POINT = list(itertools.product(range(5), range(5)))
ELEMENT = list(itertools.permutations(range(4)))
TASKS: dict[str, tuple[Callable[..., bool], int, int]] = {
    "lattice": (
        lambda a, b, c, d: all(POINT[b][i] - POINT[a][i] == POINT[d][i] - POINT[c][i] for i in (0, 1)),
        25,
        7225,
    ),
    "modular_addition": (lambda a, b, c: (a + b - c) % 31 == 0, 31, 961),
    "equivalence": (lambda a, b, c: c == (40 if a % 5 == b % 5 else 41), 42, 1600),
    "greater_than": (lambda a, b, c: c == (31 if a > b else 30), 32, 900),
    "family_tree": (
        lambda a, relation, c: {
            127: c == (a - 1) // 2,
            128: c == ((a - 1) // 2 - 1) // 2,
            129: a != c and (a - 1) // 2 == (c - 1) // 2,
        }[relation],
        130,
        376,
    ),
    "permutation": (lambda g, h, f: all(ELEMENT[f][i] == ELEMENT[g][ELEMENT[h][i]] for i in range(4)), 24, 576),
}


@pytest.mark.parametrize("name", TASKS)
def test_answers_are_right_and_every_question_is_there(name: str, tmp_path: Path) -> None:
    is_right, vocabulary, count = TASKS[name]
    splits = DATASETS.parse(name).splits(tmp_path, download=False)
    items = [
        (*question, answer)
        for inputs, targets in parts(splits).values()
        for question, answer in zip(inputs.tolist(), targets.tolist(), strict=True)
    ]
    assert splits.num_classes == vocabulary
    assert len({item[:-1] for item in items}) == len(items) == count
    assert all(is_right(*item) for item in items)
    assert [len(targets) for _, targets in parts(splits).values()] == [
        count - 2 * round(count / 10),
        round(count / 10),
        round(count / 10),
    ]


@pytest.mark.parametrize(("points", "count"), [(3, 36), (5, 14_400)])
def test_permutation_groups_have_inverses_and_an_identity(points: int, count: int) -> None:
    questions, answers = DATASETS.parse(f"permutation[points={points}]").items()  # type: ignore[attr-defined]
    table = answers.reshape(math.isqrt(count), -1)
    elements = torch.arange(len(table))
    assert len(questions) == count
    assert torch.equal(table[0], elements)
    assert torch.equal(table[:, 0], elements)
    for line in (*table, *table.T):
        assert torch.equal(line.sort().values, elements)


# Share of test questions in the training part, seed 0 of the released code; its number of questions.
RELEASED = {
    "lattice": (0.125, 7225),
    "modular_addition": (0.52, 961),
    "equivalence": (0.435, 1600),
    "greater_than": (0.595, 900),
    "family_tree": (0.895, 373),
}


@pytest.mark.parametrize("name", RELEASED)
def test_sampling_as_released_leaks_as_much_as_the_released_code(name: str, tmp_path: Path) -> None:
    released, count = RELEASED[name]
    task = DATASETS.parse(f"{name}[sampling=as_released]")
    assert isinstance(task, SampledTask)
    items = task.released_items()
    assert len(set(map(tuple, items.questions.tolist()))) == len(items.answers) == count
    expected = 1 - (1 - 1 / count) ** 800
    draws = [drawn(items, 999, torch.Generator().manual_seed(seed)) for seed in range(30)]
    shares = np.array([leaked_share(splits) for splits in draws])
    assert abs(shares.mean() - expected) < 4 * shares.std() / math.sqrt(30)
    assert abs(released - expected) < 3 * math.sqrt(expected * (1 - expected) / 200)
    splits = task.splits(tmp_path, download=False)
    assert [len(targets) for _, targets in parts(splits).values()] == [800, 200, 200]
    with pytest.raises(ContractError, match="in two parts"):
        has_disjoint_parts(task, Loaded(splits, tmp_path))


def test_the_released_family_tree_takes_a_person_for_a_relation() -> None:
    task = DATASETS.parse("family_tree")
    assert isinstance(task, SampledTask)
    for items, meant in ((task.released_items(), 1), (task.items(), 0)):
        assert (items.answers >= 127).sum() == meant
        relations = items.questions[:, 1]
        assert relations.bincount().tolist()[127:] == ([125, 123, 125] if meant else [126, 124, 126])


def test_digits_are_scikit_learns(tmp_path: Path) -> None:
    from sklearn.datasets import load_digits

    splits = DATASETS.parse("digits").splits(tmp_path, download=False)
    found = torch.cat([inputs for inputs, _ in parts(splits).values()])
    train = splits.train_inputs
    source = torch.from_numpy(load_digits().images).float()
    assert len(found) == len(source) == 1797
    # Undo the scaling by two known values: each image carries the blackest pixel's and the whitest pixel's.
    counts = ((found - train.min()) / (train.max() - train.min()) * 16).round()
    assert rows(counts.squeeze(1)) == rows(source)


def test_the_test_part_is_the_official_one(prepared: Callable[..., Dataset], tmp_path: Path) -> None:
    splits = prepared("cifar10").splits(tmp_path, download=False)
    source = import_torchvision().datasets.CIFAR10(tmp_path, train=False)
    assert splits.test_targets.tolist() == source.targets
    scaled = splits.test_inputs[0] - splits.test_inputs[0].amin((1, 2), keepdim=True)
    pixels = torch.from_numpy(source.data[0]).permute(2, 0, 1).float()
    pixels -= pixels.amin((1, 2), keepdim=True)
    torch.testing.assert_close(scaled / scaled.amax((1, 2), keepdim=True), pixels / pixels.amax((1, 2), keepdim=True))


@pytest.mark.parametrize(
    ("name", "sizes"), [("mnist", (180, 20, 50)), ("cifar10", (450, 50, 200)), ("cifar100", (900, 100, 200))]
)
def test_sizes(name: str, sizes: tuple[int, ...], prepared: Callable[..., Dataset], tmp_path: Path) -> None:
    splits = prepared(name).splits(tmp_path, download=False)
    assert tuple(len(targets) for _, targets in parts(splits).values()) == sizes


def test_the_statistics_are_exact() -> None:
    pixels = torch.from_numpy(RNG(0).integers(0, 256, (50, 3, 7, 7), dtype=np.uint8))
    part = Part(pixels, torch.arange(50) % 2)
    splits = standardized(part, part, part, 2, "test")
    deviation, mean = torch.std_mean(pixels.double(), dim=(0, 2, 3), keepdim=True, correction=0)
    torch.testing.assert_close(splits.train_inputs, ((pixels - mean) / deviation).float())


def test_carved_parts_make_up_the_whole() -> None:
    whole = Part(torch.arange(60, dtype=torch.uint8).reshape(60, 1, 1, 1), torch.tensor([0] * 40 + [1] * 20))
    rest, carved = carve(whole, 0.1)
    assert sorted([*rest.pixels.flatten().tolist(), *carved.pixels.flatten().tolist()]) == list(range(60))
    assert carved.targets.bincount().tolist() == [4, 2]


def test_splits_move_to_a_device(tmp_path: Path) -> None:
    splits = DATASETS.parse("digits").splits(tmp_path, download=False).to("meta")
    assert {tensor.device.type for tensor in splits[:6]} == {"meta"}
    assert splits.num_classes == 10


# ---------------------------------------------------------------- files missing, damaged, out of reach

DOWNLOADED = ["mnist", "fashion_mnist", "cifar10", "cifar100"]


@pytest.mark.parametrize("name", DOWNLOADED)
def test_missing_files(name: str, tmp_path: Path) -> None:
    dataset = DATASETS.parse(name)
    command = f"`harmbench run SUITE --datasets {name} --data-dir {tmp_path} --download`"
    with pytest.raises(DatasetUnavailableError, match=f"data set '{name}' is not in {tmp_path}") as caught:
        dataset.load(tmp_path, download=False, seed=0)
    assert str(caught.value) == dataset.available(tmp_path)
    assert command in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", DOWNLOADED)
def test_a_failed_download(name: str, tmp_path: Path, monkeypatch: Patch) -> None:
    source = getattr(import_torchvision().datasets, DATASETS.members[name].source)  # type: ignore[attr-defined]
    monkeypatch.setattr(source, "mirrors", ["http://127.0.0.1:9/"], raising=False)
    monkeypatch.setattr(source, "url", "http://127.0.0.1:9/cifar.tar.gz", raising=False)
    with pytest.raises(DatasetUnavailableError, match=f"'{name}' could not be downloaded to .*refused") as caught:
        DATASETS.parse(name).load(tmp_path / "new", download=True, seed=0)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("download", [False, True])
@pytest.mark.parametrize("file", ["train-images-idx3-ubyte", "t10k-labels-idx1-ubyte"])
@pytest.mark.parametrize("left", [0, 3, 40])
def test_mnist_cut_short(
    file: str, left: int, download: bool, prepared: Callable[..., Dataset], tmp_path: Path
) -> None:
    dataset = prepared("mnist")
    os.truncate(tmp_path / "MNIST/raw" / file, left)
    with pytest.raises(
        DatasetUnavailableError, match=r"'mnist' has damaged files in .*MNIST/raw .*; delete "
    ) as caught:
        dataset.load(tmp_path, download, seed=0)
    assert "\n" not in str(caught.value)


def test_mnist_of_another_set_of_classes(prepared: Callable[..., Dataset], tmp_path: Path) -> None:
    dataset = prepared("mnist")
    labels = tmp_path / "MNIST/raw/train-labels-idx1-ubyte"
    labels.write_bytes(labels.read_bytes()[:8] + bytes(200))
    with pytest.raises(DatasetUnavailableError, match=r"damaged files .*200 images, 200 labels, 1 classes"):
        dataset.load(tmp_path, download=False, seed=0)


def test_cifar_with_a_changed_byte(prepared: Callable[..., Dataset], tmp_path: Path) -> None:
    dataset = prepared("cifar10")
    batch = tmp_path / "cifar-10-batches-py/data_batch_3"
    batch.write_bytes(batch.read_bytes()[:-1] + b"!")
    with pytest.raises(DatasetUnavailableError, match=r"'cifar10' has damaged files .*not found or corrupted"):
        dataset.load(tmp_path, download=False, seed=0)


def test_download_unpacks_archives_that_are_there(tmp_path: Path, monkeypatch: Patch) -> None:
    write_mnist(tmp_path, "mnist", zipped=True)
    source = import_torchvision().datasets.MNIST
    raw = tmp_path / "MNIST/raw"
    sums = [(file, hashlib.md5((raw / file).read_bytes()).hexdigest()) for file, _ in source.resources]
    monkeypatch.setattr(source, "resources", sums)
    monkeypatch.setattr(source, "mirrors", ["http://127.0.0.1:9/"])
    dataset = DATASETS.parse("mnist")
    assert "train-images-idx3-ubyte is missing" in str(dataset.available(tmp_path))
    assert len(dataset.load(tmp_path, download=True, seed=0).train_targets) == 180
    assert dataset.available(tmp_path) is None


# ---------------------------------------------------------------- folders


def load(dataset: Dataset) -> Splits:
    return dataset.load(Path("unused"), download=False, seed=0)


def test_a_folder_in_parts(tmp_path: Path) -> None:
    for part, each in (("train", 10), ("val", 3), ("test", 4)):
        write_images(tmp_path / part, {"cat": each, "dog": each})
    folder = DATASETS.parse(f"folder:{tmp_path}[size=8,channels=1]")
    splits = load(folder)
    assert [len(targets) for _, targets in parts(splits).values()] == [20, 6, 8]
    assert splits.train_inputs.shape == (20, 1, 8, 8)
    is_standardized(folder, Loaded(splits, tmp_path))
    has_disjoint_parts(folder, Loaded(splits, tmp_path))


def test_a_folder_without_validation_gets_it_from_train(tmp_path: Path) -> None:
    for part, each in (("train", 20), ("test", 4)):
        write_images(tmp_path / part, {"cat": each, "dog": each})
    assert [len(targets) for _, targets in parts(load(Folder(path=str(tmp_path)))).values()] == [36, 4, 8]


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    write_images(tmp_path, {"car": 10, "train": 10})
    assert load(Folder(path=str(tmp_path))).num_classes == 2


def empty(root: Path) -> None:
    root.mkdir()


def files_only(root: Path) -> None:
    write_images(root, {".": 3})


def a_class_without_images(root: Path) -> None:
    write_images(root, {"cat": 5, "dog": 0})


def an_image_that_is_none(root: Path) -> None:
    write_images(root, {"cat": 5, "dog": 5})
    (root / "dog/0.png").write_bytes(b"not an image")


def an_image_cut_short(root: Path) -> None:
    write_images(root, {"cat": 5, "dog": 5}, side=(64, 64))
    os.truncate(root / "cat/0.png", 2000)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda _: None, "is not there: no folder .*; give one with a subfolder for each class"),
        (empty, "is not there: .* holds no folders; give one"),
        (files_only, "is not there: .* holds no folders; give one"),
        (a_class_without_images, "Found no valid file for the classes dog"),
        (an_image_that_is_none, "cannot read the image .*dog/0.png: cannot identify image file"),
        (an_image_cut_short, "cannot read the image .*cat/0.png: "),
    ],
)
def test_a_folder_that_cannot_be_read(make: Callable[[Path], None], said: str, tmp_path: Path) -> None:
    make(tmp_path / "pets")
    with pytest.raises(DatasetUnavailableError, match=said) as caught:
        load(Folder(path=str(tmp_path / "pets")))
    assert "\n" not in str(caught.value)


def one_class(root: Path) -> None:
    write_images(root, {"cat": 10})


def few_images(root: Path) -> None:
    write_images(root, {"cat": 10, "dog": 4})


def few_training_images(root: Path) -> None:
    write_images(root / "train", {"cat": 5, "dog": 1})
    write_images(root / "test", {"cat": 5, "dog": 1})


def no_test(root: Path) -> None:
    write_images(root / "train", {"cat": 5, "dog": 5})
    write_images(root / "val", {"cat": 5, "dog": 5})


def other_classes(root: Path) -> None:
    write_images(root / "train", {"cat": 5, "dog": 5})
    write_images(root / "test", {"cat": 5, "fox": 5})


def one_color(root: Path) -> None:
    for label in ("cat", "dog"):
        write_images(root, {label: 5})
        for file in (root / label).iterdir():
            Image.new("RGB", (9, 9), (7, int(RNG([*file.name.encode()]).integers(256)), 0)).save(file)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (one_class, "found one class only, 'cat'"),
        (few_images, "class 'dog' has too few images in .*: 4, and it takes at least 5"),
        (few_training_images, "class 'dog' has too few images in .*train: 1, and it takes at least 2"),
        (no_test, "has train/ but no test/; name the part held out to the end test/"),
        (other_classes, r"test has other classes than .*/train \(differing: dog, fox\)"),
        (one_color, "channel 0 has the same value in every pixel of every training image"),
    ],
)
def test_a_folder_that_makes_no_data_set(make: Callable[[Path], None], said: str, tmp_path: Path) -> None:
    make(tmp_path / "pets")
    with pytest.raises(UsageError, match=said) as caught:
        load(Folder(path=str(tmp_path / "pets")))
    assert "\n" not in str(caught.value)


def test_a_folder_too_large_for_memory(tmp_path: Path) -> None:
    folder = Folder(path=str(write_images(tmp_path, {"cat": 171, "dog": 171}, side=(1, 1))), size=1024)
    with pytest.raises(UsageError, match=r"342 images of 3x1024x1024 take 4\.01 GiB .*, over the bound of 4\.00 GiB"):
        load(folder)


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("folder", "needs its path: write folder:PATH"),
        ("folder:x[channels=2]", r"channels: must be 1 \(gray\) or 3 \(color\), got 2"),
        ("folder:x[size=0]", "size: input should be greater than or equal to 1"),
        ("digits[train_fraction=0]", "train_fraction: input should be greater than 0"),
        ("digits[train_fraction=1.5]", "train_fraction: input should be less than or equal to 1"),
        ("digits[size=9]", "no option 'size'"),
        ("lattice[side=1]", "side: input should be greater than or equal to 2"),
        ("permutation[points=6]", "points: input should be less than or equal to 5"),
        ("permutation[sampling=as_released]", "no option 'sampling'"),
        ("equivalence[sampling=released]", "sampling: input should be 'unique' or 'as_released'"),
    ],
)
def test_bad_options(address: str, said: str) -> None:
    with pytest.raises(OptionError, match=said):
        DATASETS.parse(address)


# ---------------------------------------------------------------- planning


def test_listing_and_planning_load_neither_torch_nor_torchvision() -> None:
    code = (
        "import sys\nfrom pathlib import Path\n"
        "from harmbench.backbones import BACKBONES\nfrom harmbench.datasets import DATASETS\n"
        "for cls in DATASETS.members.values():\n"
        "    options = {cls.argument: '/x'} if cls.argument else {}\n"
        "    cls.summary(), cls.from_options(options).available(Path('/nowhere'))\n"
        "for address in ('mlp', 'cnn', 'timm:resnet18'): str(BACKBONES.parse(address))\n"
        "print(sorted({'torch', 'torchvision', 'timm', 'sklearn', 'numpy', 'PIL'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=600)
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr
