"""Rows of `metrics` that need the order of events.

They are volumes under the surface, and anomalies as ranges of time.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from foreshock import columns as C
from foreshock.evaluation.assembly import MetricKey, MetricRow
from foreshock.evaluation.labelled import ThresholdOf
from foreshock.evaluation.ranges import event_wise, vus
from foreshock.scored import schema
from foreshock.sequences.split import Split
from foreshock.statistics.arrays import BoolArray, Float64Array, Int64Array

# VUS takes long: of more groups it is computed for those with most events.
MOST_GROUPS = 200
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
        """The entity (n,) of each event, as a number.

        It is the place of the entity's text in `names`.
        """
        return self.codes[schema.ENTITY]

    def take(self, positions: Int64Array | BoolArray) -> OrderedEvents:
        """Some of the events, in their order.

        positions: (m,) places of events, or a mask (n,).
        """
        column_codes = {
            column_name: text_code[positions] for column_name, text_code in self.codes.items()
        }
        return replace(
            self, label=self.label[positions], times=self.times[positions], codes=column_codes
        )

    def named(self, column: str, is_admitted: BoolArray) -> list[NamedCode]:
        """The texts of a column that occur among some of the events, sorted.

        is_admitted: (n,), which events.
        """
        column_codes = np.unique(self.codes[column][is_admitted]).tolist()
        return sorted(
            NamedCode(self.names[column][text_code], text_code) for text_code in column_codes
        )

    def groups(self) -> Iterator[tuple[str, Int64Array]]:
        """(name, positions) of all events, then of each of the largest groups, the largest first.

        A group that is called `all` is left out: the name stands for all events.
        """
        yield C.ALL, np.arange(len(self.label))
        group_codes = self.codes[schema.GROUP]
        group_sizes = np.bincount(group_codes)
        group_names = self.named(schema.GROUP, self.label >= 0)
        largest = sorted(group_names, key=lambda group: -group_sizes[group.code])[:MOST_GROUPS]
        for group in largest:
            if group.name != C.ALL:
                yield group.name, np.flatnonzero(group_codes == group.code)

    def limits(self, threshold: Callable[[str, str], float | None]) -> Float64Array:
        """The threshold (n,) of each event by its group and partition, NaN where there is none.

        threshold: from group and partition; None: there is none.
        """
        group_names, partition_names = self.names[schema.GROUP], self.names[schema.PARTITION]
        pair_codes = self.codes[schema.GROUP] * len(partition_names) + self.codes[schema.PARTITION]
        # Asked once for each pair, not for each of millions of events.
        distinct_pairs, pair_place = np.unique(pair_codes, return_inverse=True)
        limits = np.full(len(distinct_pairs), np.nan)
        for pair_number, pair_code in enumerate(distinct_pairs.tolist()):
            group_code, partition_code = divmod(pair_code, len(partition_names))
            pair_limit = threshold(group_names[group_code], partition_names[partition_code])
            if pair_limit is not None:
                limits[pair_number] = pair_limit
        return limits[pair_place]


def range_rows(
    tables: list[pa.Table],
    detectors: tuple[str, ...],
    threshold_of: ThresholdOf,
    length: int,
    *,
    run_id: str,
    seed: int,
) -> list[MetricRow]:
    """Rows of metrics of event ranges, for all groups together and for each group.

    VUS has a window's length as its buffer; event-wise metrics come beside it. Of more than 200
    groups those with most events are taken. Of all groups together there are event-wise recall and
    delay by kind of anomaly too. tables: what `labelled.LabelledEvents` gave. What is undefined is
    null.
    """
    if not tables:
        return []
    labelled_table = pa.concat_tables(tables)
    event_splits, labelled_events, total_order = _ordered(labelled_table)
    range_metric_rows = []
    for split_code in np.unique(event_splits).tolist():
        split_positions = total_order[event_splits[total_order] == split_code]
        for detector_name in detectors:
            split_scores = schema.scores_of(labelled_table, detector_name)[split_positions]
            is_judged = ~np.isnan(split_scores)
            judged_events = labelled_events.take(split_positions[is_judged])
            judged_scores = split_scores[is_judged]
            if not len(judged_scores):
                continue
            limits = judged_events.limits(functools.partial(threshold_of, detector_name))
            for metrics in _range_metrics(judged_events, judged_scores, limits, length):
                split_name = Split(split_code).text
                metric_key = MetricKey(
                    run_id, detector_name, split_name, metrics.group, metrics.kind, seed
                )
                range_metric_rows += metric_key.rows(metrics.values, metrics.n_events)
    return range_metric_rows


def _ordered(table: pa.Table) -> tuple[Int64Array, OrderedEvents, Int64Array]:
    """(split of each event, the events as they came, their positions in total order)."""
    column_codes, column_texts = {}, {}
    for coded_column in CODED:
        # Nulls have no code: "" stands for an event without a kind.
        encoded_column = pc.fill_null(table[coded_column].combine_chunks(), "").dictionary_encode()
        column_codes[coded_column] = encoded_column.indices.to_numpy().astype(np.int64)
        column_texts[coded_column] = encoded_column.dictionary.to_pylist()
    event_labels, event_times = table[schema.LABEL].to_numpy(), table[schema.EVENT_TIME].to_numpy()
    within_time = [
        table[column_name].to_numpy() for column_name in (schema.BLOCK_ROW, schema.BLOCK_ID)
    ]
    # lexsort goes by its last key first: entity, time, then the place in the dataset for ties.
    total_order = np.lexsort([*within_time, event_times, column_codes[schema.ENTITY]])
    return (
        table[schema.SPLIT].to_numpy(),
        OrderedEvents(event_labels, event_times, column_codes, column_texts),
        total_order,
    )


def _range_metrics(
    events: OrderedEvents, score: Float64Array, limits: Float64Array, length: int
) -> Iterator[RangeMetrics]:
    for group_name, group_positions in events.groups():
        group_events, group_scores = events.take(group_positions), score[group_positions]
        vus_roc, vus_pr = vus(group_events.label, group_scores, group_events.sequence, length)
        metric_values = {"vus_roc": vus_roc, "vus_pr": vus_pr}
        metric_values |= _event_wise(
            group_events, group_events.label == 1, group_scores, limits[group_positions]
        )
        yield RangeMetrics(group_name, None, metric_values, len(group_positions))
    is_anomalous = events.label == 1
    for anomaly_kind in events.named(schema.KIND, is_anomalous):
        if anomaly_kind.name:
            is_of_kind = is_anomalous & (events.codes[schema.KIND] == anomaly_kind.code)
            metric_values = _event_wise(events, is_of_kind, score, limits)
            # A flagged run that holds another kind's anomaly is not wrong: there is no precision.
            del metric_values["event_precision"]
            n_events = int((is_of_kind | ~is_anomalous).sum())
            yield RangeMetrics(C.ALL, anomaly_kind.name, metric_values, n_events)


def _event_wise(
    events: OrderedEvents, is_anomalous: BoolArray, score: Float64Array, limits: Float64Array
) -> dict[str, float | None]:
    # Events without a threshold are neither flagged nor passed, so no range is judged whole.
    if np.isnan(limits).any():
        return dict.fromkeys(("event_precision", "event_recall", "detection_delay"))
    return event_wise(is_anomalous, score > limits, events.sequence, events.times)
