"""Text: parts by document, tokens in the cache, questions made of windows, and a language model that learns."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from harmbench.datasets import DATASETS, Splits
from harmbench.datasets._text import TextDataset
from harmbench.datasets._tokenized import END, MASK, SPECIAL, split, token_bytes
from harmbench.errors import UsageError
from harmbench.runner.model import build
from harmbench.runner.prediction import predict
from harmbench.runner.targets import IGNORED, make_targets, mask_tokens, target_maker
from tests.support.outcomes import measured, outcome
from tests.support.samples import spec
from tests.support.training import train

WORDS = ("alpha", "beta", "gamma", "déjà", "vu", "€", "日本語", "\t", "\n")


class Written(TextDataset):
    """A hundred and twenty documents of random words, some of them twice."""

    name = "written"
    seed: int = 0

    def source(self, data_dir: Path) -> str:
        return str(self.seed)

    def documents(self, data_dir: Path, download: bool):
        rng = np.random.default_rng(self.seed)
        texts = [" ".join(rng.choice(WORDS, 60)) for _ in range(120)]
        yield from [*texts, *texts[:10]]


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def test_no_document_is_in_two_parts_and_equal_ones_count_once():
    documents = list(Written().documents(Path(), False))
    parts = [set(part) for part in split(documents)]
    assert set.union(*parts) == set(documents)
    assert sum(map(len, parts)) == len(set(documents)) == sum(map(len, split(documents)))


def test_tokens_come_back_as_the_text_they_were():
    from tokenizers import Tokenizer

    text = Written(vocabulary=300).text(Path(), False)
    tokenizer = Tokenizer.from_str(text.tokenizer)
    for tokens, part in zip(text[:3], split(Written().documents(Path(), False)), strict=True):
        ends = np.flatnonzero(tokens == END)
        found = [tokenizer.decode(ids[1:].tolist()) for ids in np.split(tokens, ends[1:])]
        assert found == part
        lengths = text.token_bytes[tokens]
        assert lengths.sum() == sum(len(document.encode()) for document in part)
    assert token_bytes(tokenizer)[[END, MASK]].tolist() == [0, 0]
    assert tokenizer.token_to_id(SPECIAL[1]) == MASK


def test_a_cached_file_that_was_damaged_is_made_anew(tmp_path, capfd):
    first = Written(length=32).splits(Path(), download=False)
    (file,) = tmp_path.rglob("*.npz")
    file.write_bytes(file.read_bytes()[:-100])
    again = Written(length=32).splits(Path(), download=False)
    assert torch.equal(first.train_inputs, again.train_inputs)
    assert "checksum" in capfd.readouterr().err


def test_a_cache_that_cannot_be_written_is_one_line(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(UsageError, match="XDG_CACHE_HOME"):
        Written().splits(Path(), download=False)


def test_windows_longer_than_a_part_are_one_line():
    with pytest.raises(UsageError, match="no window of 50000 tokens in its train and validation and test part"):
        Written(length=50000).splits(Path(), download=False)


def small() -> Splits:
    return Written(vocabulary=300, length=16).splits(Path(), download=False)


def vocabulary(size: int) -> Splits:
    return Splits(*[torch.zeros(1, 2, dtype=torch.long)] * 6, num_classes=size, mask_token=MASK)


def test_next_tokens_are_the_ones_that_follow():
    splits, asked = small(), make_targets(small(), "next")
    for part in ("train", "validation", "test"):
        whole = getattr(splits, f"{part}_inputs")
        assert torch.equal(getattr(asked, f"{part}_inputs"), whole[:, :-1])
        assert torch.equal(getattr(asked, f"{part}_targets"), whole[:, 1:])


def test_masks_hide_what_they_ask_for_as_bert_does():
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(2, 1000, (4000, 40), generator=generator)
    inputs, targets = mask_tokens(tokens, vocabulary(1000), generator)
    asked = targets != IGNORED
    assert asked.sum(1).eq(6).all()
    assert torch.equal(targets[asked], tokens[asked])
    assert torch.equal(inputs[~asked], tokens[~asked])
    shares = [(inputs[asked] == MASK), (inputs[asked] == tokens[asked])]
    assert [share.double().mean().item() for share in shares] == pytest.approx([0.8, 0.1], abs=0.01)
    assert asked.double().mean(0) == pytest.approx(torch.full((40,), 0.15).double(), abs=0.02)


def test_masks_of_a_step_are_its_own_and_the_same_each_time():
    tokens = torch.randint(2, 300, (8, 20), generator=torch.Generator().manual_seed(0))
    ask = target_maker("masked", vocabulary(300), seed=7)
    assert torch.equal(ask(tokens, tokens, 3)[0], ask(tokens, tokens, 3)[0])
    assert not torch.equal(ask(tokens, tokens, 3)[1], ask(tokens, tokens, 4)[1])
    held_out = [make_targets(small(), "masked").validation_inputs for _ in range(2)]
    assert torch.equal(*held_out)


@pytest.mark.slow
@pytest.mark.parametrize("backbone", ["gpt2", "bert", "qwen2"])
@pytest.mark.parametrize("tied", ["true", "false"])
def test_a_language_model_learns_and_its_nll_is_the_one_of_its_logits(backbone, tied):
    trial = spec("cosine", backbone=f"{backbone}[tied={tied}]", protocol={"steps": 12, "evaluations": 2, "lr": 3e-3})
    splits = make_targets(small(), "masked" if backbone == "bert" else "next")
    model = build(trial, splits.input_shape, splits.num_classes)
    trained = train(trial, model, splits)
    assert trained.curve[-1].validation_nll < math.log(300)
    found = predict(model, splits.test_inputs, splits.test_targets, trial.protocol)
    with torch.no_grad():
        logits = model.eval()(splits.test_inputs).double()
    expected = torch.nn.functional.cross_entropy(logits.flatten(0, 1), splits.test_targets.flatten())
    assert found.logits is None
    assert found.nll.mean().item() == pytest.approx(expected.item(), rel=1e-5)
    assert len(found.targets) == (splits.test_targets != IGNORED).sum()


def test_perplexity_and_bits_per_byte_are_their_formulae():
    nll, lengths = torch.tensor([0.5, 1.5, 2.5, 3.5]), torch.tensor([0, 0, 3, 5])
    targets = torch.tensor([2, 3, 3, 0])
    found = measured(
        "perplexity",
        outcome(test_logits=torch.zeros(4, 4), test_nll=nll, test_targets=targets, token_bytes=lengths),
    )
    assert found["test_perplexity"].value == pytest.approx(math.exp(2))
    assert found["test_bits_per_byte"].value == pytest.approx(8 / math.log(2) / 13)
    assert found["test_tokens"].value == 4


def test_a_plan_can_be_made_before_the_tokens_are_there():
    assert DATASETS.parse("bins:/nowhere").content(Path()) == ""
    assert DATASETS.parse("bins:/nowhere").encoder(Path()) is None


def test_a_text_is_encoded_as_its_own_was(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    data = Written(vocabulary=300, length=16)
    encode = data.encoder(Path())
    text = data.text(Path(), download=False)
    document = data.parts(Path(), download=False)[2][0]
    assert encode(document) == text.test[1 : 1 + len(encode(document))].tolist()
