"""One invocation of `run`: its energy sources, and the record of the instruments and idle power at both ends."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from typing import Any, Literal

from harmbench.energy.doctor import diagnose, instruments_for
from harmbench.energy.idle import measure_idle
from harmbench.energy.instruments import Instruments
from harmbench.energy.source import EnergySource
from harmbench.executors import Session
from harmbench.results.records import InvocationRecord
from harmbench.results.store import RunStore
from harmbench.runner.spending import Spending


@contextmanager
def instruments(device: str) -> Iterator[EnergySource]:
    """CodeCarbon and the direct counters, for the machine and one device."""
    with instruments_for([device]) as source:
        yield source


def describe_source(source: EnergySource, device: str) -> dict[str, Any]:
    """The source's settings, origins and traps, with a short self-test."""
    if isinstance(source, Instruments):
        return diagnose([device], source).model_dump(mode="json")
    return source.describe()


class Invocation:
    """The trials of one call of `run`.

    Args:
        environment: id of the environment.
        idle_seconds: for how long idle power is measured at either end, or 0 to skip it.
        store: takes the records.
        source: opens the energy source of a device.
        spending: what the invocation spends, if it has a budget.
    """

    def __init__(
        self,
        environment: str,
        idle_seconds: float,
        store: RunStore,
        source: Callable[[str], AbstractContextManager[EnergySource]] = instruments,
        spending: Spending | None = None,
    ) -> None:
        self.id = uuid.uuid4().hex[:12]
        self.environment = environment
        self.spending = spending
        self._idle_seconds = idle_seconds
        self._store = store
        self._source = source

    @contextmanager
    def opened(self, device: str, session: Session[Any, Any]) -> Iterator[EnergySource]:
        """The energy source of a device. A record is stored before its first trial and after its last."""
        with self._source(device) as source:
            self._record("start", device, source, session)
            yield source
            self._record("end", device, source, session)
            if self.spending:
                self.spending.read(device, source)

    def _record(
        self, moment: Literal["start", "end"], device: str, source: EnergySource, session: Session[Any, Any]
    ) -> None:
        """Measure idle power, and store what the instruments are. A session that stops is not kept waiting."""
        if session.stopping.is_set():
            return
        idle = None
        described: dict[str, Any] = {}
        if self._idle_seconds or self.spending:
            session.wait_until_loaded()  # the machine is not idle while torch loads, and no trial pays for that
        if self._idle_seconds:
            idle = measure_idle(source, self._idle_seconds, wait=session.stopping.wait)
        if idle and self.spending and moment == "start":
            self.spending.reserve(idle)
        started = datetime.now(UTC).isoformat(timespec="milliseconds")
        if moment == "start":
            described = describe_source(source, device)
        record = InvocationRecord(
            invocation=self.id,
            device=device,
            environment=self.environment,
            moment=moment,
            started=started,
            instruments=described,
            idle=idle,
        )
        self._store.append_invocation(record)
