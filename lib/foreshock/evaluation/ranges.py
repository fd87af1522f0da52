"""Metrics of anomalies as ranges of time: volume under the surface, and events found, hit or late. Undefined is null, never 0.

VUS: Paparrizos, Boniol, Palpanas, Tsay, Elmore and Franklin, "Volume Under the Surface: A New Accuracy Evaluation Measure for Time-Series
Anomaly Detection", PVLDB 15 (2022), in the form that the authors' package computes (vus 0.0.6, version `opt`; other versions give other
values): 250 thresholds at evenly spaced ranks, a buffer of half a window on each side of an anomaly whose labels fall as
sqrt(1 - distance / window), averaged over windows 0 to `buffer`.
Point-adjusted F1 is not offered: it counts a whole anomaly as found by one of its events, so that random scores reach high values (Kim et
al., "Towards a Rigorous Evaluation of Time-Series Anomaly Detection", AAAI 36 (2022)).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

THRESHOLDS = 250
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


def runs(flags: Bools, sequence: Ints) -> tuple[Ints, Ints]:
    """First and last positions of the maximal runs of true flags (n,) within sequences (n,), whose events follow each other."""
    if not len(flags):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    breaks = np.concatenate([[True], sequence[1:] != sequence[:-1]])
    starts = flags & (breaks | ~np.concatenate([[False], flags[:-1]]))
    ends = flags & (np.concatenate([breaks[1:], [True]]) | ~np.concatenate([flags[1:], [False]]))
    return np.flatnonzero(starts), np.flatnonzero(ends)


def vus(
    label: npt.ArrayLike, score: npt.ArrayLike, sequence: npt.ArrayLike, buffer: int
) -> tuple[float | None, float | None]:
    """(VUS-ROC, VUS-PR) of events in the order of (sequence, time); null where one class is missing.

    Thresholds are over all events; buffers stop at a sequence's ends, so one sequence gives the package's own value.
    """
    flags, s = np.asarray(label) == 1, np.asarray(score, np.float64)
    of = np.asarray(sequence)
    n, positive = len(s), int(flags.sum())
    if not 0 < positive < n:
        return None, None
    first, last = runs(flags, of)
    breaks = np.flatnonzero(np.concatenate([[True], of[1:] != of[:-1]]))
    home = np.searchsorted(breaks, first, side="right") - 1
    low, high = breaks[home], np.append(breaks[1:], n)[home] - 1  # the ends of each run's sequence
    ascending = np.sort(s)
    limits = ascending[::-1][np.linspace(0, n - 1, THRESHOLDS).astype(int)]
    predicted = n - np.searchsorted(ascending, limits)
    hits = positive - np.searchsorted(np.sort(s[flags]), limits)
    padded = np.append(s, -np.inf)
    roc = pr = 0.0
    for window in range(buffer + 1):
        half = window // 2
        near, weight = _buffer(flags, first, last, low, high, window)
        order = np.argsort(s[near], kind="stable")
        from_top = np.append(np.cumsum(weight[order][::-1])[::-1], 0.0)
        soft = from_top[np.searchsorted(s[near][order], limits)]
        a, b = np.maximum(first - half, low), np.minimum(last + half, high)
        new = np.concatenate(
            [[True], (home[1:] != home[:-1]) | (last[:-1] + half < first[1:] - half)]
        )
        starts, ends = a[new], b[np.append(np.flatnonzero(new)[1:] - 1, len(b) - 1)]
        highest = np.maximum.reduceat(padded, np.column_stack([starts, ends + 1]).ravel())[::2]
        found = (len(starts) - np.searchsorted(np.sort(highest), limits)) / len(starts)
        size = positive + soft / 2
        tpr = np.concatenate([[0.0], np.minimum((hits + soft) / size, 1) * found, [1.0]])
        fpr = np.concatenate([[0.0], (predicted - hits - soft) / (n - size), [1.0]])
        roc += float((np.diff(fpr) * (tpr[1:] + tpr[:-1]) / 2).sum())
        pr += float((np.diff(tpr)[:-1] * (hits + soft) / predicted).sum())
    return roc / (buffer + 1), pr / (buffer + 1)


def _buffer(
    flags: Bools, first: Ints, last: Ints, low: Ints, high: Ints, window: int
) -> tuple[Ints, Floats]:
    """Positions of the unlabelled events within half a window of an anomaly, and their labels, which add up to 1 at most."""
    step = np.arange(1, window // 2 + 1)
    fall = np.sqrt(1 - step / max(window, 1))
    after, before = last[:, None] + step, first[:, None] - step
    at = np.concatenate([after[after <= high[:, None]], before[before >= low[:, None]]])
    weight = np.concatenate(
        [
            np.broadcast_to(fall, after.shape)[after <= high[:, None]],
            np.broadcast_to(fall, before.shape)[before >= low[:, None]],
        ]
    )
    near, place = np.unique(at, return_inverse=True)
    total = np.minimum(np.bincount(place, weights=weight, minlength=len(near)), 1.0)
    return near[~flags[near]], total[~flags[near]]


def event_wise(
    label: npt.ArrayLike, flagged: npt.ArrayLike, sequence: npt.ArrayLike, times: npt.ArrayLike
) -> dict[str, float | None]:
    """event_recall: the share of anomalies (maximal runs of label 1) with a flagged event; event_precision: that of runs of flagged events
    that hold an anomalous one; detection_delay: the median time in seconds from the start of a found anomaly to its first flagged event.

    As in Hundman et al., "Detecting Spacecraft Anomalies Using LSTMs and Nonparametric Dynamic Thresholding", KDD (2018), with
    precision counted in runs. times: microseconds.
    """
    truth, said, of = np.asarray(label) == 1, np.asarray(flagged, np.bool_), np.asarray(sequence)
    first, last = runs(truth, of)
    begin, end = runs(said, of)
    hits = np.concatenate([[0], np.cumsum(said)])
    found = hits[last + 1] > hits[first]
    right = np.concatenate([[0], np.cumsum(truth)])
    held = right[end + 1] > right[begin]
    delay = None
    if found.any():
        at = np.flatnonzero(said)
        earliest = at[np.searchsorted(at, first[found])]
        when = np.asarray(times, np.int64)
        delay = float(np.median((when[earliest] - when[first[found]]) / 1e6))
    return {
        "event_precision": float(held.mean()) if len(held) else None,
        "event_recall": float(found.mean()) if len(found) else None,
        "detection_delay": delay,
    }
