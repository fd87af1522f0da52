"""Rows of `metrics` that need the order of events: volumes under the surface, and anomalies as ranges of time."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from foreshock import columns as C
from foreshock.evaluation.assembly import MetricKey
from foreshock.evaluation.labelled import ThresholdOf
from foreshock.evaluation.ranges import event_wise, vus
from foreshock.scored import schema
from foreshock.sequences.split import Split
from foreshock.statistics.arrays import BoolArray, Float64Array, Int64Array

MOST_GROUPS = 200  # of which VUS is computed: those with most events
CODED = (schema.ENTITY, schema.GROUP, schema.PARTITION, schema.KIND)


class NamedCode(NamedTuple):
    """A text, and its place among the texts of a column."""

    name: str
    code: int


class RangeMetrics(NamedTuple):
    """Metrics of a group's events, or of one kind of anomaly; n_events: how many they are of."""

    group: str
    kind: str | None
    values: dict[str, float | None]
    n_events: int


@dataclass(frozen=True)
class OrderedEvents:
    """Labelled events of a split in the order of (entity, time).

    label, times (microseconds), sequence: each (n,). codes: of the entity, group, partition and
    kind, each (n,): the place of its text in `names`.
    """

    label: Int64Array
    times: Int64Array
    codes: dict[str, Int64Array]
    names: dict[str, list[str]]

    @property
    def sequence(self) -> Int64Array:
        """The entity (n,) of each event, as a number."""
        return self.codes[schema.ENTITY]

    def take(self, positions: Int64Array | BoolArray) -> OrderedEvents:
        """Some of the events, in their order."""
        codes = {name: code[positions] for name, code in self.codes.items()}
        return replace(self, label=self.label[positions], times=self.times[positions], codes=codes)

    def named(self, column: str, is_admitted: BoolArray) -> list[NamedCode]:
        """The texts of a column that occur among some of the events."""
        codes = np.unique(self.codes[column][is_admitted]).tolist()
        return sorted(NamedCode(self.names[column][code], code) for code in codes)

    def groups(self) -> Iterator[tuple[str, Int64Array]]:
        """All events, then those of each of the largest groups."""
        yield C.ALL, np.arange(len(self.label))
        of_group = self.codes[schema.GROUP]
        sizes = np.bincount(of_group)
        groups = self.named(schema.GROUP, self.label >= 0)
        largest = sorted(groups, key=lambda group: -sizes[group.code])[:MOST_GROUPS]
        for group in largest:
            if group.name != C.ALL:
                yield group.name, np.flatnonzero(of_group == group.code)

    def limits(self, threshold: Callable[[str, str], float | None]) -> Float64Array:
        """The threshold (n,) of each event by its group and partition, NaN where there is none."""
        groups, partitions = self.names[schema.GROUP], self.names[schema.PARTITION]
        pair_codes = self.codes[schema.GROUP] * len(partitions) + self.codes[schema.PARTITION]
        pairs, place = np.unique(pair_codes, return_inverse=True)
        limits = np.full(len(pairs), np.nan)
        for number, pair in enumerate(pairs.tolist()):
            group, partition = divmod(pair, len(partitions))
            limit = threshold(groups[group], partitions[partition])
            if limit is not None:
                limits[number] = limit
        return limits[place]


def range_rows(
    tables: list[pa.Table],
    detectors: tuple[str, ...],
    threshold_of: ThresholdOf,
    length: int,
    *,
    run_id: str,
    seed: int,
) -> list[dict[str, Any]]:
    """Of all groups together and of each (the 200 with most events): VUS, whose buffer is a
    window's length, and event-wise metrics. Of all groups event-wise recall and delay by kind too.

    tables: what `labelled.LabelledEvents` gave. What is undefined is null.
    """
    if not tables:
        return []
    table = pa.concat_tables(tables)
    splits, events, order = _ordered(table)
    rows = []
    for split in np.unique(splits).tolist():
        positions = order[splits[order] == split]
        for detector in detectors:
            scores = schema.scores_of(table, detector)[positions]
            is_judged = ~np.isnan(scores)
            judged, score = events.take(positions[is_judged]), scores[is_judged]
            if not len(score):
                continue
            limits = judged.limits(functools.partial(threshold_of, detector))
            for metrics in _range_metrics(judged, score, limits, length):
                split_name = Split(split).text
                key = MetricKey(run_id, detector, split_name, metrics.group, metrics.kind, seed)
                rows += key.rows(metrics.values, metrics.n_events)
    return rows


def _ordered(table: pa.Table) -> tuple[Int64Array, OrderedEvents, Int64Array]:
    """(split of each event, the events as they came, their positions in total order)."""
    codes, names = {}, {}
    for column in CODED:
        encoded = pc.fill_null(table[column].combine_chunks(), "").dictionary_encode()
        codes[column] = encoded.indices.to_numpy().astype(np.int64)
        names[column] = encoded.dictionary.to_pylist()
    label, times = table[schema.LABEL].to_numpy(), table[schema.EVENT_TIME].to_numpy()
    within = [table[name].to_numpy() for name in (schema.BLOCK_ROW, schema.BLOCK_ID)]
    order = np.lexsort([*within, times, codes[schema.ENTITY]])
    return table[schema.SPLIT].to_numpy(), OrderedEvents(label, times, codes, names), order


def _range_metrics(
    events: OrderedEvents, score: Float64Array, limits: Float64Array, length: int
) -> Iterator[RangeMetrics]:
    for group, positions in events.groups():
        of_group = events.take(positions)
        roc, pr = vus(of_group.label, score[positions], of_group.sequence, length)
        values = {"vus_roc": roc, "vus_pr": pr}
        values |= _event_wise(of_group, of_group.label == 1, score[positions], limits[positions])
        yield RangeMetrics(group, None, values, len(positions))
    is_anomalous = events.label == 1
    for kind in events.named(schema.KIND, is_anomalous):
        if kind.name:
            is_of_kind = is_anomalous & (events.codes[schema.KIND] == kind.code)
            values = _event_wise(events, is_of_kind, score, limits)
            # A flagged run that holds another kind's anomaly is not wrong: there is no precision.
            del values["event_precision"]
            n_events = int((is_of_kind | ~is_anomalous).sum())
            yield RangeMetrics(C.ALL, kind.name, values, n_events)


def _event_wise(
    events: OrderedEvents, is_anomalous: BoolArray, score: Float64Array, limits: Float64Array
) -> dict[str, float | None]:
    if np.isnan(limits).any():
        return dict.fromkeys(("event_precision", "event_recall", "detection_delay"))
    return event_wise(is_anomalous, score > limits, events.sequence, events.times)
