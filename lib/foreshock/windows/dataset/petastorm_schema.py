"""The schema of a block in Petastorm's terms, and the metadata by which its readers know it.

Loaded only where Petastorm is installed.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping, Sequence

import numpy as np
from petastorm.codecs import NdarrayCodec, ScalarCodec
from petastorm.etl.dataset_metadata import ROW_GROUPS_PER_FILE_KEY, UNISCHEMA_KEY
from petastorm.unischema import Unischema, UnischemaField
from pyspark.sql import types as T

from foreshock.windows.dataset.schema import INT8_FIELDS, TEXT_FIELDS

SEQUENCE_FIELDS = ("entity", "group", "partition")


def block_schema(n_features: int) -> Unischema:
    """The Unischema of a block of n events.

    `kind`, `event_partition`, `event_group`, `split` (`sequences.split.Split`) and `calibrate` are
    per event; `validation` tells the last part of train.
    """
    array = NdarrayCodec()
    fields = [
        UnischemaField("block_id", np.int64, (), ScalarCodec(T.LongType()), False),
        *[
            UnischemaField(name, np.str_, (), ScalarCodec(T.StringType()), False)
            for name in SEQUENCE_FIELDS
        ],
        UnischemaField("n_windows", np.int32, (), ScalarCodec(T.IntegerType()), False),
        UnischemaField("first_padding", np.int32, (), ScalarCodec(T.IntegerType()), False),
        UnischemaField("validation", np.int8, (), ScalarCodec(T.ByteType()), False),
        UnischemaField("x", np.float32, (None, n_features), array, False),
        UnischemaField("event_time", np.int64, (None,), array, False),
        *[UnischemaField(name, np.str_, (None,), array, False) for name in TEXT_FIELDS],
        *[UnischemaField(name, np.int8, (None,), array, False) for name in INT8_FIELDS],
    ]
    return Unischema("Block", fields)


def petastorm_metadata(n_features: int, files: Sequence[str]) -> Mapping[bytes, bytes]:
    """What Petastorm wants in the metadata of a dataset: the pickled schema, row groups a file.

    files: names of the files of blocks; each has one row group.
    """
    return {
        # The protocol is fixed because the bytes are compared; Python's default changes.
        UNISCHEMA_KEY: pickle.dumps(block_schema(n_features), protocol=2),
        ROW_GROUPS_PER_FILE_KEY: json.dumps(dict.fromkeys(files, 1)).encode(),
    }
