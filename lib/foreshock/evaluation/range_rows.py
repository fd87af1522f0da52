"""Rows of `metrics` that need the order of events: volumes under the surface, and anomalies as ranges of time."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

from foreshock import columns as C
from foreshock.evaluation.ranges import event_wise, vus
from foreshock.platform.parquet import dataset
from foreshock.sequences.split import Split

MOST_GROUPS = 200  # of which VUS is computed: those with most events
COLUMNS = ["split", "entity", "event_time", "block_id", "at", "group", "partition", "kind", "label"]
Threshold = Callable[[str, str, str], float | None]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class _Events:
    """Labelled events of a split in the order of (sequence, time), each (n,): group, partition and kind by their place in `names`."""

    label: Ints
    times: Ints
    sequence: Ints
    codes: dict[str, Ints]
    names: dict[str, list[str]]

    def named(self, column: str, among: npt.NDArray[np.bool_]) -> list[tuple[str, int]]:
        """The names that occur among some events, with their places in `names`."""
        return sorted(
            (self.names[column][c], c) for c in np.unique(self.codes[column][among]).tolist()
        )

    def groups(self) -> Iterator[tuple[str, Ints]]:
        """All events, then each group's."""
        yield C.ALL, np.arange(len(self.label))
        size = np.bincount(self.codes["group"])
        largest = sorted(self.named("group", self.label >= 0), key=lambda pair: -size[pair[1]])[
            :MOST_GROUPS
        ]
        for name, code in largest:
            if name != C.ALL:
                yield name, np.flatnonzero(self.codes["group"] == code)

    def limits(self, threshold: Callable[[str, str], float | None]) -> npt.NDArray[np.float64]:
        """The threshold of each event, NaN where there is none."""
        groups, partitions = self.names["group"], self.names["partition"]
        pairs, home = np.unique(
            self.codes["group"] * len(partitions) + self.codes["partition"], return_inverse=True
        )
        found = [
            threshold(groups[p // len(partitions)], partitions[p % len(partitions)])
            for p in pairs.tolist()
        ]
        return np.array([np.nan if v is None else v for v in found])[home]


def range_rows(
    files: list[str],
    detectors: tuple[str, ...],
    threshold: Threshold,
    length: int,
    base: dict[str, Any],
) -> list[dict[str, Any]]:
    """Of all groups together and of each (the 200 with most events): VUS, whose buffer is a window's length, and event-wise metrics; of all
    groups event-wise recall and delay by kind too. What is undefined is null."""
    scores = [f"s{i}" for i in range(len(detectors))]
    table = dataset(files).to_table(
        columns=[*COLUMNS, *scores], filter=(pc.field("label") >= 0) & (pc.field("split") >= 2)
    )
    if not len(table):
        return []
    coded = {
        c: pc.fill_null(table[c].combine_chunks(), "").dictionary_encode()
        for c in ("entity", "group", "partition", "kind")
    }
    codes = {c: array.indices.to_numpy().astype(np.int64) for c, array in coded.items()}
    names = {c: array.dictionary.to_pylist() for c, array in coded.items()}
    splits = table["split"].to_numpy()
    order = np.lexsort(
        [*(table[c].to_numpy() for c in ("at", "block_id", "event_time")), codes["entity"]]
    )
    rows = []
    for split in np.unique(splits).tolist():
        at = order[splits[order] == split]
        events = _Events(
            table["label"].to_numpy()[at],
            table["event_time"].to_numpy()[at],
            codes["entity"][at],
            {c: code[at] for c, code in codes.items()},
            names,
        )
        for i, detector in enumerate(detectors):
            score = table[scores[i]].to_numpy()[at]
            limits = events.limits(functools.partial(threshold, detector))
            for group, kind, found, n in _found(events, score, limits, length):
                where = {
                    **base,
                    "detector": detector,
                    "split": Split(split).text,
                    "group": group,
                    "kind": kind,
                    "n": n,
                }
                rows += [
                    {**where, "metric": name, "value": value, "ci_low": None, "ci_high": None}
                    for name, value in found.items()
                ]
    return rows


def _found(
    events: _Events, score: npt.NDArray[np.float64], limits: npt.NDArray[np.float64], length: int
) -> Iterator[tuple[str, str | None, dict[str, float | None], int]]:
    """(group, kind, metrics, events)."""
    for group, at in events.groups():
        roc, pr = vus(events.label[at], score[at], events.sequence[at], length)
        yield (
            group,
            None,
            {"vus_roc": roc, "vus_pr": pr}
            | _event_wise(events, at, events.label[at], score, limits),
            len(at),
        )
    every, anomalous = np.arange(len(score)), events.label == 1
    for kind, code in events.named("kind", anomalous):
        own = anomalous & (events.codes["kind"] == code)
        if kind:
            found = _event_wise(events, every, own, score, limits)
            # A flagged run that holds another kind's anomaly is not wrong, so there is no precision.
            yield (
                C.ALL,
                kind,
                {k: v for k, v in found.items() if k != "event_precision"},
                int((own | ~anomalous).sum()),
            )


def _event_wise(
    events: _Events,
    at: Ints,
    label: npt.NDArray[Any],
    score: npt.NDArray[np.float64],
    limits: npt.NDArray[np.float64],
) -> dict[str, float | None]:
    if np.isnan(limits[at]).any():
        return dict.fromkeys(("event_precision", "event_recall", "detection_delay"))
    return event_wise(label, score[at] > limits[at], events.sequence[at], events.times[at])
