"""The ledger of extract: its format on disk stays as it is, and its sums are those of its rows."""

import json

import pytest
from foreshock.errors import DataError
from foreshock.events.column_types import CellCounts
from foreshock.events.ledger import (
    MAIN,
    TEST_TABLE,
    Ledger,
    PartitionCounts,
    SourcePartitionEntry,
    TimeSpan,
)

# A ledger as an earlier version wrote it: two days of text, a day without rows, and a test table.
WRITTEN = json.loads("""
{
 "main": {
  "2023-01-02": {
   "cells": {"gas": [4, 4, 4, 0, 0, 0], "note": [0, 0, 0, 0, 0, 0]},
   "fingerprint": "a1",
   "partitions": {
    "2023-01-02": {
     "filtered": 1, "kept": {"outside": 1, "train": 2}, "nulls": {"gas": 0},
     "quarantined": {"malformed_row": 1, "null:gas": 2}, "rows_read": 7,
     "time": [100, 300], "train": [100, 200]
    }
   }
  },
  "2023-01-03": {
   "cells": {"gas": [3, 3, 3, 0, 0, 0]},
   "fingerprint": "b2",
   "partitions": {
    "2023-01-03": {
     "filtered": 0, "kept": {"train": 3}, "nulls": {"gas": 1}, "quarantined": {"null:gas": 1},
     "rows_read": 4, "time": [400, 600], "train": [400, 600]
    }
   }
  },
  "2023-01-04": {"fingerprint": "c3", "partitions": {}}
 },
 "test": {
  "*": {
   "fingerprint": "partial",
   "partitions": {
    "2023-01-01": {
     "filtered": 0, "kept": {"test": 5}, "nulls": {}, "quarantined": {}, "rows_read": 5,
     "time": [10, 20], "train": []
    }
   }
  }
 }
}
""")


def test_a_ledger_written_before_is_read_and_written_again_unchanged() -> None:
    assert Ledger.from_mapping(WRITTEN).to_mapping() == WRITTEN


def test_totals_are_sums_over_tables_and_partitions() -> None:
    ledger = Ledger.from_mapping(WRITTEN)
    total = ledger.total()
    assert (total.rows_read, total.filtered, total.rows_kept) == (16, 1, 11)
    assert total.kept == {"outside": 1, "train": 5, "test": 5}
    assert total.quarantined == {"malformed_row": 1, "null:gas": 3}
    assert total.nulls_by_feature == {"gas": 1}
    assert total.event_span == TimeSpan(10, 600)
    assert total.train_span == TimeSpan(100, 600)
    assert ledger.total(MAIN).event_span == TimeSpan(100, 600)
    assert ledger.total(TEST_TABLE).train_span is None


def test_a_feature_without_nulls_is_counted_with_zero() -> None:
    counts = PartitionCounts(nulls_by_feature={"gas": 0})
    assert (counts + counts).nulls_by_feature == {"gas": 0}
    assert (PartitionCounts() + counts).nulls_by_feature == {"gas": 0}


def test_partitions_with_events_are_named_once() -> None:
    assert Ledger.from_mapping(WRITTEN).kept_partitions() == [
        "2023-01-01",
        "2023-01-02",
        "2023-01-03",
    ]


def test_a_table_that_was_not_extracted_has_no_entries() -> None:
    assert Ledger().is_empty
    assert dict(Ledger().entries(MAIN)) == {}
    assert Ledger().total() == PartitionCounts()


def test_cells_stay_away_if_types_are_not_inferred() -> None:
    assert "cells" not in SourcePartitionEntry("a1").to_mapping()
    with_cells = SourcePartitionEntry("a1", cells={"gas": CellCounts(filled=2, booleans=1)})
    assert with_cells.to_mapping()["cells"] == {"gas": [2, 0, 0, 0, 0, 1]}


@pytest.mark.parametrize(
    "mapping",
    [
        {"main": {"*": {"fingerprint": "a1"}}},
        {"main": {"*": {"fingerprint": "a1", "partitions": {"x": {"filtered": 0}}}}},
        {"main": []},
        {"main": {"*": {"fingerprint": "a1", "partitions": {}, "cells": {"gas": [1, 2]}}}},
    ],
)
def test_what_is_no_ledger_is_refused(mapping: dict[str, object]) -> None:
    with pytest.raises(DataError):
        Ledger.from_mapping(mapping)
