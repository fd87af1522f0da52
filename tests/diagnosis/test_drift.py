"""Effect sizes against SciPy and hand-worked values, the null band, and what is compared."""

from __future__ import annotations

import numpy as np
import pytest
from foreshock.diagnosis.drift import Shapes, comparisons, null_band, since
from foreshock.statistics.arrays import AnyArray
from foreshock.statistics.distances import effect, total
from foreshock.statistics.histogram import Histogram
from foreshock.statistics.sliced import SLICES
from scipy import stats
from support.scored_events import shapes

RNG = np.random.default_rng(3)


def test_wasserstein_is_scipys_to_the_histograms_bound() -> None:
    a, b = (
        RNG.normal(0, 1, 20_000).astype(np.float32),
        RNG.normal(0.7, 1.5, 9_000).astype(np.float32),
    )
    found = effect(Histogram.of(a), Histogram.of(b), 1.0, score=False)
    assert found.wasserstein == pytest.approx(stats.wasserstein_distance(a, b), rel=0.01)
    assert effect(Histogram.of(a), Histogram.of(b), 2.0, score=False).wasserstein == pytest.approx(
        found.wasserstein / 2
    )
    low, high = np.quantile(a, [0.01, 0.99]), np.quantile(b, [0.01, 0.99])
    assert found.quantile_ratio == pytest.approx((high[1] - high[0]) / (low[1] - low[0]), rel=0.02)


def test_psi_of_halved_deciles() -> None:
    reference = np.repeat(np.arange(10, dtype=np.float32), 1000)
    other = np.repeat(np.arange(10, dtype=np.float32), [2000] + [1000] * 8 + [0])
    found = effect(Histogram.of(reference), Histogram.of(other), 1.0, score=False)
    shares = np.array([0.2, *[0.1] * 8, 0.5 / 10_000])
    assert found.psi == pytest.approx(((shares - 0.1) * np.log(shares / 0.1)).sum(), rel=0.01)


def test_a_few_anomalies_do_not_move_the_middle() -> None:
    a = RNG.normal(0, 1, 20_000)
    b = np.concatenate([RNG.normal(0, 1, 19_400), RNG.normal(50, 1, 600)])
    found = effect(Histogram.of(a), Histogram.of(b), 1.35, score=False)
    assert found.wasserstein > 1 and found.trimmed < 0.1


def test_the_band_is_how_far_train_moves_by_itself() -> None:
    still, waves = (
        RNG.normal(0, 1, 12_000),
        RNG.normal(0, 1, 12_000) + np.repeat(np.arange(12) % 2, 1000),
    )
    found = shapes(train={"a": still, "b": waves})
    quiet, loud = null_band(found, "a"), null_band(found, "b")
    assert quiet is not None and loud is not None and quiet < 0.1 < 0.3 < loud
    assert null_band(shapes(train={"a": RNG.normal(0, 1, 100)}), "a") is None


def test_sheer_numbers_alarm_nobody_and_a_shift_is_named_since_its_partition() -> None:
    normal: dict[str | None, AnyArray] = {f: RNG.normal(0, 1, 240_000) for f in "abc"}
    moved: dict[str | None, AnyArray] = {f: RNG.normal(0, 1, 12_000) for f in "abc"}
    moved["b"][6000:] += 1.5
    found = shapes(train=normal, test=moved)
    rows = {c.feature: c for c in comparisons(found) if c.to_split == "test" and c.group == "all"}
    assert {f: rows[f].verdict for f in "abc"} == {"a": "stable", "b": "shifted", "c": "stable"}
    assert since(found, "b", rows["b"].band) == "test-1"
    assert since(found, "a", rows["a"].band) is None


def test_a_drift_that_begins_within_calibration_is_dated_there() -> None:
    late, whole = RNG.normal(0, 1, 12_000), RNG.normal(1.5, 1, 12_000)
    late[6000:] += 1.5
    still = RNG.normal(0, 1, 12_000)
    found = shapes(
        train={"a": RNG.normal(0, 1, 24_000)}, calibration={"a": late}, test={"a": whole}
    )
    assert since(found, "a", null_band(found, "a")) == "calibration-1"
    assert (
        since(shapes(train={"a": still}, calibration={"a": still}, test={"a": whole}), "a", 0.1)
        == "test-0"
    )
    assert (
        since(shapes(train={"a": still}, calibration={"a": whole}, test={"a": still}), "a", 0.1)
        is None
    )


def test_every_pair_that_tells_causes_apart_is_compared() -> None:
    both = {None: RNG.exponential(1, 1200), "a": RNG.normal(0, 1, 1200)}
    found = comparisons(
        shapes(
            train=both, out_of_fold={None: both[None]}, validation=both, calibration=both, test=both
        )
    )
    later = [
        ("train", "validation"),
        ("train", "calibration"),
        ("train", "test"),
        ("validation", "calibration"),
        ("validation", "test"),
        ("calibration", "test"),
    ]
    assert sorted((c.from_split, c.to_split) for c in found if c.feature == "a") == sorted(later)
    held_out = [
        ("train", "out_of_fold"),
        ("out_of_fold", "calibration"),
    ]  # of whose features nothing new is to be said
    assert sorted((c.from_split, c.to_split) for c in found if c.feature is None) == sorted(
        later + held_out
    )
    assert {c.verdict for c in found} == {"stable"}


def test_too_few_events_are_not_judged() -> None:
    found = shapes(train={"a": RNG.normal(0, 1, 1000)}, test={"a": RNG.normal(9, 1, 20)})
    row = next(c for c in comparisons(found) if c.to_split == "test")
    assert (row.verdict, row.wasserstein, row.n_to) == ("too_few", None, 20)


def test_stored_shapes_come_back() -> None:
    found = shapes(
        train={"a": RNG.normal(0, 1, 1000), None: RNG.exponential(1, 1000)},
        test={"a": RNG.normal(0, 1, 500)},
    )
    back = Shapes.from_rows(found.to_rows(("train",)))
    assert {p.split for p in back.parts} == {"train"} and len(back.parts) == 2 * SLICES
    assert (
        back.of("train", "a").n == 1000
        and back.of("train", "a").maximum == found.of("train", "a").maximum
    )
    assert total([]).n == 0
