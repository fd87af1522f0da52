"""Metrics of anomalies as ranges of time: volume under the surface; events found, hit or late.

Whatever is undefined is null, never 0.

VUS: Paparrizos, Boniol, Palpanas, Tsay, Elmore and Franklin, "Volume Under the Surface: A New
Accuracy Evaluation Measure for Time-Series Anomaly Detection", PVLDB 15 (2022), in the form that
the authors' package computes (vus 0.0.6, version `opt`; other versions give other values): 250
thresholds at evenly spaced ranks, and a buffer of half a window on each side of an anomaly, whose
labels fall as sqrt(1 - distance / window), averaged over windows 0 to `buffer`.

Point-adjusted F1 is not offered. It counts a whole anomaly as found by one of its events, so that
random scores reach high values (Kim et al., "Towards a Rigorous Evaluation of Time-Series Anomaly
Detection", AAAI 36 (2022)).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from foreshock.statistics.arrays import BoolArray, Float64Array, Int64Array

THRESHOLDS = 250


def runs(flags: BoolArray, sequence: Int64Array) -> tuple[Int64Array, Int64Array]:
    """First and last positions of the maximal runs of true flags (n,) within sequences (n,).

    The events of a sequence must follow each other; a run never crosses two.

    >>> runs(np.array([True, True, False, True, True]), np.array([0, 0, 0, 0, 1]))
    (array([0, 3, 4]), array([1, 3, 4]))
    """
    if not len(flags):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    begins_sequence = np.concatenate([[True], sequence[1:] != sequence[:-1]])
    ends_sequence = np.concatenate([begins_sequence[1:], [True]])
    follows_flag = np.concatenate([[False], flags[:-1]])
    precedes_flag = np.concatenate([flags[1:], [False]])
    starts = flags & (begins_sequence | ~follows_flag)
    ends = flags & (ends_sequence | ~precedes_flag)
    return np.flatnonzero(starts), np.flatnonzero(ends)


@dataclass(frozen=True)
class _Anomalies:
    """Runs of labelled events: first and last positions, and the ends of each run's sequence."""

    first: Int64Array
    last: Int64Array
    sequence_number: Int64Array
    sequence_first: Int64Array
    sequence_last: Int64Array

    @classmethod
    def of(cls, flags: BoolArray, sequence: Int64Array) -> _Anomalies:
        """The runs of true flags (n,) within sequences (n,); one run at least."""
        first, last = runs(flags, sequence)
        breaks = np.flatnonzero(np.concatenate([[True], sequence[1:] != sequence[:-1]]))
        number = np.searchsorted(breaks, first, side="right") - 1
        ends = np.append(breaks[1:], len(flags))
        return cls(first, last, number, breaks[number], ends[number] - 1)

    def widened(self, half: int) -> tuple[Int64Array, Int64Array]:
        """The runs with `half` events more on each side, joined if they touch.

        Returns first and last positions. A run stays within its sequence.
        """
        starts = np.maximum(self.first - half, self.sequence_first)
        ends = np.minimum(self.last + half, self.sequence_last)
        other_sequence = self.sequence_number[1:] != self.sequence_number[:-1]
        is_apart = self.last[:-1] + half < self.first[1:] - half
        is_new = np.concatenate([[True], other_sequence | is_apart])
        last_of_joined = np.append(np.flatnonzero(is_new)[1:] - 1, len(ends) - 1)
        return starts[is_new], ends[last_of_joined]


def vus(
    label: npt.ArrayLike, score: npt.ArrayLike, sequence: npt.ArrayLike, buffer: int
) -> tuple[float | None, float | None]:
    """(VUS-ROC, VUS-PR) of events in the order of (sequence, time); null if one class is missing.

    Thresholds are over all events. Buffers stop at a sequence's ends, so one sequence gives the
    package's value.
    """
    flags, scores = np.asarray(label) == 1, np.asarray(score, np.float64)
    n, positive = len(scores), int(flags.sum())
    if not 0 < positive < n:
        return None, None
    anomalies = _Anomalies.of(flags, np.asarray(sequence))
    ascending = np.sort(scores)
    limits = ascending[::-1][np.linspace(0, n - 1, THRESHOLDS).astype(int)]
    predicted = n - np.searchsorted(ascending, limits)
    hits = positive - np.searchsorted(np.sort(scores[flags]), limits)
    roc_sum = pr_sum = 0.0
    for window in range(buffer + 1):
        near, weight = _buffer(flags, anomalies, window)
        order = np.argsort(scores[near], kind="stable")
        weight_from_top = np.append(np.cumsum(weight[order][::-1])[::-1], 0.0)
        soft_hits = weight_from_top[np.searchsorted(scores[near][order], limits)]
        share_found = _share_found(scores, anomalies, window // 2, limits)
        size = positive + soft_hits / 2
        recall = np.minimum((hits + soft_hits) / size, 1) * share_found
        true_rate = np.concatenate([[0.0], recall, [1.0]])
        false_rate = np.concatenate([[0.0], (predicted - hits - soft_hits) / (n - size), [1.0]])
        roc_sum += float((np.diff(false_rate) * (true_rate[1:] + true_rate[:-1]) / 2).sum())
        pr_sum += float((np.diff(true_rate)[:-1] * (hits + soft_hits) / predicted).sum())
    return roc_sum / (buffer + 1), pr_sum / (buffer + 1)


def _share_found(
    scores: Float64Array, anomalies: _Anomalies, half: int, limits: Float64Array
) -> Float64Array:
    """The share of widened anomalies that reach each limit."""
    starts, ends = anomalies.widened(half)
    # reduceat takes no index past the last element, and ends + 1 may be one.
    padded = np.append(scores, -np.inf)
    highest = np.maximum.reduceat(padded, np.column_stack([starts, ends + 1]).ravel())[::2]
    return np.asarray((len(starts) - np.searchsorted(np.sort(highest), limits)) / len(starts))


def _buffer(
    flags: BoolArray, anomalies: _Anomalies, window: int
) -> tuple[Int64Array, Float64Array]:
    """Unlabelled events within half a window of an anomaly, and their labels, at most 1 in sum."""
    # Labels fall from just below 1 next to the anomaly to sqrt(1/2) at the buffer's end.
    step = np.arange(1, window // 2 + 1)
    fall = np.sqrt(1 - step / max(window, 1))
    after, before = anomalies.last[:, None] + step, anomalies.first[:, None] - step
    within_after = after <= anomalies.sequence_last[:, None]
    within_before = before >= anomalies.sequence_first[:, None]
    positions = np.concatenate([after[within_after], before[within_before]])
    weight = np.concatenate(
        [
            np.broadcast_to(fall, after.shape)[within_after],
            np.broadcast_to(fall, before.shape)[within_before],
        ]
    )
    # An event between two anomalies lies in both of their buffers.
    near, place = np.unique(positions, return_inverse=True)
    total = np.minimum(np.bincount(place, weights=weight, minlength=len(near)), 1.0)
    return near[~flags[near]], total[~flags[near]]


def event_wise(
    label: npt.ArrayLike, flagged: npt.ArrayLike, sequence: npt.ArrayLike, times: npt.ArrayLike
) -> dict[str, float | None]:
    """Recall, precision and delay of anomalies as runs of events; times: microseconds.

    event_recall: the share of anomalies (maximal runs of label 1) with a flagged event.
    event_precision: the share of runs of flagged events that hold an anomalous one.
    detection_delay: the median time in seconds from the start of an anomaly that was found to its
    first flagged event. As in Hundman et al., "Detecting Spacecraft Anomalies Using LSTMs and
    Nonparametric Dynamic Thresholding", KDD (2018), with precision counted in runs.

    >>> event_wise([0, 1, 1, 0], [0, 0, 1, 0], [0, 0, 0, 0], [0, 10**6, 3 * 10**6, 4 * 10**6])
    {'event_precision': 1.0, 'event_recall': 1.0, 'detection_delay': 2.0}
    """
    is_anomalous = np.asarray(label) == 1
    is_flagged = np.asarray(flagged, np.bool_)
    of_sequence = np.asarray(sequence)
    first, last = runs(is_anomalous, of_sequence)
    flagged_first, flagged_last = runs(is_flagged, of_sequence)
    flags_before = np.concatenate([[0], np.cumsum(is_flagged)])
    # Differences of cumulative counts tell how many flags lie within each run.
    is_found = flags_before[last + 1] > flags_before[first]
    anomalous_before = np.concatenate([[0], np.cumsum(is_anomalous)])
    is_right = anomalous_before[flagged_last + 1] > anomalous_before[flagged_first]
    delay = None
    if is_found.any():
        flagged_positions = np.flatnonzero(is_flagged)
        starts = first[is_found]
        earliest = flagged_positions[np.searchsorted(flagged_positions, starts)]
        microseconds = np.asarray(times, np.int64)
        delay = float(np.median((microseconds[earliest] - microseconds[starts]) / 1e6))
    return {
        "event_precision": float(is_right.mean()) if len(is_right) else None,
        "event_recall": float(is_found.mean()) if len(is_found) else None,
        "detection_delay": delay,
    }
