"""Language models in training: decay, batches in parts, precision, memory of the head, what reaches the optimizer."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from harmbench.backbones import BACKBONES
from harmbench.errors import SuiteError
from harmbench.nn.distances import DISTANCES
from harmbench.planning.suite import check
from harmbench.results.records import Protocol, TrialSpec
from harmbench.runner import single_learner
from harmbench.runner.held_out import count_flops
from harmbench.runner.model import Classifier, build, learning_rate, optimizer_for
from harmbench.runner.single_learner import training_step
from harmbench.runner.targets import IGNORED
from tests.support.samples import spec

LENGTH, VOCABULARY = 16, 300
BACKBONES_HERE = ("gpt2", "bert", "qwen2")
ADDRESSES = [str(distance) for distance in DISTANCES.every_variant()]


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def trial(distance: str | None = "cosine", backbone: str = "gpt2", **protocol: Any) -> TrialSpec:
    loss = "harmonic" if distance else "cross_entropy"
    return spec(distance, loss, backbone=backbone, dataset="stdlib", protocol=protocol)


def model_of(trial: TrialSpec, length: int = LENGTH, vocabulary: int = VOCABULARY) -> Classifier:
    return build(trial, (length, vocabulary), vocabulary)


def batch(windows: int, length: int = LENGTH, vocabulary: int = VOCABULARY) -> tuple[Tensor, Tensor]:
    """Windows whose numbers of tokens that are asked for differ."""
    generator = torch.Generator().manual_seed(0)
    inputs, targets = torch.randint(vocabulary, (2, windows, length), generator=generator)
    for window, row in enumerate(targets):
        row[: window % length] = IGNORED
    return inputs, targets


# Weight decay.


@pytest.mark.parametrize("tied", ["true", "false"])
@pytest.mark.parametrize("distance", [None, "mahalanobis[variant=diagonal]"])
@pytest.mark.parametrize("backbone", BACKBONES_HERE)
def test_decay_of_matrices_spares_what_is_none(backbone: str, distance: str | None, tied: str) -> None:
    asked = trial(
        distance, f"{backbone}[tied={tied}]", weight_decay=0.1, decay="matrices", optimizer="adamw", beta2=0.9
    )
    model = model_of(asked)
    decayed, spared = optimizer_for(model, asked.protocol).param_groups
    assert (decayed["weight_decay"], spared["weight_decay"], decayed["betas"]) == (0.1, 0.0, (0.9, 0.9))
    held = [id(p) for group in (decayed, spared) for p in group["params"]]
    assert sorted(held) == sorted(id(p) for p in model.parameters()), "each parameter once"
    names = {id(p): name for name, p in model.named_parameters()}
    matrices = {names[id(p)] for p in decayed["params"]}
    words = ("bias", "norm", "ln_", "wte", "wpe", "embed", "head", "objective")
    expected = {name for name in names.values() if not any(word in name.lower() for word in words)}
    assert matrices == expected
    assert len(matrices) >= 8


def test_decay_of_matrices_spares_position_embeddings_of_timm() -> None:
    asked = spec("cosine", backbone="timm:vit_tiny_patch16_224[size=32]", protocol={"decay": "matrices"})
    model = build(asked, (3, 32, 32), 10)
    spared = {id(p) for p in optimizer_for(model, asked.protocol).param_groups[1]["params"]}
    found = {name.removeprefix("backbone.") for name, p in model.named_parameters() if id(p) in spared}
    assert {"pos_embed", "cls_token", "norm.weight", "head.weight"} <= found
    assert not any(name.endswith(("qkv.weight", "proj.weight")) for name in found)


def test_the_cosine_ends_at_its_least() -> None:
    protocol = Protocol(steps=10, lr=2e-3, lr_min=2e-4, schedule="cosine", optimizer="sgd")
    rates = [learning_rate(protocol, step, steps=10) for step in range(1, 12)]
    assert rates[0] == pytest.approx(2e-3)
    assert rates[5] == pytest.approx(1.1e-3)
    assert rates[10] == pytest.approx(2e-4)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"accumulate": 65}, "must be at most batch_size, 64, got 65"),
        ({"lr_min": 0.1, "schedule": "cosine"}, "must be at most lr, 0.001, got 0.1"),
        ({"compile": True, "warmup_steps": 0}, "must be at least 1 with compile"),
        ({"decay": "some"}, "'all' or 'matrices'"),
    ],
)
def test_a_protocol_that_cannot_be_is_one_line(fields: dict[str, Any], said: str) -> None:
    asked = {"name": "x", "datasets": ["digits"], "backbones": ["mlp"], "losses": ["cross_entropy"]}
    with pytest.raises(SuiteError, match=said):
        check({**asked, "protocol": {"steps": 1, **fields}}, {}, "x")


# Batches in parts.


def gradients(asked: TrialSpec, windows: int = 7) -> dict[str, Tensor]:
    model = model_of(asked).double()  # else rounding hides what is wrong
    inputs, targets = batch(windows)
    optimizer = optimizer_for(model, asked.protocol)
    loss, _ = training_step(model, optimizer, inputs, targets, asked.protocol)
    found = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    return {"loss": loss, **found}


def far_apart(one: dict[str, Tensor], other: dict[str, Tensor], tolerance: float = 1e-6) -> set[str]:
    assert one.keys() == other.keys()
    return {
        name
        for name, tensor in one.items()
        if not (tensor - other[name]).abs().max() <= tolerance * tensor.abs().max().clamp_min(1e-6)
    }


@pytest.mark.parametrize("parts", [2, 3, 7])
@pytest.mark.parametrize(
    ("distance", "backbone"),
    [(None, "gpt2"), ("cosine", "gpt2[tied=true]"), ("mahalanobis[variant=diagonal]", "bert"), ("manhattan", "qwen2")],
)
def test_a_batch_in_parts_has_the_gradient_of_the_whole(distance: str | None, backbone: str, parts: int) -> None:
    whole = gradients(trial(distance, backbone))
    in_parts = gradients(trial(distance, backbone, accumulate=parts))
    assert far_apart(whole, in_parts) == set()


def test_parts_that_all_count_alike_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """Deliberately wrong: the mean of the parts' means, though they ask for different numbers of tokens."""
    whole = gradients(trial())
    parts = single_learner.batch_parts

    def wrong(*arguments: Any) -> Any:
        for inputs, targets, share in parts(*arguments):
            yield inputs, targets, None if share is None else torch.tensor(0.5)

    monkeypatch.setattr(single_learner, "batch_parts", wrong)
    assert len(far_apart(whole, gradients(trial(accumulate=2)))) > 5


def test_the_norm_that_is_clipped_is_that_of_the_whole_batch() -> None:
    norms = []
    for count in (1, 3):
        asked = trial(accumulate=count, grad_clip=0.1)
        model = model_of(asked)
        _, norm = training_step(model, optimizer_for(model, asked.protocol), *batch(6), asked.protocol)
        assert norm is not None
        norms.append(norm.item())
    assert norms[0] == pytest.approx(norms[1], rel=1e-5)


@pytest.mark.parametrize("distance", [None, "cosine"])
def test_operations_of_a_step_do_not_depend_on_its_parts(distance: str | None) -> None:
    inputs, targets = batch(6)
    targets[targets == IGNORED] = 0
    one, three = (
        count_flops(model_of(asked), inputs, targets, asked.protocol)
        for asked in (trial(distance), trial(distance, accumulate=3))
    )
    assert one == three


# Precision.


@pytest.mark.parametrize("distance", ADDRESSES)
def test_under_bfloat16_distances_loss_and_gradients_of_centers_are_float32(distance: str) -> None:
    asked = trial(distance, precision="bfloat16")
    model = model_of(asked)
    inputs, targets = batch(4)
    seen: list[torch.dtype] = []
    model.backbone.register_forward_hook(lambda module, _, features: seen.append(features.dtype))
    with torch.autocast("cpu", torch.bfloat16):
        inner = model.backbone.get_submodule("model.h.0.mlp.c_fc")
        inner.register_forward_hook(lambda module, _, found: seen.append(found.dtype))
        features = model.backbone(inputs)
        distances = model.head(features)
        loss = model.loss(inputs, targets)
    assert torch.bfloat16 in seen, "the backbone does not compute in bfloat16"
    assert distances.dtype == loss.dtype == torch.float32
    loss.backward()
    for name, parameter in model.named_parameters():
        assert parameter.dtype == torch.float32, name
        assert parameter.grad is None or parameter.grad.dtype == torch.float32, name
    exact = copy.deepcopy(model.head).eval()
    model.eval()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        features = model.backbone(inputs)
        found = model.head(features)
    with torch.no_grad():
        assert torch.equal(found, exact(features.float())), "autocast reaches the distances"


# Memory of the head, and what it learns.


class Largest(TorchDispatchMode):
    """Numbers in the largest tensor that any operation gives, forward and backward."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers, self.shape = 0, torch.Size()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(found):
            if isinstance(leaf, Tensor) and leaf.untyped_storage().nbytes() > 4 * self.numbers:
                self.numbers, self.shape = leaf.untyped_storage().nbytes() // 4, leaf.shape
        return found


WIDE = (64, 4096)  # tokens of a window, tokens of the vocabulary


def largest(distance: str | None, windows: int) -> int:
    asked = trial(distance, "qwen2")
    model = model_of(asked, *WIDE)
    optimizer = optimizer_for(model, asked.protocol)
    inputs, targets = torch.randint(WIDE[1], (2, windows, WIDE[0]), generator=torch.Generator().manual_seed(0))
    with Largest() as seen:
        training_step(model, optimizer, inputs, targets, asked.protocol)
    return seen.numbers


FUSED = ["euclidean", "cosine", "mahalanobis[variant=diagonal]", "mahalanobis[variant=full]", "manhattan", "minkowski"]


@pytest.mark.parametrize("distance", FUSED)
def test_training_never_writes_tokens_by_classes(distance: str) -> None:
    windows = 32  # of 64 tokens, so blocks of 512 tokens are a quarter of all
    assert largest(distance, windows) <= windows * WIDE[0] * WIDE[1] / 4


def test_a_head_that_writes_tokens_by_classes_is_caught() -> None:
    assert largest(None, 32) >= 32 * WIDE[0] * WIDE[1]  # the linear head, as everywhere, does


@pytest.mark.parametrize("tied", ["true", "false"])
@pytest.mark.parametrize("distance", ["mahalanobis[variant=diagonal]", "mahalanobis[variant=full]"])
@pytest.mark.parametrize("backbone", BACKBONES_HERE)
def test_what_mahalanobis_learns_is_in_the_optimizer_and_moves(backbone: str, distance: str, tied: str) -> None:
    asked = trial(distance, f"{backbone}[tied={tied}]", optimizer="adamw", weight_decay=0.1)
    model = model_of(asked)
    optimizer = optimizer_for(model, asked.protocol)
    held = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    learned = dict(model.head.distance_parameters.items())  # type: ignore[operator, union-attr]
    assert learned
    before = {name: p.detach().clone() for name, p in learned.items()}
    training_step(model, optimizer, *batch(4), asked.protocol)
    for name, parameter in learned.items():
        assert held[id(parameter)] == 0
        assert not torch.equal(parameter, before[name]), name


# Compilation and sizes.


def compiled_like_the_model(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(single_learner, "COMPILER", backend)
    asked = trial(optimizer="sgd")  # adam makes steps of gradients that are nothing but rounding
    plain, compiled = (model_of(asked) for _ in range(2))
    single_learner.compile_backbone(compiled)
    assert compiled.state_dict().keys() == plain.state_dict().keys()
    losses = [
        training_step(m, optimizer_for(m, asked.protocol), *batch(4), asked.protocol)[0].item()
        for m in (plain, compiled)
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    for (name, one), other in zip(plain.named_parameters(), compiled.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5, msg=name)
    assert copy.deepcopy(compiled).backbone._compiled_call_impl is None, "copies are compiled too"


def test_a_compiled_backbone_is_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled_like_the_model("eager", monkeypatch)


@pytest.mark.slow
def test_a_backbone_that_is_really_compiled_is_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled_like_the_model("inductor", monkeypatch)


@pytest.mark.parametrize(
    ("backbone", "shape", "parameters"),
    [
        ("gpt2[size=paper]", (1024, 50304), 124_475_904),
        ("bert[size=paper]", (512, 50304), 124_084_224),
        ("qwen2[size=paper]", (1024, 151936), 494_032_768),
    ],
)
def test_sizes_are_those_of_the_paper(backbone: str, shape: tuple[int, int], parameters: int) -> None:
    with torch.device("meta"):
        model = BACKBONES.parse(backbone).build(shape)
    assert sum(p.numel() for p in model.parameters()) == parameters
    assert math.prod(model.embedding.shape) == shape[1] * BACKBONES.parse(backbone).known_features()  # type: ignore[operator, union-attr]
