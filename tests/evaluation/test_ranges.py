"""Volume under the surface equals the public package's. Events are counted by hand."""

from __future__ import annotations

import numpy as np
import pytest
from foreshock.evaluation.ranges import event_wise, runs, vus
from foreshock.statistics.arrays import AnyArray

# (VUS-ROC, VUS-PR) of case(0), case(1), … by RangeAUC_volume_opt of the package vus 0.0.6.
REFERENCE = [
    (0.9316597923, 0.6051030996),
    (0.8897971844, 0.5768135056),
    (0.9041046578, 0.6104202719),
    (0.9944779116, 0.7380952381),
    (0.9089546961, 0.7170333124),
    (0.8866261835, 0.5655211479),
    (0.9123531627, 0.6377334365),
    (0.5311062367, 0.1747938008),
    (0.8195668616, 0.4376371183),
    (0.8520542368, 0.6271701813),
    (0.9365653391, 0.7009173911),
    (0.8294337091, 0.3685046424),
    (0.9258016439, 0.7246178447),
    (0.8050307708, 0.3764937303),
    (0.8916773676, 0.7932028217),
    (0.9164533001, 0.4483199659),
    (0.878758187, 0.4024770868),
    (0.8285692541, 0.4424928237),
    (0.78422514, 0.3201980441),
    (0.9306000355, 0.7266551995),
    (0.8094705943, 0.2662267546),
    (0.8923307621, 0.6398701899),
    (0.7676703995, 0.0559975648),
    (0.8244799085, 0.7044744659),
]


def case(seed: int) -> tuple[AnyArray, AnyArray, int]:
    """Labels, scores and a buffer.

    There are one to five anomalies, some at the ends or near each other. Some scores are tied.
    """
    rng = np.random.default_rng(seed)
    n = int(rng.integers(60, 400))
    label = np.zeros(n, int)
    for _ in range(int(rng.integers(1, 6))):
        a = int(rng.integers(0, n))
        label[a : a + int(rng.integers(1, 12))] = 1
    if seed % 4 == 0:
        label[0] = 1
    if seed % 5 == 0:
        label[-1] = 1
    score = rng.random(n) + 0.4 * label
    if seed % 3 == 0:
        score = np.round(score, 1)
    if seed == 7:
        score[:] = 1.0
    return label, score, int(rng.integers(0, 30))


@pytest.mark.parametrize("seed", range(len(REFERENCE)))
def test_vus_is_the_public_packages(seed: int) -> None:
    label, score, buffer = case(seed)
    assert vus(label, score, np.zeros(len(label), int), buffer) == pytest.approx(
        REFERENCE[seed], abs=1e-9
    )


def test_a_buffer_stops_at_the_end_of_a_sequence() -> None:
    label = np.array([0, 0, 0, 1, 0, 0, 0, 0])
    score = np.array([0.1, 0.2, 0.3, 0.5, 0.8, 0.1, 0.2, 0.1])
    apart = vus(label, score, np.array([0, 0, 0, 0, 1, 1, 1, 1]), 4)
    together = vus(label, score, np.zeros(8, int), 4)
    assert (
        apart[1] is not None and together[1] is not None and apart[1] < together[1]
    )  # 0.8 is near the anomaly only where it follows


def plain(label: AnyArray, score: AnyArray, of: AnyArray, buffer: int) -> tuple[float, float]:
    """VUS of several sequences by loops over events, windows and thresholds."""
    n, first, last = len(score), *runs(label == 1, of)
    limits = np.sort(score)[::-1][np.linspace(0, n - 1, 250).astype(int)]
    volumes = np.zeros(2)
    for window in range(buffer + 1):
        soft = np.zeros(n)
        areas: list[list[int]] = []
        for a, e in zip(first.tolist(), last.tolist(), strict=True):
            reach = [
                p
                for p in range(max(a - window // 2, 0), min(e + window // 2, n - 1) + 1)
                if of[p] == of[a]
            ]
            for p in reach:
                distance = max(a - p, p - e, 0)
                soft[p] += np.sqrt(1 - distance / window) if distance else 0
            joined = areas and of[areas[-1][-1]] == of[a] and set(areas[-1]) & set(reach)
            areas = [*areas[:-1], areas[-1] + reach] if joined else [*areas, reach]
        soft = np.where(label == 1, 0, np.minimum(soft, 1))
        tpr, fpr, precision = [0.0], [0.0], []
        for limit in limits:
            said = score >= limit
            hit, near = label[said].sum(), soft[said].sum()
            size = label.sum() + near / 2
            tpr.append(min((hit + near) / size, 1) * np.mean([said[area].any() for area in areas]))
            fpr.append((said.sum() - hit - near) / (n - size))
            precision.append((hit + near) / said.sum())
        high = np.array([*tpr, 1.0])
        volumes += np.diff([*fpr, 1.0]) @ (high[1:] + high[:-1]) / 2, np.diff(tpr) @ precision
    return tuple((volumes / (buffer + 1)).tolist())


@pytest.mark.parametrize("seed", range(6))
def test_several_sequences_equal_a_plain_loop(seed: int) -> None:
    rng = np.random.default_rng([5, seed])
    of = np.sort(rng.integers(0, 8, 40))  # so short that buffers would reach into the next one
    label = (rng.random(40) < 0.25).astype(int)
    score = np.round(rng.normal(size=40) + label, 1)
    assert vus(label, score, of, 12) == pytest.approx(plain(label, score, of, 12), abs=1e-12)


def test_undefined_is_null() -> None:
    for label in ([], [0, 0], [1, 1]):
        assert vus(label, [0.5] * len(label), [0] * len(label), 3) == (None, None)
    nothing = event_wise([0, 0], [False, False], [0, 0], [0, 1])
    assert nothing == {"event_precision": None, "event_recall": None, "detection_delay": None}
    missed = event_wise([1, 0], [False, False], [0, 0], [0, 1])
    assert missed == {"event_precision": None, "event_recall": 0.0, "detection_delay": None}


def test_events_by_hand() -> None:
    label = [0, 1, 1, 1, 0, 0, 1, 1, 1, 0]
    said = [0, 0, 0, 1, 1, 0, 0, 1, 0, 1]
    of = [0, 0, 0, 0, 0, 0, 0, 0, 1, 1]  # the second anomaly is two, in two sequences
    times = [s * 10_000_000 for s in (0, 1, 2, 3, 4, 5, 6, 7, 0, 1)]
    found = event_wise(label, np.array(said, bool), of, times)
    assert found["event_recall"] == pytest.approx(2 / 3)
    assert found["event_precision"] == pytest.approx(
        2 / 3
    )  # 3-4 and 7 hold an anomalous event, the last does not
    assert found["detection_delay"] == 15.0  # 20 s and 10 s
    first, last = runs(np.array(label) == 1, np.array(of))
    assert list(zip(first.tolist(), last.tolist(), strict=True)) == [(1, 3), (6, 7), (8, 8)]


def test_a_delay_is_the_median_of_found_anomalies() -> None:
    label, said = [1, 1, 0, 1, 1, 0, 1, 1], [True, True, False, False, True, False, False, True]
    times = [s * 1_000_000 for s in (0, 1, 2, 3, 4, 5, 6, 96)]
    assert event_wise(label, said, [0] * 8, times)["detection_delay"] == 1.0  # 0 s, 1 s and 90 s
