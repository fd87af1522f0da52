"""Reading a record from the mapping that a JSON file or a row of a table is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

RecordType = TypeVar("RecordType", bound="DataclassInstance")


def read_record(record_type: type[RecordType], raw: Mapping[str, Any]) -> RecordType:
    """The record whose fields a mapping holds under their names.

    Keys that are no field are left out: a run directory of a later version may hold more.
    Raises TypeError if a field without a default is missing.

    >>> from dataclasses import dataclass
    >>> @dataclass(frozen=True)
    ... class Point:
    ...     x: int
    ...     y: int = 0
    >>> read_record(Point, {"x": 1, "colour": "red"})
    Point(x=1, y=0)
    """
    field_names = {record_field.name for record_field in fields(record_type)}
    return record_type(
        **{field_name: value for field_name, value in raw.items() if field_name in field_names}
    )


def read_records(
    record_type: type[RecordType], rows: Iterable[Mapping[str, Any]]
) -> tuple[RecordType, ...]:
    """`read_record` for each row, in order.

    Raises TypeError if a row lacks a field without a default.
    """
    return tuple(read_record(record_type, row) for row in rows)
