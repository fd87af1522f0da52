"""The Petastorm schema of a block, and encoding and decoding of its rows."""

from __future__ import annotations

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
ARROW = pa.schema([
    ("block_id", pa.int64()), ("entity", pa.string()), ("group", pa.string()), ("partition", pa.string()),
    ("n_windows", pa.int32()), ("first_padding", pa.int32()), ("validation", pa.int8()), ("x", pa.binary()),
    ("event_time", pa.binary()), *[(name, pa.binary()) for name in (*TEXTS, *INTS8)],
])


def block_schema(features: int) -> Unischema:
    """The Unischema of a block of n events with F features (interface: The dataset), and what scoring needs besides.

    `kind`, `event_partition`, `event_group`, `split` (0 none, 1 train, 2 calibration, 3 test) and `calibrate` are per event;
    `validation` tells the last part of train.
    """
    array = NdarrayCodec()
    fields = [
        UnischemaField("block_id", np.int64, (), ScalarCodec(T.LongType()), False),
        *[UnischemaField(n, np.str_, (), ScalarCodec(T.StringType()), False) for n in ("entity", "group", "partition")],
        UnischemaField("n_windows", np.int32, (), ScalarCodec(T.IntegerType()), False),
        UnischemaField("first_padding", np.int32, (), ScalarCodec(T.IntegerType()), False),
        UnischemaField("validation", np.int8, (), ScalarCodec(T.ByteType()), False),
        UnischemaField("x", np.float32, (None, features), array, False),
        UnischemaField("event_time", np.int64, (None,), array, False),
        *[UnischemaField(n, np.str_, (None,), array, False) for n in TEXTS],
        *[UnischemaField(n, np.int8, (None,), array, False) for n in INTS8],
    ]
    return Unischema("Block", fields)


def encode(value: npt.NDArray[Any]) -> bytes:
    """An array as Petastorm's NdarrayCodec stores it (NumPy's own format)."""
    memory = io.BytesIO()
    np.save(memory, np.ascontiguousarray(value), allow_pickle=False)
    return memory.getvalue()


def decode(value: bytes) -> npt.NDArray[Any]:
    """The array of `encode`; never unpickles."""
    return np.load(io.BytesIO(value), allow_pickle=False)
