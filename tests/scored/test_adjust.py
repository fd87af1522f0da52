"""Shrunk covariance equals scikit-learn's. Distances and ensembles equal those by hand.

In Spark, at any partitioning, they equal NumPy's and pandas'.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from foreshock.scored import adjust_spark
from foreshock.scored.adjust import Residuals, combined, contributions, over_scale
from foreshock.scored.adjust_passes import FittedEvents
from foreshock.scored.adjust_spark import Combination, Rescoring
from foreshock.scored.events import ScoredEvents
from foreshock.scored.schema import scored_schema
from foreshock.scored.smooth_spark import smoothed
from foreshock.sequences.split import Split
from foreshock.statistics.arrays import AnyArray, Float64Array
from sklearn.covariance import LedoitWolf

RNG = np.random.default_rng(5)


def sums(r: AnyArray) -> Residuals:
    centred = r - r.mean(axis=0)
    products = cast(Float64Array, r.T @ r)
    return Residuals(
        len(r), r.sum(axis=0), products, float(np.square(np.square(centred).sum(axis=1)).sum())
    )


@pytest.mark.parametrize("n", [12, 40, 5000])
def test_precision_is_that_of_scikit_learns_ledoit_wolf(n: int) -> None:
    r = RNG.normal(size=(n, 4)) @ RNG.normal(size=(4, 4)) + 3
    wanted = LedoitWolf().fit(r)
    assert sums(r).precision() == pytest.approx(wanted.precision_, rel=1e-6)
    found = contributions(r, r.mean(axis=0), wanted.precision_)
    assert found.sum(axis=1) == pytest.approx(wanted.mahalanobis(r), rel=1e-9)


def test_a_feature_that_never_varies_is_no_reason_to_fail() -> None:
    r = np.column_stack([RNG.normal(size=100), np.zeros(100)])
    assert np.isfinite(contributions(r, r.mean(axis=0), sums(r).precision())).all()
    flat = np.ones((50, 2))
    assert contributions(flat, flat.mean(axis=0), sums(flat).precision()) == pytest.approx(
        np.zeros((50, 2)), abs=1e-12
    )


def test_after_a_perfect_calibration_a_residual_counts_as_it_is() -> None:
    perfect = sums(np.zeros((500, 2)))
    assert contributions([[100.0, 0.0]], perfect.mean, perfect.precision()).tolist() == [
        [10_000.0, 0.0]
    ]
    # Of residuals that are all of one length there is no noise to shrink for: the second feature's
    # own variance stays 0.
    half = Residuals(10**9, np.zeros(2), np.diag([1e9, 0.0]), 1e9)
    assert contributions([[0.0, 100.0]], half.mean, half.precision())[0, 1] == pytest.approx(
        10_000.0, rel=1e-6
    )
    far = Residuals(
        10**9, np.zeros(2), np.diag([1e21, 1.0]), 1e33
    )  # the second feature is the rounding of the first
    assert contributions([[0.0, 1.0]], far.mean, far.precision())[0, 1] <= 1


def test_what_features_add_by_hand() -> None:
    assert over_scale([[2.0, 30.0], [4.0, 0.0]], [2.0, 10.0]).tolist() == [[1.0, 3.0], [2.0, 0.0]]
    assert over_scale([[2.0, 3.0]], [2.0, 0.0]).tolist() == [[1.0, 3.0]]
    # Less the mean 1, 1 the residual is 2, -1; P r is 2 * 2 - 1, 2 - 3: shares 6 and 1 of 7.
    assert contributions([[3.0, 0.0]], [1.0, 1.0], [[2.0, 1.0], [1.0, 3.0]]).tolist() == [
        [6.0, 1.0]
    ]
    assert contributions([[2.0, 2.0]], [0.0, 0.0], [[1.0, -2.0], [-2.0, 5.0]]).tolist() == [
        [-4.0, 12.0]
    ]


def test_combined_by_hand() -> None:
    assert combined([[2.0, 30.0]], [2.0, 10.0], "mean").tolist() == [2.0]
    assert combined([[2.0, 30.0]], [2.0, 10.0], "mean_log1p") == pytest.approx(
        [(np.log(2) + np.log(4)) / 2]
    )


def rows(n: int, entities: int) -> pd.DataFrame:
    """Scored rows in the total order: equal times, several codes."""
    made = pd.DataFrame(
        {
            "entity": [f"e{i}" for i in np.sort(RNG.integers(0, entities, n))],
            "event_time": np.sort(RNG.integers(0, n, n)),
        }
    )
    made = made.sort_values(["entity", "event_time"], kind="stable").reset_index(drop=True)
    made["code"] = np.where(
        made["event_time"] < n // 2, 1, np.where(made["event_time"] < 3 * n // 4, 3, 4)
    )
    made["block_id"], made["block_row"] = np.arange(n) // 7, np.arange(n) % 7
    made["block_role"] = made["code"]
    made["split"] = made["code"].map({1: 1, 3: 2, 4: 3})
    for name in ("score__pca", "score__zscore"):
        made[name] = RNG.exponential(size=n).astype(np.float32).astype(np.float64)
    return made


def write(made: pd.DataFrame, folder: Path, files: int, seed: int) -> ScoredEvents:
    folder.mkdir()
    made = made.iloc[np.random.default_rng(seed).permutation(len(made))]
    schema = scored_schema(("pca", "zscore"))
    for i in range(files):
        part = made.iloc[i::files]
        columns = [
            pa.array(part[f.name].tolist(), f.type)
            if f.name in part
            else pa.nulls(len(part), f.type)
            for f in schema
        ]
        pq.write_table(pa.table(columns, schema=schema), folder / f"part-{i}.parquet")
    return ScoredEvents(tuple(sorted(str(f) for f in folder.iterdir())), ("pca", "zscore"))


def back(scored: ScoredEvents) -> pd.DataFrame:
    return (
        pd.concat([pd.read_parquet(f) for f in scored.files])
        .sort_values("event_id")
        .reset_index(drop=True)
    )


@pytest.mark.parametrize("files", [pytest.param(1, marks=pytest.mark.slow), 4])
def test_smoothing_equals_pandas(files: int, spark: Any, tmp_path: Path) -> None:
    made = rows(400, 6)
    made["event_id"] = [f"{i:05d}" for i in range(len(made))]
    there = write(made, tmp_path / "in", files, files)
    for how, wanted in (
        ({"mean": 5, "exponential": None}, lambda s: s.rolling(5, min_periods=1).mean()),
        ({"mean": None, "exponential": 6}, lambda s: s.ewm(span=6, adjust=True).mean()),
    ):
        found = back(
            smoothed(spark, there, how["mean"], how["exponential"], tmp_path / f"out-{how['mean']}")
        )
        for name in ("score__pca", "score__zscore"):
            assert found[name].to_numpy() == pytest.approx(
                made.groupby("entity")[name].transform(wanted).to_numpy(), rel=1e-5
            )


def by_feature(found: pd.DataFrame) -> AnyArray:
    """Shares (n, F) of the errors."""
    errors = np.stack(found["errors_by_feature"].tolist()).astype(np.float64)
    shares: AnyArray = errors / errors.sum(axis=1, keepdims=True)
    return shares


@pytest.mark.parametrize("files", [pytest.param(1, marks=pytest.mark.slow), 3])
def test_errors_by_feature_at_any_partitioning(files: int, spark: Any, tmp_path: Path) -> None:
    made = rows(300, 3)
    made["event_id"], made["n_windows"], made["calibrate"] = (
        [f"{i:05d}" for i in range(300)],
        RNG.integers(1, 5, 300),
        RNG.integers(0, 2, 300),
    )
    made["n_forecasts"] = np.minimum(made["n_windows"], RNG.integers(0, 4, 300))
    errors, value, expected = (RNG.random((300, 3)).astype(np.float32) for _ in range(3))
    for name, array in (
        ("errors_by_feature", errors),
        ("values_by_feature", value),
        ("expected_values", expected),
    ):
        made[name] = array.tolist()
    made.at[7, "values_by_feature"], made.at[7, "n_forecasts"], made.at[7, "split"] = (
        [1e20, 1e22, 0.0],
        1,
        3,
    )  # far beyond a float32's squares
    value[7] = made.at[7, "values_by_feature"]
    there = write(made, tmp_path / "in", files, files)
    own = (made["split"] == 2) & (made["calibrate"] != 0)
    each = errors.astype(np.float64) / made["n_windows"].to_numpy()[:, None]
    events = FittedEvents(Split.CALIBRATION, only_admitted=True)
    scale = adjust_spark.error_scale(spark, there, events)
    assert scale == pytest.approx(each[own].mean(axis=0), rel=1e-12)
    found = back(
        adjust_spark.rescored(
            spark, there, Rescoring.standardised(scale), tmp_path / "standardised"
        )
    )
    assert found["score__pca"].to_numpy() == pytest.approx(
        (each / each[own].mean(axis=0)).mean(axis=1), rel=1e-5
    )
    assert found["score__zscore"].tolist() == made["score__zscore"].tolist()
    shares = each / each[own].mean(axis=0)
    assert by_feature(found) == pytest.approx(shares / shares.sum(axis=1, keepdims=True), rel=1e-5)
    r = value.astype(np.float64) - expected
    seen = made["n_forecasts"].to_numpy() > 0
    own &= seen
    precision = adjust_spark.residuals(spark, there, events).precision()
    assert precision == pytest.approx(LedoitWolf().fit(r[own]).precision_, rel=1e-6)
    rescoring = Rescoring.mahalanobis(r[own].mean(axis=0), precision)
    found = back(adjust_spark.rescored(spark, there, rescoring, tmp_path / "mahalanobis"))
    wanted = np.where(seen, LedoitWolf().fit(r[own]).mahalanobis(r) / 3, each.mean(axis=1))
    assert found["score__pca"].to_numpy() == pytest.approx(np.minimum(wanted, 1e30), rel=1e-5)
    away = r - r[own].mean(axis=0)
    added = np.where(
        seen[:, None],
        [[max(0.0, float(d[i] * (precision[i] @ d))) for i in range(3)] for d in away],
        each,
    )
    assert by_feature(found) == pytest.approx(
        added / added.sum(axis=1, keepdims=True), rel=1e-4, abs=1e-7
    )


def test_an_event_that_a_member_did_not_judge_has_no_ensemble_score(
    spark: Any, tmp_path: Path
) -> None:
    made = rows(8, 2)
    made["event_id"] = [f"{i:05d}" for i in range(8)]
    made["score__pca"], made["score__zscore"] = 2.0, [3.0] * 7 + [None]
    there = write(made, tmp_path / "in", 2, 1)
    combination = Combination("ensemble", ("pca", "zscore"), (1.0, 1.0), "mean")
    detectors = ("ensemble", "pca", "zscore")
    found = adjust_spark.with_ensemble(spark, there, combination, detectors, tmp_path / "out")
    assert found.detectors == detectors
    scores = back(found)[["score__ensemble", "score__pca"]].to_numpy().tolist()
    assert scores[:7] == [[2.5, 2.0]] * 7 and np.isnan(scores[7][0]) and scores[7][1] == 2.0
