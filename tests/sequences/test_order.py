"""Where sequences begin, and what a file knows of its neighbours."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from foreshock.sequences.halos import FileSummary, place_files, summarize
from foreshock.sequences.order import entity_starts, sequence_starts


def test_an_entity_of_the_test_table_is_another_one() -> None:
    events = pa.table({"table": [0, 0, 1], "entity": ["a", "a", "a"]})
    assert entity_starts(events).tolist() == [True, False, True]


def test_entities_in_chunks_of_a_column_are_told_apart() -> None:
    entity = pa.chunked_array([["a"], ["a", "b"], []], pa.string())
    events = pa.table({"table": pa.array([0, 0, 0]), "entity": entity})
    assert entity_starts(events).tolist() == [True, False, True]


def test_a_gap_equal_to_the_longest_allowed_ends_nothing() -> None:
    starts, times = np.array([True, False, False]), np.array([0, 10, 21])
    assert sequence_starts(starts, times, 10).tolist() == [True, False, True]
    assert sequence_starts(starts, times, None).tolist() == [True, False, False]


def test_no_events_have_no_starts() -> None:
    nothing = np.zeros(0, bool)
    assert len(sequence_starts(nothing, np.zeros(0, np.int64), 5)) == 0
    assert summarize("", "", nothing, np.zeros(0, np.int64)) == FileSummary(0)


def test_a_sequence_over_three_files_and_an_empty_one() -> None:
    whole = FileSummary(4, "a", 0, "a", 3, leading=4, trailing=4, longest=4, numbered=4)
    end = FileSummary(3, "a", 9, "b", 1, leading=2, trailing=1, longest=2, numbered=3)
    places = place_files([whole, FileSummary(0), whole, end], None, lambda index: min(index, 3))
    assert [place.first_index for place in places] == [0, 0, 4, 8]
    assert [place.halo for place in places] == [0, 0, 3, 3]
    assert [place.beyond for place in places] == [6, 0, 2, 0]
    assert [place.previous_time for place in places] == [None, None, 3, 3]
    assert [place.first_position for place in places] == [0, 4, 4, 8]


def test_a_file_after_a_long_gap_begins_a_sequence_but_not_an_entity() -> None:
    first = FileSummary(2, "a", 0, "a", 5, leading=2, trailing=2)
    second = FileSummary(1, "a", 100, "a", 100, leading=1, trailing=1)
    places = place_files([first, second], 10, lambda index: index)
    assert (places[0].beyond, places[1].first_index, places[1].previous_time) == (0, 0, 5)
