"""Weighted ranking against scikit-learn, and intervals of blocks."""

from __future__ import annotations

from typing import cast

import numpy as np
import pytest
from foreshock.evaluation.bootstrap import DAY, Ranking, block_length, intervals, time_blocks
from foreshock.evaluation.metrics import Scored, baselines, with_intervals, within_blocks
from foreshock.statistics.arrays import AnyArray
from sklearn.metrics import average_precision_score, roc_auc_score

RNG = np.random.default_rng(4)


@pytest.mark.parametrize("ties", [False, True])
def test_weighted_ranking_is_scikit_learns(ties: bool) -> None:
    label = RNG.integers(0, 2, 300)
    score = RNG.normal(size=300) + label
    score = np.round(score) if ties else score
    found = Ranking(score, label)
    for weight in (np.ones(300), RNG.integers(0, 4, 300).astype(float), RNG.random(300)):
        assert found.roc_auc(weight) == pytest.approx(
            roc_auc_score(label, score, sample_weight=weight), abs=1e-12
        )
        assert found.pr_auc(weight) == pytest.approx(
            average_precision_score(label, score, sample_weight=weight), abs=1e-12
        )
    assert (
        found.roc_auc(np.where(label == 1, 1.0, 0.0)) is None and Ranking([], []).pr_auc([]) is None
    )


def test_blocks_of_time() -> None:
    times = np.arange(30) * DAY + 5
    assert time_blocks(times, int(times[0]), int(times[-1])).tolist() == list(range(30))
    short = np.arange(100) * 1_000_000
    assert np.bincount(time_blocks(short, 0, 99_000_000)).tolist() == [5] * 20
    assert block_length(7, 7) == 1
    noon = (
        np.arange(60) * DAY // 2 + DAY // 2
    )  # a split that starts at noon is cut at midnight all the same
    assert time_blocks(noon, int(noon[0]), int(noon[-1])).tolist() == (noon // DAY).tolist()


def test_an_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    inside = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        blocks = np.repeat(np.arange(30), 20)
        values = np.repeat(rng.normal(size=30), 20) + rng.normal(size=600)  # alike within a block

        def mean(weight: AnyArray, values: AnyArray = values) -> dict[str, float | None]:
            return {"mean": float(weight @ values / weight.sum())}

        low, high = intervals(mean, blocks, seed)["mean"]
        assert low is not None and high is not None
        inside += low <= 0 <= high
    assert 85 <= inside <= 99


def test_few_blocks_and_undefined_metrics_have_no_interval() -> None:
    assert intervals(lambda w: {"a": 1.0}, np.arange(9), 1) == {"a": (None, None)}
    assert intervals(lambda w: {"a": None, "b": 2.0}, np.arange(20), 1) == {
        "a": (None, None),
        "b": (2.0, 2.0),
    }


def test_bounds_are_percentiles_of_the_replicates() -> None:
    seen: list[float] = []

    def total(weight: AnyArray) -> dict[str, float | None]:
        seen.append(float(weight @ np.arange(10)))
        return {
            "total": seen[-1],
            "half": seen[-1] if len(seen) % 2 else None,
            "most": seen[-1] if len(seen) % 4 else None,
        }

    found = intervals(total, np.arange(10), 1)
    assert len(seen) == 200 and found["total"] == tuple(np.quantile(seen, [0.025, 0.975]).tolist())
    assert found["half"] == (None, None) and found["most"] != (None, None)


def scored(n: int, blocks: int) -> Scored:
    block = np.repeat(np.arange(blocks), n // blocks)
    label = (RNG.random(n) < 0.3).astype(np.int64)
    score = RNG.normal(size=n) + label
    return Scored(score, label, score > 1, np.ones(n, np.int64), block)


def test_intervals_surround_the_metrics() -> None:
    s = scored(2000, 20)
    found = cast(dict[str, tuple[float, float]], with_intervals(s, 3))
    assert s.flagged is not None
    auc = roc_auc_score(s.label, s.score)
    assert (
        found["roc_auc"][0] < auc < found["roc_auc"][1]
        and found["roc_auc"][1] - found["roc_auc"][0] < 0.1
    )
    assert found["sensitivity"][0] < s.flagged[s.label == 1].mean() < found["sensitivity"][1]
    assert found == with_intervals(s, 3)


def test_clustering_in_time_is_no_separation_within_blocks() -> None:
    block = np.repeat(np.arange(10), 100)
    busy = block < 3
    label = (RNG.random(1000) < np.where(busy, 0.5, 0.02)).astype(np.int64)
    score = busy * 5.0 + RNG.normal(size=1000)
    s = Scored(score, label, None, np.ones(1000, np.int64), block)
    within = cast(float, within_blocks(s))
    assert roc_auc_score(label, score) > 0.75 and abs(within - 0.5) < 0.08


def test_baselines_flag_none_all_and_as_many_by_chance() -> None:
    s = scored(4000, 20)
    found = baselines(s, 3)
    assert s.flagged is not None and s.block is not None
    assert found["flag_none"].flagged is not None and found["flag_all"].flagged is not None
    assert found["random"].flagged is not None
    assert not found["flag_none"].flagged.any() and found["flag_all"].flagged.all()
    assert abs(found["random"].flagged.mean() - s.flagged.mean()) < 0.03
    assert abs(roc_auc_score(found["random"].label, found["random"].score) - 0.5) < 0.05
    order = RNG.permutation(4000)
    shuffled = Scored(
        s.score[order], s.label[order], s.flagged[order], s.count[order], s.block[order]
    )
    again = baselines(shuffled, 3)["random"]
    assert roc_auc_score(again.label, again.score) == roc_auc_score(
        found["random"].label, found["random"].score
    )
