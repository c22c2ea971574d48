"""Rooms and the components in them.

A room is a folder of the package, such as `harmbench/nn/distances/`. A file with one public subclass of the room's
base class adds a component, and `Room` finds it there. Other packages add components through an entry point in the
group `harmbench.<room>`. Both go through the same checks.

A component is a small frozen value whose fields are its options. It is addressed as

    name    name[option=value,option=value]    name:argument[option=value]

for example `euclidean`, `minkowski[p=3]`, `timm:resnet18`. Its canonical address (`str(component)`) is what
results and reports show.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterable, Mapping
from functools import cached_property
from importlib.metadata import entry_points
from itertools import chain
from typing import Any, ClassVar, Generic, Self, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from harmbench.errors import OptionError, RegistryError, UnknownNameError

_ADDRESS = re.compile(r"^(?P<name>[A-Za-z0-9_]+)(:(?P<argument>[^\[\]]+))?(\[(?P<options>[^\[\]]*)\])?$")
_NAME = re.compile(r"^[a-z0-9_]+$")
_LISTED_AS = {"distances": "metrics"}  # words of the command line that differ from the folder's name
_OLD_GROUPS = {"plots": "harmbench.pictures"}  # entry-point groups of harmbench 0.1, read for one release
_COMMAS_OUTSIDE_BRACKETS = re.compile(r",(?![^\[]*\])")


class Component(BaseModel):
    """Base of every room's base class.

    Class attributes:
        name: the address, which is also the name of the file.
        variants: option sets that `all` expands to. A bare name stands for the first.
        argument: the field that the text after a colon fills (`timm:resnet18`), if any.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: ClassVar[str]
    variants: ClassVar[tuple[Mapping[str, Any], ...]] = ({},)
    argument: ClassVar[str | None] = None

    @classmethod
    def check_class(cls) -> None:
        """Refuse a class that breaks its room's rules; called once, when the class is registered. Imports no torch.

        Raises:
            HarmbenchError: for what is wrong, in one line.
        """

    @classmethod
    def summary(cls) -> str:
        """First line of the docstring."""
        return inspect.getdoc(cls).split("\n")[0] if inspect.getdoc(cls) else ""  # type: ignore[union-attr]

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> Self:
        """Build from option texts or values.

        Raises:
            OptionError: for an unknown option, or a value out of range.
        """
        try:
            return cls(**options)
        except ValidationError as error:
            raise OptionError(_one_line(cls, options, error)) from None

    def shown_options(self) -> dict[str, Any]:
        """The options in the canonical address: those off their default, and those that every variant names."""
        always = set.intersection(*(set(variant) for variant in self.variants))
        fields = type(self).model_fields
        return {
            option: value
            for option, value in self
            if option != self.argument and (option in always or value != fields[option].default)
        }

    def __str__(self) -> str:
        argument = f":{getattr(self, self.argument)}" if self.argument else ""
        options = ",".join(f"{option}={_as_text(value)}" for option, value in self.shown_options().items())
        return f"{self.name}{argument}" + (f"[{options}]" if options else "")


def _as_text(value: Any) -> str:
    if isinstance(value, tuple):
        return "-".join(map(str, value))
    if isinstance(value, float):
        return f"{value:g}" if float(f"{value:g}") == value else repr(value)
    return str(value)


def _one_line(cls: type[Component], options: Mapping[str, Any], error: ValidationError) -> str:
    """All problems of a component's options on one line."""
    address = ",".join(f"{option}={value}" for option, value in options.items())
    names = [field for field in cls.model_fields if field != cls.argument]
    problems = []
    for problem in error.errors():
        option = str(problem["loc"][0]) if problem["loc"] else ""
        if problem["type"] == "extra_forbidden":
            problems.append(f"no option '{option}' (it takes: {', '.join(names) or 'none'})")
        elif problem["type"] == "missing":
            problems.append(f"needs '{option}'")
        else:
            message = problem["msg"].removeprefix("Value error, ")
            text = f"{option}: {message[:1].lower()}{message[1:]}"
            if text not in problems:
                problems.append(text)
    return f"{cls.name}[{address}]: " + "; ".join(problems) + f". See `harmbench show {cls.name}`."


def split_names(texts: Iterable[str]) -> list[str]:
    """Split comma-separated names, leaving commas inside brackets alone.

    >>> split_names(["euclidean,minkowski[p=3]", "hamming[variant=hard,threshold=0]"])
    ['euclidean', 'minkowski[p=3]', 'hamming[variant=hard,threshold=0]']
    """
    parts = (part.strip() for text in texts for part in _COMMAS_OUTSIDE_BRACKETS.split(text))
    return [part for part in parts if part]


C = TypeVar("C", bound=Component)


class Room(Generic[C]):
    """Finds the components of one kind, and parses their addresses.

    Args:
        room: folder name, such as `distances`.
        base: the base class that members extend.
        kind: the word that users know, such as `metric`.
    """

    def __init__(self, room: str, base: type[C], kind: str) -> None:
        self.room, self.base, self.kind = room, base, kind
        self.package = base.__module__.rpartition(".")[0]

    @cached_property
    def members(self) -> dict[str, type[C]]:
        """Component classes by name, sorted.

        Raises:
            RegistryError: for a file or plugin that breaks the room's rules.
        """
        members = dict(self.shipped)
        groups = [f"harmbench.{self.room}", *filter(None, [_OLD_GROUPS.get(self.room)])]
        for point in chain.from_iterable(entry_points(group=group) for group in groups):
            source = f"plugin {point.dist.name if point.dist else '?'} ({point.value})"
            try:
                loaded = point.load()
            except Exception as error:
                raise RegistryError(f"{source} does not load: {error}; upgrade or uninstall it") from error
            self._admit(members, loaded, source)
        return dict(sorted(members.items()))

    @cached_property
    def shipped(self) -> dict[str, type[C]]:
        """Component classes that come with harmbench, by name. No plug-in is loaded.

        Raises:
            RegistryError: for a file that breaks the room's rules.
        """
        package = importlib.import_module(self.package)
        members: dict[str, type[C]] = {}
        for info in pkgutil.iter_modules(package.__path__):
            if not info.name.startswith("_"):
                module = importlib.import_module(f"{package.__name__}.{info.name}")
                self._admit(members, self._public_class(module), module.__name__)
        return members

    def _public_class(self, module: Any) -> type[C]:
        classes = [
            value
            for name, value in vars(module).items()
            if inspect.isclass(value)
            and value.__module__ == module.__name__
            and not name.startswith("_")
            and issubclass(value, self.base)
        ]
        if len(classes) != 1:
            raise RegistryError(f"{module.__name__} must hold one public {self.base.__name__}, not {len(classes)}")
        return classes[0]

    def _admit(self, members: dict[str, type[C]], cls: Any, source: str) -> None:
        """Add a class to the members.

        Raises:
            RegistryError: if it breaks the room's rules.
        """
        if not (inspect.isclass(cls) and issubclass(cls, self.base)) or inspect.isabstract(cls):
            raise RegistryError(f"{source} is not a finished subclass of {self.package}.{self.base.__name__}")
        name = getattr(cls, "name", "")
        if not _NAME.match(name) or not cls.__doc__:
            raise RegistryError(
                f"{source}: {cls.__name__} needs a docstring and a name of a-z, 0-9 and _, got '{name}'"
            )
        if source.startswith("harmbench.") and source.rpartition(".")[2] != name:
            raise RegistryError(f"{source}: the component '{name}' must be in a file of its name")
        if name in members:
            raise RegistryError(f"{source}: the {self.kind} '{name}' exists already")
        try:
            cls.check_class()
        except Exception as error:
            raise RegistryError(f"{source}: {cls.__name__}: {error}") from error
        members[name] = cls

    def parse(self, address: str) -> C:
        """Build the component that an address names.

        Raises:
            UnknownNameError: for a name that no component has.
            OptionError: for a malformed address, an unknown option or a value out of range.
        """
        match = _ADDRESS.match(address.strip())
        if not match:
            raise OptionError(f"cannot read {self.kind} '{address}'; write name or name[option=value,option=value]")
        cls = self.members.get(match["name"])
        if cls is None:
            raise UnknownNameError(
                self.kind, match["name"], self.members, see=f"harmbench ls {_LISTED_AS.get(self.room, self.room)}"
            )
        return cls.from_options(self._options(cls, address, match))

    def _options(self, cls: type[C], address: str, match: re.Match[str]) -> dict[str, Any]:
        # A bare name stands for the first variant.
        options: dict[str, Any] = dict(cls.variants[0])
        if match["argument"]:
            if cls.argument is None:
                raise OptionError(f"{self.kind} '{cls.name}' takes nothing after a colon; got '{address}'")
            options[cls.argument] = match["argument"]
        elif cls.argument:
            raise OptionError(
                f"{self.kind} '{cls.name}' needs its {cls.argument}: write {cls.name}:{cls.argument.upper()}"
            )
        for part in filter(None, (match["options"] or "").split(",")):
            option, equals, value = (text.strip() for text in part.partition("="))
            if not equals or not value:
                raise OptionError(f"cannot read '{part}' in '{address}'; write option=value")
            options[option] = value
        return options

    def every_variant(self) -> list[C]:
        """One component for each named variant of each member that needs no argument."""
        return [
            cls.from_options(variant)
            for cls in self.members.values()
            if cls.argument is None
            for variant in cls.variants
        ]
