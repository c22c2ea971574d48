"""Records of one call of `run`: its instruments, its idle windows and its budget."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from harmbench.results._rows import Record
from harmbench.results._upgrade import RECORD_FIELDS, renamed
from harmbench.results.energy import IdleWindow
from harmbench.results.vocabulary import Component, Method


class _CallRecord(Record):
    """Base of the records of one call of `run`."""

    invocation: str

    @model_validator(mode="before")
    @classmethod
    def _old_names(cls, fields: Any) -> Any:
        return renamed(fields, RECORD_FIELDS) if isinstance(fields, dict) else fields


class InvocationRecord(_CallRecord):
    """Instruments and idle energy at the start or end of one call of `run` on one device.

    Attributes:
        invocation: id of the call, which its trials repeat.
        instruments: settings and origins of the energy sources and a short self-test. Empty at the end of a call.
        idle: the idle window. None if the call has none.
    """

    device: str
    environment: str
    moment: Literal["start", "end"]
    started: str
    instruments: dict[str, Any] = Field(default_factory=dict)
    idle: IdleWindow | None = None


class BudgetRecord(_CallRecord):
    """Budget of one call of `run`, and what the call spent.

    Attributes:
        invocation: id of the call.
        asked: the budget as given on the command line.
        unit: unit of `limit` and `spent`: `s`, or `J` of processor and GPU.
        spent: amount since the start of the call, including loading and idle windows. None if unknown.
        methods: how joules are obtained, by component.
        trials: number of trials that ended in this call.
        left: number of planned trials without a result.
        stopped: why no more trials were started. Empty if none is left.
        incomplete: number of trials left for each seed that has been run in part.
    """

    asked: str
    unit: Literal["s", "J"]
    limit: float
    spent: float | None
    methods: dict[Component, Method] = Field(default_factory=dict)
    started: str
    trials: int
    left: int
    stopped: str
    incomplete: dict[int, int] = Field(default_factory=dict)
