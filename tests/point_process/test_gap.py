"""The score of a gap equals brute force over train's gaps, however they were counted and merged."""

from __future__ import annotations

import numpy as np
import pytest
from foreshock.point_process import gap_counts
from foreshock.point_process.gap import LEAST_GAPS, Gap, count_cells
from foreshock.point_process.gap_counts import GapCounts, merged
from foreshock.statistics.arrays import AnyArray

HOUR = 3_600_000_000


def brute_force(
    groups: AnyArray,
    times: AnyArray,
    gaps: AnyArray,
    train: tuple[AnyArray, AnyArray, AnyArray],
) -> AnyArray:
    """−log p of each gap, by comparing it with every gap of train."""
    train_groups, train_times, train_gaps = train
    train_weekday_hour = (train_times // HOUR + 72) % 168
    scores = np.full(len(gaps), np.nan)
    for row, (group, time, gap) in enumerate(zip(groups, times, gaps, strict=True)):
        if np.isnan(gap):
            continue
        same_group = train_groups == group
        same_hour = same_group & (train_weekday_hour == (time // HOUR + 72) % 168)
        candidates = (same_hour, same_group, np.ones(len(train_gaps), bool))
        among = next((mask for mask in candidates[:2] if mask.sum() >= LEAST_GAPS), candidates[2])
        known = train_gaps[among]
        tail = 1 + min((known <= gap).sum(), (known >= gap).sum())
        scores[row] = -np.log(min(1.0, 2 * tail / (len(known) + 1)))
    return scores


def table(seed: int, n: int) -> tuple[AnyArray, AnyArray, AnyArray]:
    rng = np.random.default_rng(seed)
    groups = rng.choice(["a", "b", "rare"], n, p=[0.7, 0.28, 0.02])
    hours = rng.integers(0, 6, n)  # few hours of the week, so that some have enough gaps
    times = hours * HOUR + rng.integers(0, HOUR, n)
    gaps = np.round(rng.exponential(100.0, n), int(rng.integers(0, 4)))
    return groups, times, gaps


@pytest.mark.parametrize("seed", range(20))
def test_scores_equal_brute_force_however_train_was_counted(seed: int) -> None:
    train, test = table(seed, 4000), table(seed + 100, 300)
    rng = np.random.default_rng(seed)
    parts = np.array_split(rng.permutation(4000), int(rng.integers(1, 9)))
    detector = Gap.fit(count_cells(*(column[part] for column in train)) for part in parts)
    gaps = np.where(rng.random(300) < 0.1, np.nan, test[2])
    scores = detector.scores(test[0], test[1], gaps)
    np.testing.assert_allclose(scores, brute_force(test[0], test[1], gaps, train), rtol=1e-12)
    assert np.isnan(scores).sum() == np.isnan(gaps).sum() > 0


def test_a_group_that_train_lacks_is_judged_by_all_groups() -> None:
    train = table(1, 1000)
    detector = Gap.fit([count_cells(*train)])
    score = detector.scores(["new"], [0], [1e6])
    assert score == pytest.approx([-np.log(2 / 1001)])


def test_the_expected_gap_is_the_median_of_the_cell_that_judges() -> None:
    train = table(2, 6000)
    detector = Gap.fit([count_cells(*train)])
    of_rare = detector.expected(["rare"], [0])
    assert of_rare == pytest.approx(np.sort(train[2])[2999])


def test_it_is_saved_and_loaded_equal() -> None:
    train, test = table(3, 3000), table(4, 50)
    detector = Gap.fit([count_cells(*train)])
    again = Gap.load(detector.spec(), detector.arrays())
    np.testing.assert_array_equal(detector.scores(*test), again.scores(*test))
    with pytest.raises(ValueError, match="do not fit"):
        Gap.load(
            detector.spec(), {"values": np.zeros(1, np.int64), "counts": np.zeros(1, np.int64)}
        )


def test_no_gap_at_all_is_refused() -> None:
    with pytest.raises(ValueError, match="no entity has two events"):
        Gap.fit([])


def test_many_values_are_coarsened_alike_in_whatever_order_they_are_merged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gap_counts, "MOST_VALUES", 64)
    gaps = np.random.default_rng(5).integers(0, 10**9, 3000)
    whole = GapCounts.of(gaps)
    assert len(whole.values) <= 64 < len(np.unique(gaps))
    for pieces in (2, 7, 100):
        parts = [GapCounts.of(part) for part in np.array_split(gaps, pieces)]
        again = merged([merged(parts[1::2]), merged(parts[::2])])
        assert again.coarseness == whole.coarseness
        np.testing.assert_array_equal(again.values, whole.values)
        np.testing.assert_array_equal(again.counts, whole.counts)
    resolution = 1 << whole.coarseness
    shares = whole.at_most(gaps[:100]) / 3000
    exact = (gaps[:, None] // resolution <= gaps[:100] // resolution).mean(axis=0)
    np.testing.assert_allclose(shares, exact)
