"""Models and tokenizers that exist already, from folders that `save_pretrained` wrote."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from harmbench._torchvision import import_torchvision
from harmbench.backbones import BACKBONES
from harmbench.backbones._language import TransformersBackbone
from harmbench.datasets import DATASETS, Dataset
from harmbench.errors import DatasetUnavailableError, OptionError, UsageError
from harmbench.runner.model import build
from harmbench.runner.targets import make_targets
from harmbench.testing import check_backbone
from tests.support.samples import spec

import_torchvision()  # the library imports it

LENGTH = 16
TINY = {"num_hidden_layers": 1, "num_attention_heads": 2, "hidden_size": 16, "intermediate_size": 32}


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "corpus"
    folder.mkdir()
    for number in range(100):
        text = " ".join(f"word{number * i % 97} déjà {i}" for i in range(60))
        (folder / f"{number}.txt").write_text(text, encoding="utf-8")


def corpus(tmp_path: Path, **options: Any) -> Dataset:
    listed = ",".join(f"{name}={value}" for name, value in {"length": LENGTH, **options}.items())
    return DATASETS.parse(f"text:{tmp_path / 'corpus'}[{listed}]")


def a_tokenizer(folder: Path, vocabulary: int = 280, mask: str | None = None, decoder: bool = True) -> int:
    """Writes a small one as transformers do; its size."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    if decoder:
        tokenizer.decoder = decoders.ByteLevel()
    special = ["<unused>", "<stop>", *([mask] if mask else [])]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(["word word words déjà"] * 9, trainer)
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<stop>", mask_token=mask)
    wrapped.save_pretrained(str(folder))
    return max(tokenizer.get_vocab().values()) + 1


def a_model(folder: Path, kind: str, vocabulary: int) -> Any:
    from transformers import BertConfig, BertModel, GPT2Config, GPT2Model

    torch.manual_seed(1)
    model: Any
    if kind == "gpt2":
        config = GPT2Config(n_layer=1, n_head=2, n_embd=16, n_positions=32, vocab_size=vocabulary)
        model = GPT2Model(config)
    else:
        model = BertModel(BertConfig(**TINY, max_position_embeddings=32, vocab_size=vocabulary))
    model.save_pretrained(str(folder))
    return model


@pytest.mark.parametrize("options", ["", "[tied=true]"])
def test_fresh_weights_of_a_configuration_keep_the_contract(options: str, tmp_path: Path) -> None:
    a_model(tmp_path / "m", "gpt2", 999)
    backbone = BACKBONES.parse(f"hf:{tmp_path / 'm'}{options}")
    assert backbone.known_features() == 16
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(backbone), "build", without_dropout(type(backbone).build))
        check_backbone(backbone, [(LENGTH, 40)])
        check_backbone(backbone, [(64, 40)])  # longer than its positions were


def without_dropout(make: Any) -> Any:
    """The contract's features are compared between calls in training mode too."""

    def built(self: Any, shape: Any) -> Any:
        module = make(self, shape)
        for part in module.modules():
            if isinstance(part, torch.nn.Dropout):
                part.p = 0.0
        return module

    return built


def test_a_masked_model_keeps_the_contract_and_loses_its_pooler(tmp_path: Path) -> None:
    a_model(tmp_path / "m", "bert", 999)
    module = BACKBONES.parse(f"hf:{tmp_path / 'm'}[masked=true]").build((LENGTH, 40))
    assert module.training
    assert not any("pooler" in name for name, _ in module.named_parameters())


@pytest.mark.parametrize(("rows", "tied"), [(0, "false"), (7, "true")])
def test_pretrained_weights_are_those_of_the_folder(rows: int, tied: str, tmp_path: Path) -> None:
    """Also where their table is longer than the tokenizer."""
    size = a_tokenizer(tmp_path / "m")
    saved = a_model(tmp_path / "m", "gpt2", size + rows)
    dataset = corpus(tmp_path, tokenizer=tmp_path / "m")
    assert dataset.known_classes(Path()) == size
    splits = make_targets(dataset.splits(Path(), download=False), "next")
    assert splits.num_classes == size
    address = f"hf:{tmp_path / 'm'}[pretrained=true,tied={tied}]"
    model = build(spec("cosine", backbone=address), splits.input_shape, size)
    tokens = splits.test_inputs[:3]
    with torch.no_grad():
        found = model.eval().backbone(tokens)
        torch.testing.assert_close(found, saved.eval()(tokens).last_hidden_state)
    assert model.head.weight.shape == (size, 16)
    assert (model.head.weight is model.backbone.embedding) == (tied == "true")
    model.loss(tokens, splits.test_targets[:3]).backward()  # type: ignore[no-untyped-call]


def test_weights_that_were_stored_in_half_are_trained_in_float32(tmp_path: Path) -> None:
    a_model(tmp_path / "m", "gpt2", 40).to(torch.bfloat16).save_pretrained(str(tmp_path / "m"))
    module = BACKBONES.parse(f"hf:{tmp_path / 'm'}[pretrained=true]").build((LENGTH, 40))
    assert {weights.dtype for weights in module.parameters()} == {torch.float32}


REFUSED = {
    "another vocabulary": (
        "gpt2",
        "[pretrained=true]",
        (LENGTH, 300),
        r"weights for the 41 .* data set has 300; .*stdlib\[",
    ),
    "looks ahead": ("bert", "", (LENGTH, 41), r"looks ahead, .* write hf:.*\[masked=true\]"),
    "too long": ("gpt2", "[pretrained=true]", (64, 41), "does not take windows of 64 tokens .* a shorter length"),
}


@pytest.mark.parametrize(("kind", "options", "shape", "said"), REFUSED.values(), ids=REFUSED)
def test_what_does_not_fit_is_one_line(
    kind: str, options: str, shape: tuple[int, int], said: str, tmp_path: Path
) -> None:
    a_model(tmp_path / "m", kind, 41)
    with pytest.raises(UsageError, match=said) as caught:
        BACKBONES.parse(f"hf:{tmp_path / 'm'}{options}").build(shape)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("options", ["", "[pretrained=true]"])
def test_a_model_that_is_not_here_is_one_line_and_nothing_is_fetched(
    options: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import socket

    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: pytest.fail("asked the network"))
    (tmp_path / "empty").mkdir()
    for path in ("nobody/nothing", tmp_path / "empty"):
        with pytest.raises(UsageError, match=r"nor in the hub's cache .* get it with `hf download") as caught:
            BACKBONES.parse(f"hf:{path}{options}").build((LENGTH, 40))
        assert "\n" not in str(caught.value)
    with pytest.raises(DatasetUnavailableError, match=r"tokenizer nobody/nothing cannot be loaded: .* --download"):
        corpus(tmp_path, tokenizer="nobody/nothing").splits(Path(), download=False)


def test_changed_weights_are_another_trial(tmp_path: Path) -> None:
    a_model(tmp_path / "m", "gpt2", 41)
    backbone = BACKBONES.parse(f"hf:{tmp_path / 'm'}")
    before = backbone.content()
    assert backbone.content() == before
    (tmp_path / "m" / "model.safetensors").write_bytes(b"other")
    assert backbone.content() != before
    trials = [spec("cosine", backbone=str(backbone), backbone_content=content) for content in ("a", "b")]
    assert trials[0].id != trials[1].id
    gpt2 = BACKBONES.parse("gpt2")
    assert isinstance(gpt2, TransformersBackbone)
    assert gpt2.content().startswith("transformers ")


# Tokenizers.


def test_an_existing_tokenizer_writes_the_tokens(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    size = a_tokenizer(tmp_path / "t", mask="<hide>")
    dataset: Any = corpus(tmp_path, tokenizer=tmp_path / "t")
    text = dataset.text(Path(), False)
    tokenizer: Any = AutoTokenizer.from_pretrained(str(tmp_path / "t"))
    documents = dataset.parts(Path(), False)[2]
    expected = [n for d in documents for n in (tokenizer.eos_token_id, *tokenizer(d)["input_ids"])]
    assert text.test.tolist() == expected
    assert text.token_bytes[text.test].sum() == sum(len(d.encode()) for d in documents)
    splits = dataset.splits(Path(), False)
    assert (splits.num_classes, splits.mask_token) == (size, tokenizer.mask_token_id)
    assert make_targets(splits, "masked").test_targets.shape[1] == LENGTH


def test_a_file_alone_is_a_tokenizer_too(tmp_path: Path) -> None:
    a_tokenizer(tmp_path / "t", mask="[MASK]")
    file = tmp_path / "t" / "tokenizer.json"
    with pytest.raises(UsageError, match=r"no token for the end of a document \(looked for <\|endoftext\|>, "):
        corpus(tmp_path, tokenizer=file).splits(Path(), False)
    file.write_text(file.read_text().replace("<stop>", "</s>"))
    splits = corpus(tmp_path, tokenizer=file).splits(Path(), False)
    assert splits.mask_token == 2


def test_without_a_mask_masked_models_are_refused(tmp_path: Path) -> None:
    a_tokenizer(tmp_path / "t")
    splits = corpus(tmp_path, tokenizer=tmp_path / "t").splits(Path(), False)
    assert splits.mask_token is None
    with pytest.raises(UsageError, match="has no mask token"):
        make_targets(splits, "masked")


def test_of_tokens_that_do_not_say_it_the_bytes_are_unknown(tmp_path: Path) -> None:
    a_tokenizer(tmp_path / "t", decoder=False)
    splits = corpus(tmp_path, tokenizer=tmp_path / "t").splits(Path(), False)
    assert splits.token_bytes is not None
    assert splits.token_bytes.sum() == 0


def test_a_changed_tokenizer_is_other_data(tmp_path: Path) -> None:
    a_tokenizer(tmp_path / "t")
    dataset: Any = corpus(tmp_path, tokenizer=tmp_path / "t")
    before = dataset.content(Path()), dataset.token_file(Path())
    file = tmp_path / "t" / "tokenizer.json"
    file.write_text(json.dumps(json.loads(file.read_text()), indent=1))
    after = dataset.content(Path()), dataset.token_file(Path())
    assert before[0] != after[0]
    assert before[1] != after[1]


def test_a_tokenizer_brings_its_vocabulary() -> None:
    with pytest.raises(OptionError, match="tokenizer: brings its own vocabulary; leave out the option vocabulary"):
        DATASETS.parse("stdlib[tokenizer=gpt2,vocabulary=300]")
