"""The columns of a file of blocks, and how a row of it is encoded, decoded and checked."""

from __future__ import annotations

import functools
import io
from collections import Counter
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
_NUMBER_TYPES = {"x": "float32", "event_time": "int64", **dict.fromkeys(INT8_FIELDS, "int8")}
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
        *[(field_name, pa.binary()) for field_name in ARRAY_FIELDS],
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
    # Kept by the cache above: blocks share few types and shapes.
    memory = io.BytesIO()
    header = {"descr": dtype, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(memory, header)  # type: ignore[no-untyped-call]
    return memory.getvalue()


def encode(array: AnyArray) -> bytes:
    """An array as Petastorm's NdarrayCodec stores it (NumPy's own format, 1.0).

    >>> encode(np.array([7], np.int8))[:6]
    b'\\x93NUMPY'
    """
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
    n_offsets = len(column) + 1
    # A slice shares the buffers of its column and begins at an offset in them.
    text_ends = np.frombuffer(offsets, np.int32, n_offsets, column.offset * 4).astype(np.int64)
    characters = np.frombuffer(data or b"", np.uint8)[text_ends[0] : text_ends[-1]]
    # A letter may take several bytes.
    if not len(characters) or characters.max() > 127:
        return np.array(column.to_pylist(), dtype=np.str_)
    text_sizes = np.diff(text_ends)
    letters = np.zeros((len(column), int(text_sizes.max())), np.uint32)
    letters[np.arange(letters.shape[1]) < text_sizes[:, None]] = characters
    return letters.view(f"<U{letters.shape[1]}").ravel()


def check_columns(file: Path, schema: pa.Schema) -> None:
    """Raise DataError naming file and column if a file's columns are not those of blocks.

    >>> check_columns(Path("fit-000000.parquet"), BLOCK_SCHEMA.remove(0))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    foreshock.errors.DataError: fit-000000.parquet: the column block_id is missing; ...
    """
    if schema.equals(BLOCK_SCHEMA):
        return
    for wanted_field in BLOCK_SCHEMA:
        if wanted_field.name not in schema.names:
            raise DataError(f"{file}: the column {wanted_field.name} is missing; {REMEDY}")
        column_type = schema.types[schema.names.index(wanted_field.name)]
        if column_type != wanted_field.type:
            raise DataError(
                f"{file}: the column {wanted_field.name} has the type {column_type}, where a "
                f"dataset of this version has {wanted_field.type}; {REMEDY}"
            )
    if surplus_columns := sorted((Counter(schema.names) - Counter(BLOCK_SCHEMA.names)).elements()):
        raise DataError(
            f"{file}: the column {surplus_columns[0]} is not one of a dataset, or there twice; "
            f"{REMEDY}"
        )


def check_row(file: Path, row: Mapping[str, Any], shape: BlockShape) -> BlockRow:
    """A decoded row as it is, if its arrays have the types and shapes that blocks have.

    Raises DataError naming file and column.

    >>> shape = BlockShape(n_features=2, length=3, stride=1)
    >>> row = {"x": np.zeros((4, 5), np.float32)}
    >>> check_row(Path("fit-000000.parquet"), row, shape)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    foreshock.errors.DataError: fit-000000.parquet: the column x holds float32 (4, 5), where ...
    """
    n_events = None
    for field_name, value in row.items():
        if value is None:
            raise DataError(f"{file}: the column {field_name} holds a null; {REMEDY}")
        if field_name not in ARRAY_FIELDS:
            continue
        _check_array(file, field_name, value, shape)
        if n_events is not None and len(value) != n_events:
            raise DataError(
                f"{file}: the column {field_name} holds {len(value)} events of a block, other "
                f"columns hold {n_events}; {REMEDY}"
            )
        n_events = len(value)
    _check_windows(file, row, n_events, shape)
    return cast(BlockRow, row)


def _check_windows(
    file: Path, row: Mapping[str, Any], n_events: int | None, shape: BlockShape
) -> None:
    """Raise DataError if a block's windows reach beyond its events, or are padded throughout."""
    n_windows, first_padding = row.get("n_windows", 1), row.get("first_padding", 0)
    if n_windows < 1 or (n_events is not None and n_events < shape.least_rows(n_windows)):
        raise DataError(
            f"{file}: the column n_windows has {n_windows} for a block of {n_events} events "
            f"(windows of {shape.length}, stride {shape.stride}); {REMEDY}"
        )
    if not 0 <= first_padding < shape.length:
        raise DataError(
            f"{file}: the column first_padding has {first_padding} for windows of "
            f"{shape.length}; {REMEDY}"
        )


def _check_array(file: Path, field_name: str, array: AnyArray, shape: BlockShape) -> None:
    wanted_shape = array.shape[:1]
    if field_name in TEXT_FIELDS:
        is_wanted_type, wanted_type = array.dtype.kind == "U", "text"
    else:
        wanted_type = _NUMBER_TYPES[field_name]
        is_wanted_type = array.dtype == np.dtype(wanted_type)
    if field_name == "x":
        wanted_shape = (*wanted_shape, shape.n_features)
    if not is_wanted_type or array.ndim == 0 or array.shape != wanted_shape:
        axes = f"(n, {shape.n_features})" if field_name == "x" else "(n,)"
        raise DataError(
            f"{file}: the column {field_name} holds {array.dtype} {array.shape}, where "
            f"{wanted_type} {axes} is wanted; {REMEDY}"
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
            row_groups = range(parquet.num_row_groups)
            batches = (parquet.read_row_group(group, columns=list(fields)) for group in row_groups)
        else:
            batches = parquet.iter_batches(batch_size=at_once, columns=list(fields))
        for batch in batches:
            columns = [batch.column(field_name).to_pylist() for field_name in fields]
            for stored_values in zip(*columns, strict=True):
                block_row = {
                    field_name: _decoded(file, field_name, stored_value)
                    for field_name, stored_value in zip(fields, stored_values, strict=True)
                }
                yield check_row(file, block_row, shape)


def _decoded(file: Path, field_name: str, value: Any) -> Any:
    if field_name not in ARRAY_FIELDS or value is None:
        return value
    try:
        return decode(value)
    # A damaged header may ask for more memory than there is.
    except (ValueError, OSError, MemoryError) as error:
        raise DataError(
            f"{file}: the column {field_name} holds a value that is not an array ({error}); "
            f"{REMEDY}"
        ) from None
