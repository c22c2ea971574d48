"""What a run holds in great numbers: frozen values like records, but read from JSON about four times as fast.

A run of 10,000 trials has half a million measurements; pydantic takes seconds to make as many objects. These are
structs of msgspec, which checks types, literals and unknown fields while it reads. It checks nothing where one is made
in Python: `checked` does.
"""

from __future__ import annotations

import functools
from typing import Any, Self

import msgspec
from pydantic import BaseModel
from pydantic_core import core_schema


class Row(msgspec.Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    """Base of them: frozen, and closed to unknown fields. A field may also be a record, and a record's field a row.

    >>> class Point(Row, kw_only=True):
    ...     x: float
    >>> point = Point.from_json(b'{"x": 1}')
    >>> point.but(x=2.0), point.to_json()
    (Point(x=2.0), '{"x":1.0}')
    """

    @classmethod
    def from_json(cls, text: bytes | str) -> Self:
        """Read one.

        Raises:
            ValueError: for a text that is not one, with the place where it ceases to be.
        """
        try:
            return cls._flawless(_decoder(cls).decode(text))
        except msgspec.DecodeError as error:
            raise ValueError(f"not a {cls.__name__}: {error}") from None

    def to_json(self) -> str:
        """As one line of JSON."""
        return msgspec.json.encode(self, enc_hook=_as_plain).decode()

    def to_plain(self) -> dict[str, Any]:
        """As a dict of what JSON has."""
        plain: dict[str, Any] = msgspec.to_builtins(self, enc_hook=_as_plain)
        return plain

    @classmethod
    def from_plain(cls, plain: Any) -> Self:
        """The opposite of `to_plain`.

        Raises:
            ValueError: for what is not one.
        """
        try:
            return cls._flawless(msgspec.convert(plain, cls, dec_hook=_as_record))
        except msgspec.ValidationError as error:
            raise ValueError(f"not a {cls.__name__}: {error}") from None

    def flaw(self) -> str:
        """What fields of the right types say that cannot be; empty where all is well. Asked for when one is read."""
        return ""

    @classmethod
    def _flawless(cls, found: Self) -> Self:
        if flaw := found.flaw():
            raise ValueError(f"not a {cls.__name__}: {flaw}")
        return found

    def but(self, **changes: Any) -> Self:
        """The same with other values of some fields."""
        return msgspec.structs.replace(self, **changes)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> core_schema.CoreSchema:
        """As a field of a record."""
        return core_schema.no_info_plain_validator_function(
            lambda value: value if isinstance(value, cls) else cls.from_plain(value),
            serialization=core_schema.plain_serializer_function_ser_schema(cls.to_plain),
        )

    def checked(self) -> Self:
        """Itself, if it would be read as it is written.

        Raises:
            ValueError: where a field has a value of another type, or a number that is not finite, which JSON has not.
        """
        again = self.from_json(self.to_json())
        for field in self.__struct_fields__:
            if getattr(again, field) != getattr(self, field):
                raise ValueError(f"{type(self).__name__}.{field} cannot be written as it is: {getattr(self, field)!r}")
        return self


@functools.cache
def _decoder(kind: type[Row]) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(kind, dec_hook=_as_record)


def _as_plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    raise NotImplementedError(f"{type(value).__name__} has no form in JSON")


_made: dict[tuple[Any, ...], Any] = {}


def _as_record(kind: type[BaseModel], plain: Any) -> Any:
    """A record; of equal ones without lists in them, such as a protocol, of which a run has thousands, always the same.

    >>> from harmbench.results.records import Protocol
    >>> _as_record(Protocol, {"steps": 9}) is _as_record(Protocol, {"steps": 9})
    True
    """
    try:
        key = kind, *plain.items()
        if key not in _made:
            _made[key] = kind.model_validate(plain)
        return _made[key]
    except (AttributeError, TypeError):  # no object, or one with a part that cannot be a key
        return kind.model_validate(plain)
