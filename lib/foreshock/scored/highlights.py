"""The events that a report shows: the highest of test, and a sample over time. Both are bounded.

Both are passes over scored files (`scored.passes`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pandas.util import hash_array

from foreshock.scored import schema
from foreshock.scored.events import ScoredRows
from foreshock.sequences.split import Split
from foreshock.statistics.arrays import AnyArray

DESCRIBED_BY = (
    schema.SPLIT,
    schema.PARTITION,
    schema.GROUP,
    schema.ENTITY,
    schema.EVENT_ID,
    schema.EVENT_TIME,
    schema.LABEL,
    schema.KIND,
    schema.BLOCK_ID,
    schema.BLOCK_ROW,
    schema.CHUNK_FILE,
)
DRAWN_BY = (
    schema.SPLIT,
    schema.PARTITION,
    schema.GROUP,
    schema.ENTITY,
    schema.EVENT_ID,
    schema.EVENT_TIME,
    schema.LABEL,
)
HASHES = float(2**64)


@dataclass(frozen=True)
class HighestEvents:
    """A pass: the highest event of each of the `most` entities of test with the highest scores.

    Only the `among` highest events are looked at. Of equal scores the earlier event comes first.
    """

    detector: str
    most: int
    among: int = 2000
    columns: tuple[str, ...] = DESCRIBED_BY

    @property
    def detectors(self) -> tuple[str, ...]:
        """The detector alone."""
        return (self.detector,)

    def of_file(self, rows: ScoredRows) -> pa.Table:
        """The file's highest events of test, highest first: `among` at most.

        rows: with the columns DESCRIBED_BY and the detector's scores.
        """
        judged_rows = rows.judged(self.detector).table
        of_test = judged_rows.filter(pc.equal(judged_rows[schema.SPLIT], int(Split.TEST)))
        column_names = [*DESCRIBED_BY, schema.score_column(self.detector)]
        return self._highest(of_test.select(column_names))

    def empty(self) -> pa.Table | None:
        """No event."""
        return None

    def add(self, total: pa.Table | None, part: pa.Table) -> pa.Table | None:
        """The highest events of the files so far, highest first.

        total None: there was no file before.
        """
        return part if total is None else self._highest(pa.concat_tables([total, part]))

    def _highest(self, events: pa.Table) -> pa.Table:
        sort_keys = [(schema.score_column(self.detector), "descending")]
        # Ties end by what an event is, so that the order of files and rows changes nothing.
        sort_keys += [(schema.EVENT_TIME, "ascending"), (schema.EVENT_ID, "ascending")]
        sort_keys += [(schema.ENTITY, "ascending")]
        return events.take(pc.sort_indices(events, sort_keys=sort_keys)[: self.among])

    def first_of_each_entity(self, highest: pa.Table | None) -> pa.Table | None:
        """Of the highest events those of `most` entities, one each, highest first.

        highest: the total of this pass. None stays None: no event of test was judged.
        """
        if highest is None:
            return None
        # The first row of an entity is its highest event, for rows come highest first.
        _, first_rows = np.unique(highest[schema.ENTITY].to_numpy(), return_index=True)
        return highest.take(np.sort(first_rows)[: self.most])


@dataclass(frozen=True)
class EventSample:
    """A pass: judged events drawn by a hash of what they are, so that any files give the same.

    share: of the events that are drawn, so many on average.
    """

    detector: str
    share: float
    columns: tuple[str, ...] = DRAWN_BY

    @property
    def detectors(self) -> tuple[str, ...]:
        """The detector alone."""
        return (self.detector,)

    def of_file(self, rows: ScoredRows) -> pa.Table:
        """The drawn events of the file, from calibration and test.

        rows: with the columns DRAWN_BY and the detector's scores.
        """
        judged_rows = rows.judged(self.detector).table
        is_judged = pc.greater_equal(judged_rows[schema.SPLIT], int(Split.CALIBRATION))
        column_names = [*DRAWN_BY, schema.score_column(self.detector)]
        judged_events = judged_rows.filter(is_judged).select(column_names)
        if self.share >= 1:
            return judged_events
        return judged_events.filter(pa.array(event_hashes(judged_events) < self.share * HASHES))

    def empty(self) -> list[pa.Table]:
        """No event."""
        return []

    def add(self, total: list[pa.Table], part: pa.Table) -> list[pa.Table]:
        """The events with those of one more file."""
        total.append(part)
        return total


def event_hashes(events: pa.Table) -> AnyArray:
    """A number (n,) uint64 of each event, as if drawn at random, always the same for an event.

    events: with entity, id and time, which tell one event from another.
    """
    # `categorize` finds equal texts first, which costs time if nearly all of them differ.
    text_hashes = [
        hash_array(
            events[column_name].to_numpy(zero_copy_only=False).astype(object), categorize=False
        )
        for column_name in (schema.ENTITY, schema.EVENT_ID)
    ]
    time_hashes = hash_array(events[schema.EVENT_TIME].to_numpy())
    # One more round of hashing, for sums of hashes are not spread evenly bit by bit.
    mixed_hashes = text_hashes[0] * np.uint64(3) + text_hashes[1] * np.uint64(5) + time_hashes
    event_hash_values: AnyArray = hash_array(mixed_hashes)
    return event_hash_values


def every_kth(events: pa.Table, most: int) -> pa.Table:
    """Every k-th event by time and id: all if there are fewer than 2 · most, else so many or a few
    more.

    >>> events = pa.table({"event_time": [3, 1, 2, 4], "event_id": ["c", "a", "b", "d"]})
    >>> every_kth(events, 2)["event_time"].to_pylist()
    [1, 3]
    """
    # Every k-th in order of time, not the first ones: the sample reaches over the whole time.
    sample_step = max(1, len(events) // most)
    sort_keys = [(schema.EVENT_TIME, "ascending"), (schema.EVENT_ID, "ascending")]
    return events.take(pc.sort_indices(events, sort_keys=sort_keys)[::sample_step])
