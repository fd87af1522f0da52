"""What the report says of the top events is what the table of scores says."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from foreshock.stages.details import explained


def test_the_reasons_of_a_top_event_are_those_of_its_row(tmp_path: Path) -> None:
    keys = [
        ("test", "d1", "e1", "i1", 0.9),
        ("test", "d1", "e2", "i1", 0.2),
        ("test", "d2", "e1", "i2", 0.7),
        ("calibration", "d1", "e1", "i1", 0.5),
    ]
    for n, (split, partition, entity, event, share) in enumerate(keys):
        folder = tmp_path / f"split={split}" / f"partition={partition}"
        folder.mkdir(parents=True, exist_ok=True)
        row = {
            "entity": entity,
            "event_id": event,
            "feature_errors": {"a": share, "b": 1 - share},
            "top_feature": "a",
            "top_step": -n,
            "top_value": 5.0,
            "top_expected": None,
        }
        pq.write_table(pa.Table.from_pylist([row]), folder / f"{n}.parquet")
    wanted = [
        {"entity": "e1", "event_id": i, "partition": p} for i, p in (("i1", "d1"), ("i2", "d2"))
    ]
    found = explained(tmp_path, wanted)
    assert (
        found["e1", "i1"]["feature_errors"] == {"a": 0.9, "b": 1 - 0.9}
        and found["e1", "i1"]["top_step"] == 0
    )
    assert found["e1", "i2"]["feature_errors"]["a"] == 0.7 and found["e1", "i2"]["top_value"] == 5.0
    assert explained(tmp_path, []) == {}
