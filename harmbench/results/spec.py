"""The specification of one trial, and the hash that is its id."""

from __future__ import annotations

import hashlib
import json
from typing import Any, Literal

from harmbench.results._rows import Row
from harmbench.results.protocol import Protocol


class TrialSpec(Row, frozen=True, kw_only=True):
    """Everything that can change the outcome of one trial.

    Attributes:
        setting: the values of the fields that the suite varies, such as `weight_decay=0.1`. `protocol` holds them too.
    """

    dataset: str
    data_content: str = ""
    backbone: str
    backbone_content: str = ""
    distance: str | None
    loss: str
    seed: int
    protocol: Protocol
    meters: tuple[str, ...]
    device_kind: Literal["cpu", "cuda"]
    versions: dict[str, str]
    setting: str = ""

    @property
    def head(self) -> str:
        """Name of the head in reports: the distance, or `linear`."""
        return self.distance or "linear"

    @property
    def is_baseline(self) -> bool:
        """Whether this is the linear head with cross-entropy."""
        return (self.head, self.loss) == ("linear", "cross_entropy")

    @property
    def cell(self) -> tuple[str, str, str, str, str]:
        """Data set, backbone, head, loss and setting."""
        return self.dataset, self.backbone, self.head, self.loss, self.setting

    @property
    def id(self) -> str:
        """Twelve hexadecimal digits that hash every field but the setting, which the protocol contains."""
        return fingerprint({field: value for field, value in self.to_plain().items() if field != "setting"})

    def __str__(self) -> str:
        return " ".join(filter(None, (*self.cell, f"seed {self.seed}")))


def fingerprint(value: Any) -> str:
    """Return twelve hexadecimal digits that identify a JSON-like value."""
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
