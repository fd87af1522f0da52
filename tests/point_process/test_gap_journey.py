"""gap through whole runs: as the model, beside windows, in an ensemble, out of fold, day by day."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from acceptance import tools
from foreshock.point_process.gap import LEAST_GAPS
from support.relations import relation

RunJob = Callable[..., int]
DAY = 86_400_000_000


def source(folder: Path, *, n: int = 6000, entities: int = 40, days: int = 20) -> pd.DataFrame:
    """A table of events with ties in time, and entities of one or few events, as a frame."""
    table = tools.event_rows(n, entities, 3, days=days)
    once = tools.event_rows(30, 10**6, 4, days=days)
    frame = pd.concat([table.to_pandas(), once.to_pandas().assign(id=lambda f: "once" + f["id"])])
    few = tools.event_rows(40, 14, 5, days=days).to_pandas()
    few = few.assign(id="few" + few["id"], entity="few-" + few["entity"])
    frame = pd.concat([frame, few])
    frame["group"] = np.where(frame["entity"].str[-1] < "5", "low", "high")
    tools.write(pa.Table.from_pandas(frame, preserve_index=False), folder, files=3, shuffle=1)
    return frame


def conf(folder: Path, **changes: Any) -> dict[str, Any]:
    named = {"model__name": "gap", "events__group": "group", "source__path": str(folder)}
    return tools.conf(**{**named, **changes})


def brute_force(frame: pd.DataFrame) -> pd.DataFrame:
    """Every event's gap and −log p, from comparing it with each gap of train."""
    ordered = frame.sort_values(["entity", "time", "tie", "id"]).reset_index(drop=True)
    micros = ordered["time"].dt.tz_convert("UTC").astype("int64")
    if micros.iloc[0] > 10**17:
        micros //= 1000
    ordered["gap"] = micros.groupby(ordered["entity"]).diff()
    ordered["hour"] = (micros // 3_600_000_000 + 72) % 168
    first_day = int(pd.Timestamp("2024-01-01", tz="UTC").timestamp()) * 1_000_000
    ordered["split"] = pd.cut(
        (micros - first_day) / DAY,
        [-1, 10, 15, 20],
        right=False,
        labels=["train", "calibration", "test"],
    )
    train = ordered[(ordered["split"] == "train") & ordered["gap"].notna()]
    scores = []
    for row in ordered.itertuples():
        if np.isnan(row.gap):
            scores.append(np.nan)
            continue
        of_group = train[train["group"] == row.group]
        of_hour = of_group[of_group["hour"] == row.hour]
        known = next((part for part in (of_hour, of_group) if len(part) >= LEAST_GAPS), train)[
            "gap"
        ]
        tail = 1 + min((known <= row.gap).sum(), (known >= row.gap).sum())
        scores.append(-np.log(min(1.0, 2 * tail / (len(known) + 1))))
    return ordered.assign(wanted=scores)


def scores(run: Path, detector: str | None = None) -> pd.DataFrame:
    table = "scores" if detector is None else "detector_scores"
    where = "" if detector is None else f"where detector = '{detector}'"
    return relation(
        f"select * from read_parquet('{run}/tables/{table}/**/*.parquet', hive_partitioning = "
        "true) "
        f"{where} order by event_id"
    ).df()


@pytest.mark.slow
def test_every_event_is_scored_as_by_brute_force(tmp_path: Path, run_job: RunJob) -> None:
    frame = source(tmp_path / "source")
    assert run_job("pipeline", conf(tmp_path / "source"), tmp_path / "run") == 0
    found = scores(tmp_path / "run")
    wanted = brute_force(frame)
    wanted = wanted[wanted["split"] != "train"].sort_values("id")
    assert found["event_id"].tolist() == wanted["id"].tolist()
    np.testing.assert_allclose(found["score"].to_numpy(float), wanted["wanted"], rtol=1e-6)
    first = found[found["score"].isna()]
    assert set(first["reason"]) == {"first_event"} and len(first) > 10
    judged = found[found["score"].notna()].merge(wanted, left_on="event_id", right_on="id")
    assert set(judged["top_feature"]) == {"gap"} and set(judged["top_step"]) == {0}
    np.testing.assert_allclose(judged["top_value"], judged["gap"] / 1e6, rtol=1e-6)
    assert (judged["top_expected"] > 0).all()


@pytest.mark.slow
def test_it_takes_part_beside_windows_in_an_ensemble_and_out_of_fold(
    tmp_path: Path, run_job: RunJob
) -> None:
    source(tmp_path / "source")
    changes: dict[str, Any] = {
        "model__name": "ensemble",
        "ensemble__of": ["pca", "gap"],
        "calibration__method": "out_of_fold",
        "calibration__folds": 3,
        "scoring__smooth": {"mean": 2},
    }
    settings = conf(tmp_path / "source", **changes)
    settings["detectors"] = ["gap", "pca"]
    settings["split"].pop("calibration")
    assert run_job("pipeline", settings, tmp_path / "run") == 0
    gap, pca, model = (scores(tmp_path / "run", name) for name in ("gap", "pca", None))
    assert len(gap) == len(pca) == len(model)
    both = gap["score"].notna() & pca["score"].notna()
    assert both.sum() < gap["score"].notna().sum(), "gap judges events that no window holds"
    assert (model["score"].notna().to_numpy() == both.to_numpy()).all()
    rows = relation(
        "select detector, split, n from "
        f"read_parquet('{tmp_path}/run/tables/error_distribution/*.parquet')"
    ).df()
    counted = rows.groupby(["detector", "split"])["n"].sum()
    assert counted["gap", "out_of_fold"] == counted["gap", "train"] > 0


@pytest.mark.slow
def test_day_by_day_equals_one_run(tmp_path: Path, run_job: RunJob) -> None:
    """Entities without an event on a day are carried on to the next."""
    source(tmp_path / "source", n=2500, entities=120)
    whole = conf(tmp_path / "source", split__test=["2024-01-16", "2024-01-19"])
    assert run_job("pipeline", whole, tmp_path / "whole") == 0
    base = conf(tmp_path / "source", split__test=["2024-01-16", "2024-01-17"])
    base["events"]["where"] = "time < '2024-01-16'"
    base["split"]["test"] = ["2024-01-15", "2024-01-16"]
    base["split"]["calibration"] = ["2024-01-11", "2024-01-15"]
    assert run_job("pipeline", base, tmp_path / "day15") == 0
    found = []
    for day in (16, 17, 18):
        daily = conf(tmp_path / "source")
        daily["events"]["where"] = f"time >= '2024-01-{day}' and time < '2024-01-{day + 1}'"
        daily["split"] = {"test": [f"2024-01-{day}", f"2024-01-{day + 1}"]}
        daily["model"]["from"] = str(tmp_path / f"day{day - 1}")
        assert run_job("pipeline", daily, tmp_path / f"day{day}") == 0
        found.append(scores(tmp_path / f"day{day}"))
    wanted = scores(tmp_path / "whole").query("split == 'test'")
    chained = pd.concat(found).sort_values("event_id")
    assert chained["event_id"].tolist() == wanted["event_id"].tolist()
    np.testing.assert_allclose(chained["score"].to_numpy(float), wanted["score"].to_numpy(float))
    assert chained["reason"].tolist() == wanted["reason"].tolist()


def test_errors_by_feature_are_refused_naming_detector_and_setting(
    tmp_path: Path, run_job: RunJob, capsys: pytest.CaptureFixture[str]
) -> None:
    refused = conf(tmp_path, scoring__errors="standardised")
    assert run_job("pipeline", refused, tmp_path / "run") == 2
    error = capsys.readouterr().err
    assert "scoring.errors" in error and "gap" in error
