"""The errors that harmbench raises on purpose.

    HarmbenchError
    |-- UsageError                  the user can fix it: exit code 2
    |   |-- UnknownNameError        a name that is not registered
    |   |-- OptionError             an option or value that is not accepted
    |   |-- SuiteError              one or more problems in a suite file
    |   |-- DatasetUnavailableError data that are not on this machine
    |   |-- DeviceError             a device that this machine does not have
    |   |-- IncomparableError       two runs that differ in more than what is compared
    |   |-- RunFolderError          a run folder that cannot be written, or has other contents
    |   `-- RegionError             a region without a known grid intensity
    |-- RegistryError               a component, usually of a plugin, that breaks the rules of its registry
    |-- ContractError               a component whose behavior breaks a contract (`harmbench.testing`)
    `-- MeasurementError            energy that cannot be measured as requested

The command line prints the message of each of them on one line. With `--debug` it prints a traceback too.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


class HarmbenchError(Exception):
    """Base class of all errors of harmbench."""


class UsageError(HarmbenchError):
    """A request that cannot be carried out. The message says what to do instead."""


class UnknownNameError(UsageError):
    """A name that does not exist.

    Args:
        kind: of the component, for the message.
        asked: the unknown name.
        known: the names that exist.
        see: a command that lists them.
        partial: whether `known` has only the nearest names.

    >>> print(UnknownNameError("metric", "euclidian", ["cosine", "euclidean"]))
    unknown metric 'euclidian'; did you mean 'euclidean'? Known: cosine, euclidean.
    """

    def __init__(self, kind: str, asked: str, known: Iterable[str], see: str = "", partial: bool = False) -> None:
        names = sorted(known)
        near = difflib.get_close_matches(asked, names, n=1, cutoff=0.5)
        guess = f"; did you mean '{near[0]}'?" if near else "."
        label = "Nearest" if partial else "Known"
        message = f"unknown {kind} '{asked}'{guess} {label}: {', '.join(names)}."
        if see:
            message += f" See `{see}`."
        super().__init__(message)
        self.asked, self.known = asked, names


class OptionError(UsageError):
    """An option that a component or command does not have, or a value outside the option's range."""


class SuiteError(UsageError):
    """All problems of a suite in one error, each with its path in the file."""

    def __init__(self, source: str, problems: Sequence[str]) -> None:
        self.source, self.problems = source, list(problems)
        super().__init__(f"{source}: {'; '.join(self.problems)}")


class DatasetUnavailableError(UsageError):
    """Data that are not on this machine. The message names the command that gets them."""


class DeviceError(UsageError):
    """A device that this machine, or this build of torch, does not have."""


class RunFolderError(UsageError):
    """A run folder that cannot be used. Nothing in it was changed."""


class IncomparableError(UsageError):
    """Two runs that differ in more than what is compared. The message names the differences."""


class RegionError(UsageError):
    """A region for which no grid intensity is known."""


class RegistryError(HarmbenchError):
    """A component that breaks the rules of its registry. The message names the component and its module."""


class ContractError(HarmbenchError, AssertionError):
    """A component that breaks a contract of its kind. The message names the contract and gives numbers."""


class MeasurementError(HarmbenchError):
    """Energy that cannot be measured on this machine, or not as requested."""
