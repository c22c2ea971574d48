"""A small training for meters: every hook of a watcher is called as in a trial, in a fraction of a second.

    rehearse            trains a small classifier with watchers looking on
    sample_outcome      a made-up outcome of a trial on images, as `measurements` gets it
    nothing_outcome     the outcome of a trial in which nothing could be measured
    text_outcome        the outcome of a trial on text

The loop stands apart from the runner, so that a meter is held to what `Watcher` promises and to nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from harmbench.backbones import BACKBONES
from harmbench.meters import Flops, HeldOut, Outcome, Step, Validation, WarmUp, Watcher
from harmbench.nn.heads import DistanceHead, Objective
from harmbench.results.records import COMPONENTS, CurvePoint, EnergyOrigin, PhaseTotal, Protocol

STEPS, EVERY, BATCH, CLASSES = 48, 12, 16, 4
NOISY = "hamming[variant=gumbel]"  # draws from torch's generator while it trains


class Rehearsed(NamedTuple):
    """The trained parameters by name, and the watchers, after a rehearsal."""

    parameters: dict[str, Tensor]
    watchers: Sequence[Watcher]


def rehearse(
    watchers: Sequence[Watcher], clip: float | None = None, interrupt: Callable[[Watcher], Watcher] | None = None
) -> Rehearsed:
    """Train a small MLP on random images for 48 steps, with a validation after every twelfth.

    Args:
        watchers: see the steps, losses and validations that a trial would show them.
        clip: bound of the gradient's norm, if any.
        interrupt: called after half the steps with each watcher; its result looks on from there.
    """
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(96, 1, 4, 4, generator=generator)
    targets = torch.arange(96) % CLASSES
    torch.manual_seed(0)
    backbone = BACKBONES.members["mlp"].from_options({"hidden": "8"}).build((1, 4, 4))
    head, objective = DistanceHead(8, CLASSES, NOISY), Objective("harmonic", 8)
    model = nn.ModuleDict({"backbone": backbone, "head": head, "objective": objective})
    parameters = list(model.parameters())
    head_parameters = [*head.parameters(), *objective.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=0.01)
    looking = list(watchers)
    for watcher in looking:
        watcher.on_start(torch.device("cpu"))
    losses: list[float] = []
    for index in range(1, STEPS + 1):
        rows = torch.randperm(len(targets), generator=generator)[:BATCH]
        optimizer.zero_grad()
        loss = objective(head(backbone(inputs[rows])), targets[rows])
        loss.backward()
        norm = None if clip is None else nn.utils.clip_grad_norm_(parameters, clip)
        optimizer.step()
        losses.append(loss.item())
        step = Step(index, loss.detach(), parameters, norm, head_parameters)
        for watcher in looking:
            if index >= watcher.due:
                watcher.on_step(step)
        if index % EVERY == 0:
            point = sample_point(index, train_loss=loss.item())
            for watcher in looking:
                watcher.on_losses(index - EVERY + 1, losses[-EVERY:])
                watcher.on_validation(Validation(point, parameters, None, lambda: 0.5))
        if interrupt is not None and index == STEPS // 2:
            looking = [interrupt(watcher) for watcher in looking]
    return Rehearsed({name: p.detach().clone() for name, p in model.named_parameters()}, looking)


def sample_point(step: int, accuracy: float = 0.9, **more: Any) -> CurvePoint:
    """A validation after so many steps."""
    fields: dict[str, Any] = {
        "epoch": step / 6,
        "train_seconds": step / 20,
        "train_joules": {"cpu": 2.0 * step, "gpu": None, "ram": 1.0 * step},
        "train_loss": 0.5,
        "validation_nll": 0.3,
        **more,
    }
    return CurvePoint(step=step, validation_accuracy=accuracy, **fields)


def _held_out(generator: torch.Generator) -> HeldOut:
    return HeldOut(
        features=torch.randn(40, 6, generator=generator, dtype=torch.float64),
        targets=torch.arange(40) % CLASSES,
        predicted=torch.randint(0, CLASSES, (40,), generator=generator),
        weights=torch.randn(CLASSES, 6, generator=generator, dtype=torch.float64),
        has_centers=True,
    )


def sample_outcome(**more: Any) -> Outcome:
    """A made-up outcome of a trial of 100 steps of 0.05 s on images of four classes.

    Args:
        more: fields of `Outcome` that differ.
    """
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(40, CLASSES, generator=generator)
    targets = torch.randint(0, CLASSES, (40,), generator=generator)
    held_out = _held_out(generator)
    model = EnergyOrigin(method="model", scope="machine", detail="cpu_load, TDP 100 W")
    counter = EnergyOrigin(method="counter", scope="board", detail="1 board(s) through NVML")
    fields: dict[str, Any] = {
        "protocol": Protocol(steps=100, target=0.9),
        "batch_size": 64,
        "steps": 100,
        "step_seconds": [0.05] * 100,
        "batch_seconds": [0.005] * 100,
        "warm_up": WarmUp(12, settled=True),
        "curve": [sample_point(50, 0.8), sample_point(100, 0.92)],
        "phases": [PhaseTotal(phase="train", seconds=6.0, joules={"cpu": 600.0, "gpu": 900.0, "ram": 60.0}, windows=2)],
        "energy_origins": {"cpu": model, "gpu": counter, "ram": model},
        "best": sample_point(100, 0.92),
        "test_logits": logits,
        "test_targets": targets,
        "test_nll": nn.functional.cross_entropy(logits.double(), targets, reduction="none"),
        "test_hits": logits.argmax(-1) == targets,
        "token_bytes": None,
        "batch_tokens": None,
        "device_name": "NVIDIA H200",
        "held_out": lambda: held_out,
        "count_flops": lambda: Flops(6_000_000, 3_000_000, "counted", is_counted=True),
        **more,
    }
    return Outcome(**fields)


def nothing_outcome() -> Outcome:
    """A trial in which nothing could be measured: no joules, logits and features that are not numbers."""
    nothing = dict.fromkeys(COMPONENTS)
    blank = _held_out(torch.Generator().manual_seed(0))
    blank.features.fill_(torch.nan)
    missing = EnergyOrigin(method="missing", detail="no source here")
    return sample_outcome(
        phases=[PhaseTotal(phase="train", seconds=6.0, joules=nothing, windows=2)],
        energy_origins=dict.fromkeys(COMPONENTS, missing),
        curve=[sample_point(100, 0.1, validation_nll=None, train_loss=None, train_joules=nothing)],
        test_logits=torch.full((40, CLASSES), torch.nan),
        test_nll=torch.full((40,), torch.nan, dtype=torch.float64),
        test_hits=torch.zeros(40, dtype=torch.bool),
        held_out=lambda: blank,
        count_flops=lambda: Flops(6_000_000, None, "no formula for a plug-in's distance", is_counted=False),
        device_name="some processor",
    )


def text_outcome() -> Outcome:
    """A trial on text: there are no logits, and tokens have lengths."""
    generator = torch.Generator().manual_seed(0)
    targets = torch.randint(0, 40, (120,), generator=generator)
    return sample_outcome(
        test_logits=None,
        test_targets=targets,
        test_nll=torch.rand(120, generator=generator, dtype=torch.float64) + 0.5,
        test_hits=torch.arange(120) % 3 == 0,
        token_bytes=torch.randint(1, 8, (40,), generator=generator),
        batch_tokens=1024,
    )
