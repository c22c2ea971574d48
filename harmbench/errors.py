"""Every error harmbench raises on purpose.

    HarmbenchError
    |-- UsageError                  the user can mend it: exit code 2
    |   |-- UnknownNameError        a name nobody registered
    |   |-- OptionError             a known name with an option it does not take
    |   |-- SuiteError              one or more problems in a suite file
    |   |-- DatasetUnavailableError data that is not on this machine
    |   |-- DeviceError             a device that is not there
    |   |-- IncomparableError       two runs that differ in more than what is compared
    |   |-- RunFolderError          a run folder that cannot be written, or holds something else
    |   `-- RegionError             a region without a known grid intensity
    |-- RegistryError               a component (usually a plugin's) that breaks its room's rules
    |-- ContractError               a component whose behavior breaks a contract of its room (`harmbench.testing`)
    `-- MeasurementError            energy that cannot be measured, or not as asked

The command line prints the message of any of them on one line; a traceback only with `--debug`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


class HarmbenchError(Exception):
    """Root of the tree."""


class UsageError(HarmbenchError):
    """What was asked for cannot be done as asked; the message says what to do instead."""


class UnknownNameError(UsageError):
    """A name that no component bears.

    Args:
        kind: what was named.
        asked: the name.
        known: names that exist.
        see: a command that lists them.
        partial: whether `known` is a selection.

    >>> print(UnknownNameError("metric", "euclidian", ["cosine", "euclidean"]))
    unknown metric 'euclidian'; did you mean 'euclidean'? Known: cosine, euclidean.
    """

    def __init__(self, kind: str, asked: str, known: Iterable[str], see: str = "", partial: bool = False) -> None:
        names = sorted(known)
        near = difflib.get_close_matches(asked, names, n=1, cutoff=0.5)
        guess = f"; did you mean '{near[0]}'?" if near else "."
        more = f" See `{see}`." if see else ""
        lead = "Nearest" if partial else "Known"
        super().__init__(f"unknown {kind} '{asked}'{guess} {lead}: {', '.join(names)}.{more}")
        self.asked, self.known = asked, names


class OptionError(UsageError):
    """A component was given an option that it does not take, or a value outside the option's range."""


class SuiteError(UsageError):
    """All problems of a suite at once, each with its path in the file."""

    def __init__(self, source: str, problems: Sequence[str]) -> None:
        self.source, self.problems = source, list(problems)
        lead = f"{source}: "
        super().__init__(lead + ("; ".join(self.problems)))


class DatasetUnavailableError(UsageError):
    """The data are not on this machine; the message names the command that gets them."""


class DeviceError(UsageError):
    """A device that this machine, or this build of torch, does not have."""


class RunFolderError(UsageError):
    """A run folder that cannot be used; nothing in it was touched."""


class IncomparableError(UsageError):
    """Two runs that differ in more than what is compared; the message names it."""


class RegionError(UsageError):
    """A region for which no grid intensity is known."""


class RegistryError(HarmbenchError):
    """A component breaks the rules of its room; the message names the component and where it came from."""


class ContractError(HarmbenchError, AssertionError):
    """A component breaks a contract of its room; the message says which, with numbers."""


class MeasurementError(HarmbenchError):
    """Energy that cannot be measured here, or not as asked."""
