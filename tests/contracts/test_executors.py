"""The public contract of an executor (`harmbench.testing.executors`): registered ones, and wrong ones it catches."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest

from harmbench.errors import ContractError
from harmbench.executors import EXECUTORS, Executor, Finished, Progress, Session, Started
from harmbench.testing import check_executor, executors
from harmbench.testing._contract import is_written_as_it_is_read


@pytest.mark.parametrize("contract", executors.CONTRACTS, ids=lambda contract: contract.__name__)
@pytest.mark.parametrize("executor", EXECUTORS.every_variant(), ids=str)
def test_contract(executor, contract):
    contract(executor)


class Direct(Executor):
    """One job after the other in this process; right, unless its option says otherwise."""

    name: ClassVar[str] = "direct"
    how: str = "right"

    def session(self, task, devices, open_source, preload=()):
        session = _DirectSession(task, devices, open_source, preload)
        session.how = self.how
        return session


class _DirectSession(Session):
    how = "right"

    def run(self, makers):
        waiting = iter(makers if self.how != "backwards" else reversed(makers))
        for device in self.devices:
            try:
                with self.open_source(device, self) as source:
                    yield from self._jobs(device, source, waiting)
            except OSError:
                if self.how != "hides the source's error":
                    raise

    def _jobs(self, device, source, waiting):
        made = [make(device, source) for make in waiting] if self.how == "makes all at once" else None
        for job in made or (make(device, source) for make in waiting):
            if job is None:
                if self.how != "goes on after None":
                    return
                continue
            yield Started(job, device)
            link = _DirectLink(self, source)
            try:
                result = self.task(job, link)
            except ValueError as error:
                reason = str(error) if self.how == "reason in two lines" else "ValueError: a task that fails"
                yield Finished(job, device, None, failure=reason)
                continue
            if self.how != "silent":
                yield from (Progress(job, *reported) for reported in link.reported)
            yield Finished(job, device, result)


class _DirectLink:
    def __init__(self, session: Any, source: Any) -> None:
        self.session, self.source, self.reported = session, source, []

    def read_energy(self):
        if self.session.how == "one reading for all":
            return executors.CountingSource().read()
        return self.source.read() if self.session.how == "raw readings" else self.session.reading(self.source)

    def progress(self, step, steps):
        self.reported.append((step, steps))


class HidesItsOption(Direct):
    def shown_options(self):
        return {}


WRONG = [
    (Direct(how="backwards"), executors.runs_each_job_once, "Started for the jobs"),
    (Direct(how="silent"), executors.reports_progress, "the events of a job are Started, Finished"),
    (Direct(how="reason in two lines"), executors.turns_failures_into_results, "the reason of a ValueError is"),
    (Direct(how="one reading for all"), executors.reads_the_joules_of_its_device, "cpu: 1.0 J, then 1.0 J"),
    (Direct(how="raw readings"), executors.shares_no_joules_between_devices, "counts joules of cpu, ram"),
    (Direct(how="goes on after None"), executors.stops_a_device_when_told, "finished jobs are"),
    (Direct(how="makes all at once"), executors.stops_when_closed, "all 50 jobs were made"),
    (Direct(how="hides the source's error"), executors.passes_on_a_source_that_does_not_open, "and no OSError"),
    (HidesItsOption(how="silent"), is_written_as_it_is_read, "read back"),
]


@pytest.mark.parametrize(("executor", "contract", "reason"), WRONG, ids=[contract.__name__ for _, contract, _ in WRONG])
def test_wrong_executor_is_caught(executor, contract, reason):
    with pytest.raises(ContractError, match=reason):
        contract(executor)


def test_each_contract_has_a_wrong_executor():
    assert {contract for _, contract, _ in WRONG} == set(executors.CONTRACTS)


def test_the_executor_that_the_wrong_ones_come_from_is_right():
    assert {result.status for result in check_executor(Direct())} == {"passed"}
