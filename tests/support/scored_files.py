"""Scored files of a few events, written here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from foreshock.scored.events import ScoredEvents
from foreshock.scored.schema import scored_schema

USUAL = {
    "split": 3,
    "partition": "day",
    "group": "all",
    "entity": "entity",
    "label": -1,
    "kind": "",
    "calibrate": 1,
    "block_role": 4,
    "block_id": 0,
    "is_partial": False,
    "n_windows": 1,
}


def scored_files(
    folder: Path, rows: Sequence[dict[str, Any]], detectors: tuple[str, ...], files: int = 1
) -> ScoredEvents:
    """Rows, dealt to files. An event is named after its place unless it has a name."""
    folder.mkdir(parents=True, exist_ok=True)
    schema = scored_schema(detectors)
    whole = []
    for number, row in enumerate(rows):
        named = {"event_id": f"event-{number:05d}", "event_time": number, "event_run": number // 4}
        whole.append(USUAL | {"block_row": number} | named | row)
    paths = [folder / f"part-{number}.parquet" for number in range(files)]
    for number, path in enumerate(paths):
        pq.write_table(pa.Table.from_pylist(whole[number::files], schema=schema), path)
    return ScoredEvents(tuple(str(path) for path in paths), detectors)
