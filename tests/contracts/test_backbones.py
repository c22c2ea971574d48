"""The contract of backbones, over every registered one and a few timm models."""

from __future__ import annotations

import copy
from typing import Any, ClassVar, Literal

import pytest
import torch
from torch import nn

from harmbench.backbones import BACKBONES, Backbone
from harmbench.backbones.timm import known_models
from harmbench.errors import ContractError, OptionError, UnknownNameError, UsageError
from harmbench.runner.model import build, optimizer_for
from harmbench.testing import check_backbone
from harmbench.testing.backbones import seeded
from tests.support.samples import spec

Shape = tuple[int, ...]

SHAPES: dict[str, list[Shape]] = {
    "images": [(1, 8, 8), (3, 8, 8), (1, 28, 28), (3, 32, 32)],
    "tokens": [(1, 5), (2, 31), (3, 25)],
    "text": [(16, 40)],
}
OURS = [str(backbone) for backbone in BACKBONES.every_variant()]
CASES = [
    *((address, shape) for address in OURS for shape in SHAPES[BACKBONES.parse(address).takes]),
    *((f"{name}[tied=false]", (2, 31)) for name in ("token_mlp", "token_transformer")),
    *((f"{name}[tied=true,dropout=0.1]", (16, 40)) for name in ("gpt2", "bert", "qwen2")),
    ("timm:resnet18", (1, 8, 8)),
    ("timm:resnet18", (3, 32, 32)),
    ("timm:mobilenetv3_small_050", (1, 28, 28)),
    ("timm:vit_tiny_patch16_224", (3, 8, 8)),
]


@pytest.mark.parametrize(("address", "shape"), CASES, ids=str)
def test_contract(address: str, shape: Shape) -> None:
    check_backbone(BACKBONES.parse(address), [shape])


class Wrong(Backbone):
    """Breaks the contract as its option says."""

    name: ClassVar[str] = "wrong"
    how: str

    def known_features(self) -> int | None:
        return 9 if self.how == "another length" else None

    def build(self, input_shape: Shape) -> nn.Module:
        module = _Wrong(self.how)
        return module.eval() if self.how == "evaluating" else module

    def blank(self, input_shape: Shape) -> torch.Tensor:
        blank = super().blank(input_shape)
        return blank.long() if self.how == "blank of tokens" else blank

    def centers(self, module: nn.Module) -> nn.Parameter | None:
        return _centers(self.how, module)


def _centers(how: str, module: Any) -> nn.Parameter | None:
    if how == "centers of another shape":
        return module.second.weight  # type: ignore[no-any-return]
    return nn.Parameter(torch.zeros(8, 8)) if how == "centers from elsewhere" else None


class _Wrong(nn.Module):
    def __init__(self, how: str) -> None:
        super().__init__()
        if how == "unseeded":
            torch.seed()
        self.how, self.first, self.second = how, nn.Linear(64, 8), nn.Linear(8, 8)
        if how == "not to be pickled":
            self.act = lambda hidden: hidden

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        hidden = self.first(inputs.flatten(1))
        if self.how == "detached":
            hidden = hidden.detach()
        if self.how == "batch":
            hidden = hidden - hidden.mean(0)
        features: torch.Tensor = self.second(hidden)
        return features[..., None] if self.how == "shape" else features


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("another length", "known_features is 9, and features have 8"),
        ("evaluating", "built in evaluation mode"),
        ("blank of tokens", "blank is torch.int64"),
        ("not to be pickled", "can_be_copied: on inputs of 1x8x8: raises .*pickle"),
        ("detached", "no gradient reaches first"),
        ("shape", "features of shape"),
        ("unseeded", "same seed, other weights"),
        ("batch", "depend on the rest of the batch"),
        ("centers of another shape", "centers of shape"),
        ("centers from elsewhere", "centers that are not the module's"),
    ],
)
def test_the_contract_catches_a_wrong_backbone(how: str, reason: str) -> None:
    shape = (1, 4, 16) if how == "centers of another shape" else (1, 8, 8)
    with pytest.raises(ContractError, match=reason):
        check_backbone(Wrong(how=how), [shape])


class LooksAhead(Backbone):
    """Mixes each token with the one that follows."""

    name: ClassVar[str] = "looks_ahead"
    takes: ClassVar[Literal["text"]] = "text"
    objective: ClassVar[Literal["next"]] = "next"

    def build(self, input_shape: Shape) -> nn.Module:
        return _LooksAhead(input_shape[1])


class _LooksAhead(nn.Module):
    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, 8)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.embedding(tokens)
        return features + features.roll(-1, dims=1)


def test_the_contract_catches_a_backbone_that_looks_ahead() -> None:
    with pytest.raises(ContractError, match="features look ahead"):
        check_backbone(LooksAhead())


# Parameters of arXiv 2502.01628's models on modular addition, head included. Its transformers hold, besides, a linear
# layer from 16 to 31 that nothing uses.
UNUSED = 17 * 31


@pytest.mark.parametrize(
    ("address", "distance", "parameters"),
    [
        ("token_mlp", None, 5_443),
        ("token_mlp", "euclidean", 5_412),
        ("token_transformer", None, 7_615 - UNUSED + 31),  # ours has a bias
        ("token_transformer[tied=false]", "euclidean", 8_111 - UNUSED),
    ],
)
def test_sizes_with_tied_and_untied_heads(address: str, distance: str | None, parameters: int) -> None:
    trial = spec(distance, "harmonic" if distance else "cross_entropy", dataset="modular_addition", backbone=address)
    model = build(trial, (2, 31), 31)
    assert sum(weights.numel() for weights in model.parameters()) == parameters
    groups = optimizer_for(model, trial.protocol).param_groups
    optimized = [weights for group in groups for weights in group["params"]]
    assert sum(weights.numel() for weights in optimized) == parameters


@pytest.mark.parametrize("distance", [None, "euclidean", "mahalanobis[variant=diagonal]"])
def test_a_tied_head_moves_with_the_embedding_and_is_kept_once(distance: str | None) -> None:
    trial = spec(distance, "harmonic" if distance else "cross_entropy", dataset="lattice", backbone="token_mlp")
    model = build(trial, (3, 25), 25)
    table: Any = model.get_parameter("backbone.embedding.weight")
    before = table.detach().clone()
    optimizer = optimizer_for(model, trial.protocol)
    model.loss(torch.tensor([[1, 2, 3]]), torch.tensor([9])).backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    assert not torch.equal(table[1], before[1]), "an input's row stands still"
    assert not torch.equal(table[9], before[9]), "a class's row stands still"
    twin = copy.deepcopy(model)
    twin.load_state_dict(model.state_dict())
    for each in (model, twin):
        assert each.get_parameter("head.weight") is each.get_parameter("backbone.embedding.weight")
    assert torch.equal(twin.get_parameter("head.weight"), table)


# Parameters of arXiv 2603.10225's networks, less those of their linear heads with bias.
@pytest.mark.parametrize(
    ("address", "shape", "parameters"),
    [
        ("mlp", (1, 28, 28), 535_818 - 257 * 10),
        ("mlp", (3, 32, 32), 1_707_274 - 257 * 10),
        ("cnn", (1, 28, 28), 421_642 - 129 * 10),
        ("cnn", (3, 32, 32), 545_098 - 129 * 10),
        ("timm:resnet50", (3, 32, 32), 23_520_842 - 2049 * 10),
        ("timm:pvt_v2_b0", (3, 32, 32), 3_412_330 - 257 * 10),
        ("timm:vit_tiny_patch16_224", (3, 32, 32), 5_526_346 - 193 * 10),
    ],
)
def test_sizes_are_those_of_the_paper(address: str, shape: Shape, parameters: int) -> None:
    module = BACKBONES.parse(address).build(shape)
    assert sum(weights.numel() for weights in module.parameters()) == parameters


@pytest.mark.parametrize(
    ("address", "canonical"),
    [
        ("mlp[hidden=512-256]", "mlp"),
        ("mlp[hidden=64]", "mlp[hidden=64]"),
        ("cnn[channels=8-16-32,width=10]", "cnn[channels=8-16-32,width=10]"),
        ("timm:resnet18[size=auto]", "timm:resnet18"),
        ("timm:resnet18[size=64,pretrained=true]", "timm:resnet18[pretrained=True,size=64]"),
    ],
)
def test_addresses(address: str, canonical: str) -> None:
    backbone = BACKBONES.parse(address)
    assert str(backbone) == canonical
    assert BACKBONES.parse(canonical) == backbone


def test_widths_may_be_numbers_in_python() -> None:
    mlp = BACKBONES.members["mlp"]
    assert mlp.from_options({"hidden": [64, 32]}) == mlp.from_options({"hidden": "64-32"})
    assert mlp.from_options({"hidden": 64}) == mlp.from_options({"hidden": (64,)})


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("mlp[hidden=a-b]", "must be numbers joined by '-', such as 512-256, got 'a-b'"),
        ("mlp[hidden=512-0]", "must be numbers of at least 1, got '512-0'"),
        ("cnn[channels=]", "cannot read 'channels='"),
        ("cnn[width=0]", "width: input should be greater than or equal to 1"),
        ("token_transformer[heads=3]", "heads: must divide the width, 16, got 3"),
        ("token_transformer[width=5]", "heads: must divide the width, 5, got 2"),
        ("token_transformer[dropout=1]", "dropout: input should be less than 1"),
        ("timm", "needs its model: write timm:MODEL"),
        ("timm:resnet18[size=0]", "must be auto or a number of pixels, at least 1, got 0"),
    ],
)
def test_bad_options(address: str, said: str) -> None:
    with pytest.raises(OptionError, match=said.replace("[", r"\[")):
        BACKBONES.parse(address)


@pytest.mark.parametrize("shape", [(1, 3, 8), (1, 8, 3)])
def test_an_image_too_small_for_the_cnn(shape: Shape) -> None:
    with pytest.raises(UsageError, match=r"cnn: images of \dx\d pixels are too small for 2 max-pools; they need 4x4"):
        BACKBONES.parse("cnn").build(shape)


def test_known_models_are_those_of_timm() -> None:
    import timm

    assert list(known_models()) == sorted(timm.list_models())


def test_an_unknown_timm_model_shows_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="unknown timm model 'resnet81'; did you mean 'resnet18'") as caught:
        BACKBONES.parse("timm:resnet81")
    assert len(str(caught.value)) < 300
    with pytest.raises(UnknownNameError, match=r"'zzz'. Nearest: \w+, .*See `harmbench show timm`"):
        BACKBONES.parse("timm:zzz")


@pytest.mark.parametrize(
    ("address", "shape", "said"),
    [
        ("timm:resnet18.nobody", (3, 32, 32), r"timm:resnet18.nobody: timm cannot build it: Invalid pretrained tag"),
        ("timm:mixer_s16_224[size=8]", (3, 32, 32), r"timm:mixer_s16_224\[size=8\]: "),
        ("timm:inception_v3", (3, 32, 32), r"inception_v3: cannot take images of 3x32x32: .*; try a larger size"),
    ],
)
def test_a_model_that_cannot_be_built(address: str, shape: Shape, said: str) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        BACKBONES.parse(address).build(shape)
    assert "\n" not in str(caught.value)


def test_dropout_is_off_when_evaluated() -> None:
    module = seeded(BACKBONES.parse("token_transformer[dropout=0.5]"), (2, 31))
    tokens = torch.tensor([[3, 4]] * 8)
    assert len(module(tokens).unique(dim=0)) > 1
    features = module.eval()(tokens)
    torch.testing.assert_close(features, features[:1].expand_as(features))


def convolved_shape(address: str, shape: Shape) -> tuple[int, ...]:
    """(H, W) of what leaves the stem of a ResNet."""
    module: Any = BACKBONES.parse(address).build(shape).eval()
    network: Any = module[-1] if isinstance(module, nn.Sequential) else module
    seen: list[torch.Size] = []
    network.layer1.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape))
    module(torch.zeros(1, *shape))
    return tuple(seen[0][2:])


@pytest.mark.parametrize(
    ("address", "shape", "expected"),
    [
        ("timm:resnet10t", (3, 32, 32), (32, 32)),
        ("timm:resnet10t", (1, 8, 8), (32, 32)),
        ("timm:resnet18", (3, 64, 48), (64, 48)),
        ("timm:resnet18", (3, 96, 96), (24, 24)),
        ("timm:resnet18[size=128]", (3, 32, 32), (32, 32)),
        ("timm:resnet18[size=16]", (3, 32, 32), (16, 16)),
    ],
)
def test_the_stem_of_a_resnet_fits_the_image(address: str, shape: Shape, expected: tuple[int, int]) -> None:
    assert convolved_shape(address, shape) == expected


def test_a_fixed_size_can_be_overridden() -> None:
    module: Any = BACKBONES.parse("timm:vit_tiny_patch16_224[size=32]").build((3, 32, 32))
    assert module.patch_embed.grid_size == (2, 2)


def test_pretrained_weights_keep_their_stem_and_size(monkeypatch: pytest.MonkeyPatch) -> None:
    import timm

    create = timm.create_model
    monkeypatch.setattr(timm, "create_model", lambda *args, **options: create(*args, **options | {"pretrained": False}))
    assert convolved_shape("timm:resnet18[pretrained=true]", (3, 32, 32)) == (56, 56)


def test_pretrained_weights_that_cannot_be_fetched(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    import huggingface_hub.constants as hub

    monkeypatch.setattr(hub, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(hub, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(UsageError, match=r"timm:resnet18\[.*\]: timm cannot build it: ") as caught:
        BACKBONES.parse("timm:resnet18[pretrained=true]").build((3, 32, 32))
    assert "\n" not in str(caught.value)
