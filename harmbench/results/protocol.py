"""The training protocol: how every trial of a suite is trained."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from harmbench.results._rows import Record
from harmbench.results._upgrade import PROTOCOL_FIELDS, renamed


class Protocol(Record):
    """Training settings of every trial, the same for all heads.

    Phases of a trial in order of time. Only `train` is inside the measured window, and `evaluate` interrupts it:

        load | warm-up | train | evaluate | train | ... | evaluate (validation, then test, once) | analyze
    """

    steps: int | None = Field(default=None, ge=1, description="optimizer steps; give this or epochs")
    epochs: float | None = Field(default=None, gt=0, validate_default=True, description="passes over the training part")
    batch_size: int = Field(default=64, ge=1, description="samples per step")
    accumulate: int = Field(
        default=1,
        ge=1,
        validate_default=True,
        description="number of parts that a batch is split into to save memory; still one optimizer step",
    )
    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    lr: float = Field(default=1e-3, gt=0, description="peak learning rate")
    weight_decay: float = Field(default=0.0, ge=0)
    decay: Literal["all", "matrices"] = Field(
        default="all",
        description="parameters with weight decay; `matrices` excludes biases, norms, embeddings and the head",
    )
    beta2: float = Field(default=0.999, gt=0, lt=1, description="of adam and adamw; beta1 is 0.9")
    momentum: float = Field(default=0.9, ge=0, lt=1, description="of sgd")
    schedule: Literal["constant", "cosine"] = "constant"
    lr_min: float = Field(default=0.0, ge=0, validate_default=True, description="where the cosine ends")
    lr_warmup_steps: int = Field(default=0, ge=0, description="steps of linear rise to lr")
    grad_clip: float | None = Field(default=None, gt=0, description="bound on the global gradient norm")
    center_std: float | None = Field(
        default=None, gt=0, description="standard deviation of initial class centers; default: as nn.Linear's rows"
    )
    precision: Literal["float32", "bfloat16"] = "float32"
    compile: bool = Field(default=False, description="torch.compile of the backbone; results differ in their last bits")
    warmup_steps: int = Field(
        default=5,
        ge=0,
        validate_default=True,
        description="least number of throwaway steps on a copy before the window",
    )
    warmup_max_steps: int = Field(default=30, ge=0, description="most warm-up steps until step time settles")
    evaluations: int = Field(default=10, ge=1, description="validations, evenly spread over the steps")
    target: float | None = Field(
        default=None,
        gt=0,
        le=1,
        description="validation accuracy that counts as converged; default: the median final accuracy of the "
        "baseline's seeds (for text, of their validation loss)",
    )
    target_nll: float | None = Field(
        default=None,
        gt=0,
        validate_default=True,
        description="validation loss (mean NLL of a target, in nat) that counts as converged, instead of target",
    )
    select: Literal["best", "last"] = "best"
    analysis_samples: int = Field(default=1000, ge=2, description="test samples that meters analyze after the test")
    batched_seeds: int = Field(
        default=1, ge=1, description="number of seeds that one process trains as a batch; 1: each alone"
    )
    deterministic: bool = True
    threads: int = Field(default=1, ge=1, description="CPU threads of a trial")

    @model_validator(mode="before")
    @classmethod
    def _old_names(cls, fields: Any) -> Any:
        return renamed(fields, PROTOCOL_FIELDS) if isinstance(fields, dict) else fields

    @field_validator("epochs")
    @classmethod
    def _one_budget(cls, epochs: float | None, info: ValidationInfo) -> float | None:
        if "steps" in info.data and (info.data["steps"] is None) == (epochs is None):
            raise ValueError("give exactly one budget: steps or epochs")
        return epochs

    @field_validator("batched_seeds")
    @classmethod
    def _plain_steps(cls, batched_seeds: int, info: ValidationInfo) -> int:
        is_set = {"accumulate": info.data.get("accumulate", 1) > 1, "compile": info.data.get("compile", False)}
        if batched_seeds > 1 and any(is_set.values()):
            fields = " and ".join(field for field, value in is_set.items() if value)
            raise ValueError(f"batched seeds do not support {fields}; set it to 1, or leave {fields} out")
        return batched_seeds

    @field_validator("target_nll")
    @classmethod
    def _one_target(cls, loss: float | None, info: ValidationInfo) -> float | None:
        if loss is not None and info.data.get("target") is not None:
            raise ValueError("give one target: either target (an accuracy) or target_nll (a loss)")
        return loss

    @field_validator("accumulate")
    @classmethod
    def _parts_have_samples(cls, accumulate: int, info: ValidationInfo) -> int:
        if accumulate > info.data.get("batch_size", accumulate):
            raise ValueError(f"must be at most batch_size, {info.data['batch_size']}, got {accumulate}")
        return accumulate

    @field_validator("warmup_steps")
    @classmethod
    def _compiles_before_it_counts(cls, steps: int, info: ValidationInfo) -> int:
        if info.data.get("compile") and not steps:
            raise ValueError("must be at least 1 with compile, otherwise compiling counts as training")
        return steps

    @field_validator("lr_min")
    @classmethod
    def _ends_below_its_peak(cls, lr_min: float, info: ValidationInfo) -> float:
        if lr_min > info.data.get("lr", lr_min):
            raise ValueError(f"must be at most lr, {info.data['lr']:g}, got {lr_min:g}")
        return lr_min

    def budget(self, train_size: int) -> int:
        """Return the number of steps for a training part of `train_size` samples."""
        if self.steps is not None:
            return self.steps
        assert self.epochs is not None
        # As written, not as rounded to binary: 1.1 passes over 100 samples are 11 batches of 10, not 12.
        return math.ceil(Fraction(str(self.epochs)) * train_size / min(self.batch_size, train_size))
