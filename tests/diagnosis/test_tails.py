"""What the tails of scores say.

Shelves are tested against laws whose quantiles are known. Contamination and thresholds beyond
the scores are tested too.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from foreshock.diagnosis.facts import profile
from foreshock.diagnosis.tails import share_above, shelf, tail_bound
from foreshock.diagnosis.verdict import verdict
from foreshock.statistics.arrays import AnyArray
from foreshock.statistics.histogram import Histogram
from scipy import stats
from support.scored_events import scored


def at_ranks(law: stats.rv_frozen, n: int = 200_000) -> Histogram:
    """A sample without chance: the law's quantiles at equal steps."""
    return Histogram.of(law.ppf((np.arange(n) + 0.5) / n))


def test_a_tail_of_one_piece_has_no_shelf_however_heavy() -> None:
    for power in (0.5, 1.0, 3.0):
        assert shelf(at_ranks(stats.pareto(power)), 1) == pytest.approx(1, abs=0.15)
    for law in (
        stats.lognorm(0.5),
        stats.lognorm(2),
        stats.expon(),
        stats.chi2(20),
        stats.halfnorm(),
    ):
        assert shelf(at_ranks(law), 1) < 3


@pytest.mark.parametrize("share", [0.01, 0.05, 0.15])
def test_anomalies_apart_from_the_bulk_are_a_shelf(share: float) -> None:
    n = 100_000
    bulk, own = stats.chi2(80, scale=1 / 80), stats.chi2(80, scale=10 / 80)  # ten times as high
    values = np.concatenate(
        [
            bulk.ppf((np.arange(n) + 0.5) / n),
            own.ppf((np.arange(int(n * share)) + 0.5) / int(n * share)),
        ]
    )
    assert shelf(Histogram.of(values), 1) > 3
    assert (
        shelf(Histogram.of(values), n // 50) == 0
    )  # windows that share so many events that hardly any are apart


def contaminated(rng: np.random.Generator, share: float = 0.03) -> AnyArray:
    score = rng.chisquare(20, 6000) / 20
    hit = rng.random(6000) < share
    score[hit] = 30 * rng.chisquare(20, int(hit.sum())) / 20
    return score


BOTH = {"train": {"a": 0.7, "b": 0.3}, "test": {"a": 0.6, "b": 0.4}}


def test_a_contaminated_train_is_told_from_a_heavy_tail() -> None:
    rng = np.random.default_rng(6)
    clean: dict[str, Any] = {s: rng.chisquare(20, 6000) / 20 for s in ("validation", "calibration")}
    found = verdict(
        scored(
            train=contaminated(rng),
            test=contaminated(rng),
            **clean,
            changed={"profiles": BOTH, "threshold": 2.0},
        )
    )
    assert found["causes"] == ["contaminated_training"] and found["features"] == ["a"]
    assert "set apart from the bulk" in found["text"]
    for df in (2.0, 2.5, 3.0):
        heavy = {
            s: (rng.standard_t(df, (6000, 80)) ** 2).mean(axis=1)
            for s in ("train", "validation", "calibration", "test")
        }
        train = Histogram.of(heavy["train"])
        assert (
            share_above(train, tail_bound(train)) > 0.005
        )  # so that the tail alone would be called contaminated
        assert verdict(scored(**heavy, changed={"profiles": BOTH, "threshold": 50.0}))[
            "causes"
        ] == ["healthy"], df
    elsewhere = {"train": {"a": 1.0, "b": 0.0}, "test": {"a": 0.0, "b": 1.0}}
    found = verdict(
        scored(
            train=contaminated(rng),
            test=contaminated(rng),
            **clean,
            changed={"profiles": elsewhere, "threshold": 2.0},
        )
    )
    assert found["causes"] == ["healthy"]


def test_a_single_feature_can_be_contaminated() -> None:
    assert profile(None, ("a",)) == {"a": 1.0}
    rng = np.random.default_rng(7)
    alone = {s: p for s in ("train", "test") if (p := profile(None, ("a",)))}
    found = verdict(
        scored(
            ("a",),
            {"profiles": alone, "threshold": 40.0, "explained": None},
            train=contaminated(rng),
            calibration=contaminated(rng),
            test=contaminated(rng),
            validation=contaminated(rng),
        )
    )
    assert found["causes"] == ["contaminated_training"] and found["features"] == ["a"]


def test_a_profile_is_of_the_highest_windows_alone() -> None:
    errors = np.ones((2000, 2))
    errors[:20] = [30.0, 10.0]
    shares: dict[str, Any] = {"a": pytest.approx(0.75), "b": pytest.approx(0.25)}
    assert profile(errors, ("a", "b")) == shares
    assert profile(np.ones((5, 1)), ("a", "b")) is None and profile(None, ("a", "b")) is None


def test_a_calibration_that_alone_holds_anomalies() -> None:
    rng = np.random.default_rng(8)
    scores: dict[str, Any] = {s: rng.chisquare(20, 6000) / 20 for s in ("train", "validation")} | {
        s: contaminated(rng) for s in ("calibration", "test")
    }
    made = scored(**scores, changed={"threshold": 30.0})
    found = verdict(made)
    assert found["causes"] == ["contaminated_calibration"]
    for words in (
        "3.",
        "0.00% of train's",
        "threshold (30 by quantile) lies among them",
        "events.calibrate_where",
    ):
        assert words in found["text"], words
    # no fault of calibration: a threshold below the anomalies, fitted elsewhere, or on events that
    # calibrate_where chose
    for changed in (
        {"threshold": 1.8},
        {"fitted_on": "train"},
        {"admitted": True},
        {"overlap": 50},
    ):
        assert verdict(replace(made, **changed))["causes"] == ["healthy"], changed
    clean = scored(
        **(scores | {"calibration": rng.chisquare(20, 6000) / 20}), changed={"threshold": 1.8}
    )
    assert verdict(clean)["causes"] == ["healthy"]


def test_more_of_a_heavy_tail_that_train_has_too_is_no_contamination() -> None:
    rng = np.random.default_rng(9)
    train = (rng.standard_t(2.5, (6000, 80)) ** 2).mean(axis=1)
    bound = tail_bound(Histogram.of(train))
    luck = rng.permutation(
        np.concatenate([train, np.repeat(train[train > bound], 7)])
    )  # six times the share, as far out
    more = {"train": train, "validation": train, "calibration": luck, "test": train}
    assert verdict(scored(**more, changed={"threshold": 1.2 * bound}))["causes"] == ["healthy"]
    far = verdict(
        scored(
            **(more | {"calibration": np.where(luck > bound, 20 * luck, luck)}),
            changed={"threshold": 1.2 * bound},
        )
    )
    assert far["causes"] == ["contaminated_calibration"]


def test_equal_scores_are_said_to_be_equal() -> None:
    ones: dict[str, Any] = {
        s: np.ones(6000) for s in ("train", "validation", "calibration", "test")
    }
    for threshold in (1.0, 0.5):
        found = verdict(scored(**ones, changed={"threshold": threshold}))
        assert found["causes"] == ["threshold_out_of_support"]
        assert (
            "All scores of calibration and test are equal (1)" in found["text"]
            and "lower level" not in found["text"]
        )
