"""The time that the events of each block role reach over."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from foreshock.scored import schema
from foreshock.scored.events import ScoredRows

Spans = dict[int, tuple[int, int]]  # first and last event time, microseconds, by `BlockRole`


@dataclass(frozen=True)
class EventSpans:
    """A pass: the first and last event time, microseconds, of scored events by `BlockRole`."""

    detectors: tuple[str, ...] = ()
    columns: tuple[str, ...] = (schema.BLOCK_ROLE, schema.SPLIT, schema.EVENT_TIME)

    def of_file(self, rows: ScoredRows) -> pa.Table:
        """A row for each role."""
        roles, times = schema.event_roles(rows.table), rows.column(schema.EVENT_TIME)
        spans = []
        for role in np.unique(roles).tolist():
            of_role = times[roles == role]
            spans.append({"role": role, "first": int(of_role.min()), "last": int(of_role.max())})
        return pa.Table.from_pylist(spans)

    def empty(self) -> Spans:
        """No role has a span."""
        return {}

    def add(self, total: Spans, part: pa.Table) -> Spans:
        """Spans that reach over those of one more file."""
        for row in part.to_pylist():
            first, last = total.get(row["role"], (row["first"], row["last"]))
            total[row["role"]] = (min(first, row["first"]), max(last, row["last"]))
        return total
