"""The scored events of two families become one row an event, with the scores of both."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from foreshock.scored.events import ScoredEvents
from foreshock.scored.join_spark import joined
from support.scored_files import scored_files


def families(tmp_path: Path) -> tuple[ScoredEvents, ScoredEvents]:
    """Two families: windows judge events 1 and 2, and gaps judge events 0, 1 and 2.

    The event runs differ between the families.
    """
    windows = [
        {
            "event_id": f"event-{number}",
            "event_time": number,
            "block_id": 5,
            "event_run": 100 + number,
            "score__pca": float(number),
            "errors_by_feature": [1.0, 2.0],
        }
        for number in (1, 2)
    ]
    gaps = [
        {
            "event_id": f"event-{number}",
            "event_time": number,
            "block_id": -1,
            "event_run": 200 + number,
            "score__gap": 10.0 + number,
        }
        for number in (0, 1, 2)
    ]
    return (
        scored_files(tmp_path / "windows", windows, ("pca",), 2),
        scored_files(tmp_path / "gaps", gaps, ("gap",), 2),
    )


def rows(scored: ScoredEvents) -> pd.DataFrame:
    whole = pd.concat([pd.read_parquet(file) for file in scored.files])
    return whole.sort_values("event_time").reset_index(drop=True)


def test_an_event_is_one_row_with_the_scores_of_both(spark: Any, tmp_path: Path) -> None:
    windows, gaps = families(tmp_path)
    found = joined(spark, windows, gaps, ("pca", "gap"), tmp_path / "joined")
    table = rows(found)
    assert found.model == "pca" and table["event_id"].tolist() == ["event-0", "event-1", "event-2"]
    assert table["score__gap"].tolist() == [10.0, 11.0, 12.0]
    assert table["score__pca"].isna().tolist() == [True, False, False]
    # Where windows know the event, its place is theirs.
    assert table["block_id"].tolist() == [-1, 5, 5]
    assert table["event_run"].tolist() == [200, 101, 102]
    assert [None if v is None else v.tolist() for v in table["errors_by_feature"]] == [
        None,
        [1.0, 2.0],
        [1.0, 2.0],
    ]


def test_the_attribution_is_that_of_the_runs_model(spark: Any, tmp_path: Path) -> None:
    windows, gaps = families(tmp_path)
    found = joined(spark, windows, gaps, ("gap", "pca"), tmp_path / "joined")
    assert rows(found)["errors_by_feature"].isna().all()


def test_every_detector_is_of_one_family(spark: Any, tmp_path: Path) -> None:
    windows, gaps = families(tmp_path)
    with pytest.raises(ValueError, match="gap"):
        joined(spark, windows, gaps, ("pca", "zscore"), tmp_path / "joined")
