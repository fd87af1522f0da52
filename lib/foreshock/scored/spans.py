"""The time that the events of each block role reach over."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from foreshock.scored import schema
from foreshock.scored.events import ScoredRows

# First and last event time, microseconds, by `BlockRole`.
Spans = dict[int, tuple[int, int]]


@dataclass(frozen=True)
class EventSpans:
    """A pass: the first and last event time, microseconds, of scored events by `BlockRole`."""

    detectors: tuple[str, ...] = ()
    columns: tuple[str, ...] = (schema.BLOCK_ROLE, schema.SPLIT, schema.EVENT_TIME)

    def of_file(self, rows: ScoredRows) -> pa.Table:
        """A row for each role that an event of the file has.

        Roles are those of `schema.event_roles`, so that validation is apart from train.
        """
        event_roles, event_times = schema.event_roles(rows.table), rows.column(schema.EVENT_TIME)
        role_spans = []
        for block_role in np.unique(event_roles).tolist():
            of_role = event_times[event_roles == block_role]
            role_spans.append(
                {"role": block_role, "first": int(of_role.min()), "last": int(of_role.max())}
            )
        return pa.Table.from_pylist(role_spans)

    def empty(self) -> Spans:
        """No role has a span."""
        return {}

    def add(self, total: Spans, part: pa.Table) -> Spans:
        """Spans that reach over those of one more file.

        The order of files does not matter.
        """
        for span_row in part.to_pylist():
            first_time, last_time = total.get(
                span_row["role"], (span_row["first"], span_row["last"])
            )
            total[span_row["role"]] = (
                min(first_time, span_row["first"]),
                max(last_time, span_row["last"]),
            )
        return total
