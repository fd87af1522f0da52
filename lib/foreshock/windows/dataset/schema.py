"""The columns of a file of blocks, and how a row of it is encoded, decoded and checked."""

from __future__ import annotations

import functools
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict, cast

import numpy as np
import pyarrow as pa

from foreshock.errors import DataError
from foreshock.platform.parquet import parquet_file
from foreshock.statistics.arrays import (
    AnyArray,
    Float32Array,
    Int8Array,
    Int64Array,
    TextArray,
)
from foreshock.windows.dataset.manifest import REMEDY, BlockShape

TEXT_FIELDS = ("event_id", "kind", "event_partition", "event_group")
INT8_FIELDS = ("label", "split", "calibrate")
ARRAY_FIELDS = ("x", "event_time", *TEXT_FIELDS, *INT8_FIELDS)
BLOCK_SCHEMA = pa.schema(
    [
        ("block_id", pa.int64()),
        ("entity", pa.string()),
        ("group", pa.string()),
        ("partition", pa.string()),
        ("n_windows", pa.int32()),
        ("first_padding", pa.int32()),
        ("validation", pa.int8()),
        *[(name, pa.binary()) for name in ARRAY_FIELDS],
    ]
)


class BlockRow(TypedDict, total=False):
    """The columns of a block that were read, decoded. Arrays have one value an event: (n,)."""

    block_id: int
    entity: str
    group: str
    partition: str
    n_windows: int
    first_padding: int
    validation: int
    x: Float32Array  # (n, F)
    event_time: Int64Array  # microseconds
    event_id: TextArray
    kind: TextArray
    event_partition: TextArray
    event_group: TextArray
    label: Int8Array
    split: Int8Array
    calibrate: Int8Array


@functools.lru_cache(maxsize=4096)
def _header(dtype: str, shape: tuple[int, ...]) -> bytes:
    memory = io.BytesIO()
    header = {"descr": dtype, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(memory, header)  # type: ignore[no-untyped-call]
    return memory.getvalue()


def encode(array: AnyArray) -> bytes:
    """An array as Petastorm's NdarrayCodec stores it (NumPy's own format, 1.0)."""
    return _header(array.dtype.str, array.shape) + array.tobytes()


def decode(data: bytes) -> AnyArray:
    """The array of `encode`; never unpickles. Raises ValueError if the bytes are no array.

    >>> decode(encode(np.array([[1, 2]], np.int8))).tolist()
    [[1, 2]]
    """
    # `np.load` would open archives too.
    read_array: Callable[..., AnyArray] = np.lib.format.read_array
    return read_array(io.BytesIO(data), allow_pickle=False)


def text_array(column: pa.StringArray) -> TextArray:
    """A column of n texts without nulls as a NumPy array (n,), as wide as the longest text.

    >>> text_array(pa.array(["a", "bcd"]))
    array(['a', 'bcd'], dtype='<U3')
    """
    offsets, data = column.buffers()[1:]
    ends = np.frombuffer(offsets, np.int32, len(column) + 1, column.offset * 4).astype(np.int64)
    characters = np.frombuffer(data or b"", np.uint8)[ends[0] : ends[-1]]
    if not len(characters) or characters.max() > 127:  # a letter may take several bytes
        return np.array(column.to_pylist(), dtype=np.str_)
    text_sizes = np.diff(ends)
    letters = np.zeros((len(column), int(text_sizes.max())), np.uint32)
    letters[np.arange(letters.shape[1]) < text_sizes[:, None]] = characters
    return letters.view(f"<U{letters.shape[1]}").ravel()


def check_columns(file: Path, schema: pa.Schema) -> None:
    """Raise DataError naming file and column if a file's columns are not those of blocks."""
    for wanted in BLOCK_SCHEMA:
        if wanted.name not in schema.names:
            raise DataError(f"{file}: the column {wanted.name} is missing; {REMEDY}")
        column_type = schema.field(wanted.name).type
        if column_type != wanted.type:
            raise DataError(
                f"{file}: the column {wanted.name} has the type {column_type}, where a dataset of "
                f"this version has {wanted.type}; {REMEDY}"
            )
    if extra := [name for name in schema.names if name not in BLOCK_SCHEMA.names]:
        raise DataError(f"{file}: the column {extra[0]} is not one of a dataset; {REMEDY}")


def check_row(file: Path, row: Mapping[str, Any], shape: BlockShape) -> BlockRow:
    """A decoded row as it is, if its arrays have the types and shapes that blocks have.

    Raises DataError naming file and column.
    """
    n_events = None
    for name, value in row.items():
        if value is None:
            raise DataError(f"{file}: the column {name} holds a null; {REMEDY}")
        if name not in ARRAY_FIELDS:
            continue
        _check_array(file, name, value, shape)
        if n_events is not None and len(value) != n_events:
            raise DataError(
                f"{file}: the column {name} holds {len(value)} events of a block, other columns "
                f"hold {n_events}; {REMEDY}"
            )
        n_events = len(value)
    n_windows = row.get("n_windows", 1)
    if n_windows < 1 or (n_events is not None and n_events < shape.least_rows(n_windows)):
        raise DataError(
            f"{file}: the column n_windows has {n_windows} for a block of {n_events} events "
            f"(windows of {shape.length}, stride {shape.stride}); {REMEDY}"
        )
    if not 0 <= row.get("first_padding", 0) < shape.length:
        raise DataError(
            f"{file}: the column first_padding has {row['first_padding']} for windows of "
            f"{shape.length}; {REMEDY}"
        )
    return cast(BlockRow, row)


def _check_array(file: Path, name: str, array: AnyArray, shape: BlockShape) -> None:
    if name in TEXT_FIELDS:
        is_wanted, wanted = array.dtype.kind == "U" and array.ndim == 1, "texts (n,)"
    elif name == "x":
        is_wanted = array.dtype == np.float32 and array.shape[1:] == (shape.n_features,)
        wanted = f"float32 (n, {shape.n_features})"
    else:
        dtype = np.dtype(np.int8 if name in INT8_FIELDS else np.int64)
        is_wanted, wanted = array.dtype == dtype and array.ndim == 1, f"{dtype} (n,)"
    if not is_wanted:
        raise DataError(
            f"{file}: the column {name} holds {array.dtype} {array.shape}, where {wanted} is "
            f"wanted; {REMEDY}"
        )


def read_rows(
    file: Path, shape: BlockShape, fields: Sequence[str], at_once: int | None = None
) -> Iterator[BlockRow]:
    """The blocks of a file, in order, decoded to some fields.

    at_once: so many blocks are in memory together; None for whole row groups.
    Raises DataError naming file and column if the file's columns or arrays are not those of blocks.
    """
    with parquet_file(file) as parquet:
        check_columns(file, parquet.schema_arrow)
        if at_once is None:
            tables = (
                parquet.read_row_group(group, columns=list(fields))
                for group in range(parquet.num_row_groups)
            )
        else:
            tables = parquet.iter_batches(batch_size=at_once, columns=list(fields))
        for table in tables:
            columns = [table.column(name).to_pylist() for name in fields]
            for values in zip(*columns, strict=True):
                row = {
                    name: _decoded(file, name, value)
                    for name, value in zip(fields, values, strict=True)
                }
                yield check_row(file, row, shape)


def _decoded(file: Path, name: str, value: Any) -> Any:
    if name not in ARRAY_FIELDS or value is None:
        return value
    try:
        return decode(value)
    except (ValueError, OSError, MemoryError) as error:
        raise DataError(
            f"{file}: the column {name} holds a value that is not an array ({error}); {REMEDY}"
        ) from None
