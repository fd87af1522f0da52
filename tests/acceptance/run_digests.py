"""Digests of what runs hold, and what sets two runs apart, in words."""

from __future__ import annotations

import hashlib
import itertools
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from acceptance.run_contents import Column, Content

SHOWN_ROWS = 3
SHOWN_COLUMNS = 8


@dataclass(frozen=True)
class ColumnDigest:
    """A column as its name, its type and the digest of its values."""

    name: str
    kind: str
    sha256: str


@dataclass(frozen=True)
class ContentDigest:
    """A content as the digests of its columns."""

    name: str
    rows: int
    columns: tuple[ColumnDigest, ...]


def digest(content: Content) -> ContentDigest:
    """The content with a sha256 for every column's values, floats by their exact bits."""
    columns = []
    for column in content.columns:
        total = hashlib.sha256()
        _feed(total, column.values)
        columns.append(ColumnDigest(column.name, column.kind, total.hexdigest()))
    return ContentDigest(content.name, content.rows, tuple(columns))


def different_columns(before: ContentDigest, now: ContentDigest) -> list[str]:
    """The names of columns that differ, with what became of them where it is not their values."""
    earlier = {column.name: column for column in before.columns}
    later = {column.name: column for column in now.columns}
    named = [f"{name} (gone)" for name in earlier if name not in later]
    named += [f"{name} (new)" for name in later if name not in earlier]
    for name in (name for name in earlier if name in later):
        if earlier[name].kind != later[name].kind:
            named.append(f"{name} ({earlier[name].kind} became {later[name].kind})")
        elif earlier[name].sha256 != later[name].sha256:
            named.append(name)
    return named


def different_rows(before: Content, now: Content) -> list[str]:
    """The first few rows that are not the same, in words, and how many there are."""
    earlier = {column.name: column for column in before.columns}
    later = {column.name: column for column in now.columns}
    shared = [name for name in earlier if name in later]
    if before.rows != now.rows:
        return _rows_of_one(before, now, [n for n in shared if _is_key(earlier[n].values)])
    if len({len(column.values) for column in (*before.columns, *now.columns)}) > 1:
        return _values_apart(earlier, later, shared)
    values = {name: (_texts(earlier[name]), _texts(later[name])) for name in shared}
    apart = [row for row in range(before.rows) if any(a[row] != b[row] for a, b in values.values())]
    keys = [n for n in shared if _is_key(earlier[n].values)]
    lines = []
    for row in apart[:SHOWN_ROWS]:
        same = [f"{n}={values[n][0][row]}" for n in keys if values[n][0][row] == values[n][1][row]]
        changed = [f"{n}: {a[row]} -> {b[row]}" for n, (a, b) in values.items() if a[row] != b[row]]
        lines.append(", ".join(same[:SHOWN_COLUMNS]) + " | " + "; ".join(changed[:SHOWN_COLUMNS]))
    return [*lines, f"{len(apart)} of {before.rows} rows differ"]


def _feed(total: hashlib._Hash, array: pa.Array) -> None:
    """Add an array's values to a digest: which are null, then the others by their bits."""
    total.update(f"{array.type}:{len(array)};".encode())
    total.update(np.packbits(array.is_valid().to_numpy(zero_copy_only=False)).tobytes())
    kind = array.type
    if pa.types.is_null(kind):
        return
    if pa.types.is_struct(kind):
        for field in array.flatten():
            _feed(total, field)
    elif pa.types.is_list(kind) or pa.types.is_large_list(kind):
        lengths = pc.fill_null(pc.list_value_length(array), 0)
        total.update(lengths.to_numpy(zero_copy_only=False).tobytes())
        _feed(total, array.flatten())
    elif pa.types.is_primitive(kind):
        present = array.drop_null()
        if pa.types.is_boolean(kind):
            present = present.cast(pa.uint8())
        elif pa.types.is_temporal(kind):
            present = present.view(pa.int32() if kind.bit_width == 32 else pa.int64())
        total.update(present.to_numpy(zero_copy_only=False).tobytes())
    else:
        for value in array.drop_null().to_pylist():
            data = value if isinstance(value, bytes) else str(value).encode()
            total.update(len(data).to_bytes(8, "little") + data)


def _is_key(array: pa.Array) -> bool:
    """Whether a column tells rows apart without a computed value."""
    return not (pa.types.is_floating(array.type) or pa.types.is_nested(array.type))


def _texts(column: Column) -> list[str]:
    """A column's values as short text, floats with all their digits; of long bytes their digest."""
    return [
        f"{len(v)} bytes {hashlib.sha256(v).hexdigest()[:12]}" if isinstance(v, bytes) else repr(v)
        for v in (str(v) if hasattr(v, "isoformat") else v for v in column.values.to_pylist())
    ]


def _rows_of_one(before: Content, now: Content, names: list[str]) -> list[str]:
    """Rows by their exact columns alone that only one of the two has."""
    both = []
    for content in (before, now):
        columns = {column.name: column for column in content.columns}
        ragged = len({len(column.values) for column in content.columns}) > 1
        rows = itertools.chain if ragged else zip
        both.append([str(row) for row in rows(*[_texts(columns[name]) for name in names])])
    lines = [f"{before.rows} rows became {now.rows}"]
    for words, own, other in (("only before", *both), ("only now", both[1], both[0])):
        there = set(other)
        lines += [f"{words}: {row}" for row in own if row not in there][:SHOWN_ROWS]
    return lines


def _values_apart(before: dict[str, Column], now: dict[str, Column], names: list[str]) -> list[str]:
    """Where columns of their own lengths, such as a bundle's arrays, differ."""
    lines = []
    for name in names:
        pairs = zip(_texts(before[name]), _texts(now[name]), strict=False)
        apart = [f"{name}, value {at}: {a} -> {b}" for at, (a, b) in enumerate(pairs) if a != b]
        if apart:
            lines += [*apart[:SHOWN_ROWS], f"{name}: {len(apart)} values differ"]
    return lines
