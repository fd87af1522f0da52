"""The Petastorm schema of a block, and encoding and decoding of its rows."""

from __future__ import annotations

import functools
import io
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from petastorm.codecs import NdarrayCodec, ScalarCodec
from petastorm.unischema import Unischema, UnischemaField
from pyspark.sql import types as T

TEXTS = ("event_id", "kind", "event_partition", "event_group")
INTS8 = ("label", "split", "calibrate")
ARROW = pa.schema(
    [
        ("block_id", pa.int64()),
        ("entity", pa.string()),
        ("group", pa.string()),
        ("partition", pa.string()),
        ("n_windows", pa.int32()),
        ("first_padding", pa.int32()),
        ("validation", pa.int8()),
        ("x", pa.binary()),
        ("event_time", pa.binary()),
        *[(name, pa.binary()) for name in (*TEXTS, *INTS8)],
    ]
)


def block_schema(features: int) -> Unischema:
    """The Unischema of a block of n events with F features (interface: The dataset), and what scoring needs besides.

    `kind`, `event_partition`, `event_group`, `split` (0 none, 1 train, 2 calibration, 3 test) and `calibrate` are per event;
    `validation` tells the last part of train.
    """
    array = NdarrayCodec()
    fields = [
        UnischemaField("block_id", np.int64, (), ScalarCodec(T.LongType()), False),
        *[
            UnischemaField(n, np.str_, (), ScalarCodec(T.StringType()), False)
            for n in ("entity", "group", "partition")
        ],
        UnischemaField("n_windows", np.int32, (), ScalarCodec(T.IntegerType()), False),
        UnischemaField("first_padding", np.int32, (), ScalarCodec(T.IntegerType()), False),
        UnischemaField("validation", np.int8, (), ScalarCodec(T.ByteType()), False),
        UnischemaField("x", np.float32, (None, features), array, False),
        UnischemaField("event_time", np.int64, (None,), array, False),
        *[UnischemaField(n, np.str_, (None,), array, False) for n in TEXTS],
        *[UnischemaField(n, np.int8, (None,), array, False) for n in INTS8],
    ]
    return Unischema("Block", fields)


@functools.lru_cache(maxsize=4096)
def _header(dtype: str, shape: tuple[int, ...]) -> bytes:
    memory = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        memory, {"descr": dtype, "fortran_order": False, "shape": shape}
    )
    return memory.getvalue()


def encode(value: npt.NDArray[Any]) -> bytes:
    """An array as Petastorm's NdarrayCodec stores it (NumPy's own format, 1.0)."""
    return _header(value.dtype.str, value.shape) + value.tobytes()


def decode(value: bytes) -> npt.NDArray[Any]:
    """The array of `encode`; never unpickles."""
    return np.load(io.BytesIO(value), allow_pickle=False)


def texts(column: pa.StringArray) -> npt.NDArray[np.str_]:
    """A column of n texts without nulls as a NumPy array (n,), its text as wide as the longest."""
    ends = np.frombuffer(column.buffers()[1], np.int32, len(column) + 1, column.offset * 4).astype(
        np.int64
    )
    characters = np.frombuffer(column.buffers()[2] or b"", np.uint8)[ends[0] : ends[-1]]
    if not len(characters) or characters.max() > 127:  # more bytes than letters
        return np.array(column.to_pylist(), dtype=np.str_)
    size = np.diff(ends)
    wide = np.zeros((len(column), int(size.max())), np.uint32)
    wide[np.arange(wide.shape[1]) < size[:, None]] = characters
    return wide.view(f"<U{wide.shape[1]}").ravel()
