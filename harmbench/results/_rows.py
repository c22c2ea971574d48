"""Base classes of stored values: `Record` (pydantic) and `Row` (msgspec), both frozen and closed to unknown fields.

Rows are for values that a run holds in great numbers. A run of 10,000 trials has half a million measurements, and
pydantic takes seconds to build as many objects. msgspec reads them about four times as fast. It checks types, literals
and unknown fields while reading, but nothing when a row is made in Python: `Row.checked` does that.
"""

from __future__ import annotations

import functools
from typing import Any, Self

import msgspec
from pydantic import BaseModel, ConfigDict
from pydantic_core import core_schema


class Record(BaseModel):
    """Base of all records: frozen, and closed to unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Row(msgspec.Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    """Base of all rows. A row may have records as fields, and a record may have rows.

    >>> class Point(Row, kw_only=True):
    ...     x: float
    >>> point = Point.from_json(b'{"x": 1}')
    >>> point.but(x=2.0), point.to_json()
    (Point(x=2.0), '{"x":1.0}')
    """

    @classmethod
    def from_json(cls, text: bytes | str) -> Self:
        """Return the row that a JSON text holds.

        Raises:
            ValueError: if the text is no such row; the message names the field.
        """
        try:
            return cls._flawless(_decoder(cls).decode(text))
        except msgspec.DecodeError as error:
            raise ValueError(f"not a {cls.__name__}: {error}") from None

    def to_json(self) -> str:
        """Return the row as one line of JSON."""
        return msgspec.json.encode(self, enc_hook=_as_plain).decode()

    def to_plain(self) -> dict[str, Any]:
        """Return the row as a dict of JSON-like values."""
        plain: dict[str, Any] = msgspec.to_builtins(self, enc_hook=_as_plain)
        return plain

    @classmethod
    def from_plain(cls, plain: Any) -> Self:
        """Return the row that a dict of JSON-like values holds.

        Raises:
            ValueError: if the dict is no such row.
        """
        try:
            return cls._flawless(msgspec.convert(plain, cls, dec_hook=_as_record))
        except msgspec.ValidationError as error:
            raise ValueError(f"not a {cls.__name__}: {error}") from None

    def flaw(self) -> str:
        """Return a contradiction between well-typed fields, or an empty text. Called whenever a row is read."""
        return ""

    @classmethod
    def _flawless(cls, row: Self) -> Self:
        if flaw := row.flaw():
            raise ValueError(f"not a {cls.__name__}: {flaw}")
        return row

    def but(self, **changes: Any) -> Self:
        """Return a copy with some fields changed."""
        return msgspec.structs.replace(self, **changes)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> core_schema.CoreSchema:
        """Schema of a row that is a field of a pydantic record."""
        return core_schema.no_info_plain_validator_function(
            lambda value: value if isinstance(value, cls) else cls.from_plain(value),
            serialization=core_schema.plain_serializer_function_ser_schema(cls.to_plain),
        )

    def checked(self) -> Self:
        """Return the row itself, if reading its JSON gives the same row.

        Raises:
            ValueError: if a field has a value of another type or a number that is not finite.
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
    """Return a record, and the same object for equal plain values, since a run repeats its protocol thousands of times.

    >>> from harmbench.results.protocol import Protocol
    >>> _as_record(Protocol, {"steps": 9}) is _as_record(Protocol, {"steps": 9})
    True
    """
    try:
        key = kind, *plain.items()
        if key not in _made:
            _made[key] = kind.model_validate(plain)
        return _made[key]
    except (AttributeError, TypeError):  # not a mapping, or a value in it cannot be hashed
        return kind.model_validate(plain)
