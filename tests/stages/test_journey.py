"""Whole journeys on small tables through the real jobs, their tables read by DuckDB."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from acceptance import checks, tools
from foreshock.settings.load import build_settings

Job = Callable[..., int]


@pytest.fixture(scope="module")
def table() -> pa.Table:
    return tools.event_rows(4000, 5, 17)


def source(table: pa.Table, path: Path, **changes: Any) -> dict[str, Any]:
    made = tools.conf(**changes)
    made["source"]["path"] = str(tools.write(table, path))
    return made


def brute_scores(run_dir: Path, kind: str, length: int) -> dict[str, float]:
    """Scores of calibration and test events by a plain loop.

    The loop goes over the windows of the datasets and the errors of the bundle.
    """
    from foreshock.windows.models.bundle import load

    model = next(iter(load(run_dir / "model").models.values()))
    own: dict[str, list[float]] = {}
    for split in ("calibration", "test"):
        for block in checks.read_plain(run_dir / "dataset" / split):
            views = np.lib.stride_tricks.sliding_window_view(block.x, length, axis=0).transpose(
                0, 2, 1
            )
            errors = model.errors(np.ascontiguousarray(views)).mean(axis=-1)
            for w, error in enumerate(errors):
                ids = [str(e) for e in block.event_id[w : w + length]]
                if kind in ("window", "last"):
                    own[ids[-1]] = [float(error.mean()) if kind == "window" else float(error[-1])]
                    continue
                for step, event in enumerate(ids):
                    own.setdefault(event, []).append(
                        float(error.mean()) if kind == "cover" else float(error[step])
                    )
    hows: dict[str, Callable[..., Any]] = {
        "window": np.mean,
        "last": np.mean,
        "cover": np.mean,
        "mean": np.mean,
        "median": np.median,
        "max": np.max,
        "min": np.min,
    }
    how = hows[kind]
    return {event: float(how(values)) for event, values in own.items()}


SLOW_KINDS = [
    pytest.param(kind, marks=pytest.mark.slow)
    for kind in ("window", "median", "max", "last", "mean")
]


@pytest.mark.parametrize("kind", ["cover", *SLOW_KINDS])
def test_scores_equal_brute_force(kind: str, table: pa.Table, tmp_path: Path, run_job: Job) -> None:
    made = source(table, tmp_path / "s", scoring__score=kind)
    assert run_job("pipeline", made, tmp_path / "run") == 0
    found = tools.scores(tmp_path / "run")
    wanted = brute_scores(tmp_path / "run", kind, 5)
    judged = {e: r[2] for e, r in found.items() if r[2] is not None}
    assert judged.keys() == {e for e in wanted if e in found}
    assert max(abs(judged[e] - wanted[e]) / max(1, wanted[e]) for e in judged) < 1e-5
    for split, _, score, threshold, flagged, reason in found.values():
        assert (score is None) == (reason is not None), reason
        assert flagged == (None if score is None else score > threshold), split
    counts = tools.summary(tmp_path / "run")["counts"]
    assert tools.reconciles(counts), counts
    assert counts["rows_read"] == 4000


@pytest.mark.slow
def test_stride_and_short_sequences_say_why(tmp_path: Path, run_job: Job) -> None:
    table = tools.event_rows(3000, 400, 3)
    made = source(table, tmp_path / "s", windows__stride=2, windows__block=64)
    assert (
        run_job(
            "pipeline",
            made,
            tmp_path / "run",
            "--set",
            "events.label=null",
            "--set",
            "events.kind=null",
        )
        == 0
    )
    summary = tools.summary(tmp_path / "run")
    assert tools.reconciles(summary["counts"])
    assert set(summary["counts"]["unjudged"]) == {"warm_up", "stride", "short_sequence"}
    assert summary["metrics"] == []
    rows = tools.query(
        f"SELECT sum(n), sum(n_unjudged) FROM '{tmp_path}/run/tables/error_distribution/*.parquet' "
        "WHERE split <> 'train'"
    )
    assert rows[0][0] == summary["counts"]["judged"]
    assert rows[0][1] == sum(summary["counts"]["unjudged"].values())


@pytest.mark.slow
def test_groups_where_and_calibrate_where(table: pa.Table, tmp_path: Path, run_job: Job) -> None:
    made = source(table, tmp_path / "s")
    made["events"] |= {
        "group": "case when entity = 'e0' then 'zero' when entity = 'e1' then 'one' else 'more' "
        "end",
        "where": "tie < 2",
        "train_where": "label = 0",
        "calibrate_where": "label = 0",
    }
    made["thresholds"] = {"min_count": 150}
    assert run_job("pipeline", made, tmp_path / "run") == 0
    counts = tools.summary(tmp_path / "run")["counts"]
    filtered = sum(t >= 2 for t in table["tie"].to_pylist())
    assert counts["filtered"] == filtered and tools.reconciles(counts)
    thresholds = {
        r[0]: r[1:]
        for r in tools.query(
            'SELECT "group", n, threshold, fallback FROM '
            f"'{tmp_path}/run/tables/thresholds/*.parquet' WHERE partition IS NULL"
        )
    }
    assert set(thresholds) == {"all", "zero", "one", "more"}
    chosen = tools.query(
        f"SELECT \"group\", score FROM read_parquet('{tmp_path}/run/tables/scores/**/*.parquet') "
        "WHERE split = "
        "'calibration' AND label = 0 AND score IS NOT NULL"
    )
    for group in ("zero", "one", "more"):
        own = np.array([s for g, s in chosen if g == group])
        assert thresholds[group][0] == len(own)
        if len(own) >= 150:
            assert thresholds[group][1] == float(np.quantile(own, 0.99, method="inverted_cdf"))
            assert thresholds[group][2] is None
        else:
            assert thresholds[group][1] == thresholds["all"][1] and thresholds[group][2]
    judged = tools.query(
        'SELECT DISTINCT "group", threshold FROM '
        f"read_parquet('{tmp_path}/run/tables/scores/**/*.parquet') WHERE "
        "score IS NOT NULL"
    )
    assert dict(judged) == {g: t[1] for g, t in thresholds.items() if g != "all"}


@pytest.mark.slow
def test_rules_side_by_side(
    table: pa.Table, tmp_path: Path, run_job: Job, capsys: pytest.CaptureFixture[str]
) -> None:
    made = source(table, tmp_path / "s")
    made["model"] = {"name": "pca"}
    made["detectors"] = ["kmeans", "last_value", "zscore"]
    made["events"]["group"] = "case when entity = 'e0' then 'zero' else 'more' end"
    made["thresholds"] = {
        "min_count": 20,
        "rules": [
            {"name": "quantile", "level": 0.9},
            {"name": "pot", "risk": 0.002},
            {"name": "fixed", "value": 0},
        ],
        "use": "fixed",
    }
    assert run_job("pipeline", made, tmp_path / "run") == 0
    rows = {
        (r[0], r[1]): r[2:]
        for r in tools.query(
            'SELECT rule, "group", level, threshold, ci_low, ci_high, fallback, fitted_on, '
            "goodness FROM "
            f"'{tmp_path}/run/tables/thresholds/*.parquet' WHERE partition IS NULL AND detector = "
            "'pca'"
        )
    }
    assert set(rows) == {(r, g) for r in ("quantile", "pot") for g in ("all", "zero", "more")} | {
        ("fixed", "all")
    }
    assert rows["fixed", "all"] == (None, 0.0, None, None, None, "fixed", None)
    level, value, low, high, fallback, fitted, goodness = rows["pot", "all"]
    assert (level, fitted) == (0.998, "calibration")
    highest = tools.query(
        "SELECT max(score), quantile_disc(score, 0.99) FROM "
        f"read_parquet('{tmp_path}/run/tables/scores/**/*.parquet') "
        "WHERE split = 'calibration'"
    )[0]
    assert highest[1] * 0.8 < value < highest[0] * 3
    assert fallback is None and low < value < high and 0 < goodness <= 0.5
    assert rows["pot", "zero"][4] is None or rows["pot", "zero"][4].startswith("all: pot: ")
    judged = tools.query(
        "SELECT DISTINCT threshold, is_anomaly FROM "
        f"read_parquet('{tmp_path}/run/tables/scores/**/*.parquet') "
        "WHERE score > 0"
    )
    assert judged == [(0.0, True)]
    assert tools.summary(tmp_path / "run")["rule"] == {"name": "fixed", "level": None}
    assert "threshold    0, fixed, group all" in capsys.readouterr().out
    others = tools.query(
        "SELECT detector, count(score) FROM "
        f" read_parquet('{tmp_path}/run/tables/detector_scores/**/*.parquet') GROUP BY 1"
    )
    assert set(others) == {
        (d, tools.summary(tmp_path / "run")["counts"]["judged"])
        for d in ("kmeans", "last_value", "zscore")
    }
    resolved = yaml.safe_load((tmp_path / "run" / "conf.yaml").read_text())["settings"]
    assert resolved["thresholds"]["rules"][1:] == [
        {"name": "pot", "risk": 0.002, "margin": 1.0},
        {"name": "fixed", "value": 0.0},
    ]
    assert build_settings(resolved).thresholds == build_settings(made).thresholds


@pytest.mark.slow
def test_thresholds_of_the_training_scores(table: pa.Table, tmp_path: Path, run_job: Job) -> None:
    made = source(table, tmp_path / "s")
    made |= {
        "model": {"name": "zscore"},
        "detectors": ["last_value"],
        "calibration": {"method": "train"},
    }
    del made["split"]["calibration"]
    assert run_job("pipeline", made, tmp_path / "run") == 0
    assert tools.reconciles(tools.summary(tmp_path / "run")["counts"])
    tables = f"{tmp_path}/run/tables"
    value, n, on = tools.query(
        f"SELECT threshold, n, fitted_on FROM '{tables}/thresholds/*.parquet' WHERE detector = "
        "'zscore' "
        "AND partition IS NULL"
    )[0]
    train = tools.query(
        f"SELECT sum(n), min(p99), max(p99) FROM '{tables}/error_distribution/*.parquet' WHERE "
        "split = 'train' "
        "AND detector = 'zscore'"
    )[0]
    assert on == "train" and n == train[0] > 1000 and train[1] <= value <= train[2]
    splits = tools.query(
        "SELECT DISTINCT split, threshold FROM "
        f"read_parquet('{tmp_path}/run/tables/scores/**/*.parquet') WHERE score > 0"
    )
    assert splits == [("test", value)]
    assert (
        "fitted on the events the model was trained on"
        in (tmp_path / "run" / "report.html").read_text()
    )


@pytest.mark.slow
def test_a_test_table_of_its_own(table: pa.Table, tmp_path: Path, run_job: Job) -> None:
    made = source(table, tmp_path / "s")
    other = tools.write(tools.event_rows(700, 3, 99, days=5), tmp_path / "t")
    made["split"]["test"] = {"path": str(other)}
    assert run_job("pipeline", made, tmp_path / "run") == 0
    counts = tools.summary(tmp_path / "run")["counts"]
    assert tools.reconciles(counts) and counts["rows_read"] == 4700
    assert counts["outside_splits"] > 0
    tests = [
        r
        for r in tools.query(
            f"SELECT score FROM read_parquet('{tmp_path}/run/tables/scores/**/*.parquet', "
            "hive_partitioning=true) "
            "WHERE split = 'test'"
        )
    ]
    assert len(tests) == 700 and sum(r[0] is None for r in tests) == 3 * 4


@pytest.mark.slow
def test_another_run_scores_with_model_from(
    table: pa.Table, tmp_path: Path, run_job: Job, capsys: pytest.CaptureFixture[str]
) -> None:
    made = source(table, tmp_path / "s")
    made["detectors"] = ["isolation_forest"]
    assert run_job("pipeline", made, tmp_path / "first") == 0
    later = {
        **made,
        "model": {"name": "pca", "from": str(tmp_path / "first")},
        "split": {"test": made["split"]["test"]},
    }
    assert run_job("pipeline", later, tmp_path / "second") == 0
    first, second = tools.scores(tmp_path / "first"), tools.scores(tmp_path / "second")
    assert set(second) == {e for e, r in first.items() if r[0] == "test"}
    for event, row in second.items():
        assert row[2:] == first[event][2:], event
    other = {**later, "windows": {"length": 6}}
    capsys.readouterr()
    assert run_job("pipeline", other, tmp_path / "third") == 3
    assert "length" in capsys.readouterr().err


@pytest.mark.slow
def test_a_few_partitions_are_scored_alone(table: pa.Table, tmp_path: Path, run_job: Job) -> None:
    made = source(table, tmp_path / "s")
    run = tmp_path / "run"
    assert run_job("pipeline", made, run) == 0
    before = tools.scores(run)
    kept = {
        f: f.stat().st_mtime_ns
        for f in (run / "tables" / "scores").rglob("*.parquet")
        if "2024-01-17" not in str(f)
    }
    assert run_job("score", made, run, "--partitions", "2024-01-17") == 0
    assert {f: f.stat().st_mtime_ns for f in kept} == kept
    assert tools.scores(run) == before
    assert run_job("score", made, run, "--partitions", "2031-01-01") == 2
    assert run_job("pipeline", made, run) == 0
    assert tools.scores(run) == before


@pytest.mark.slow
def test_each_job_alone_gives_what_the_pipeline_gives(
    table: pa.Table, tmp_path: Path, run_job: Job, capsys: pytest.CaptureFixture[str]
) -> None:
    made = source(table, tmp_path / "s")
    assert run_job("pipeline", made, tmp_path / "a") == 0
    assert run_job("train", made, tmp_path / "b") == 2
    assert "jobs/prepare.py" in capsys.readouterr().err
    for job in ("extract", "prepare", "train", "score", "report"):
        assert run_job(job, made, tmp_path / "b") == 0, job
    assert tools.scores(tmp_path / "a") == tools.scores(tmp_path / "b")
    assert run_job("pipeline", made, tmp_path / "b") == 0


@pytest.mark.slow
def test_a_new_day_is_added_and_a_gone_one_removed(
    table: pa.Table, tmp_path: Path, run_job: Job
) -> None:
    days = np.array([str(t)[:10] for t in table["time"].to_pylist()])
    made = tools.conf(events__partition="date")
    made["source"]["path"] = str(tmp_path / "s")

    def put(day: str) -> None:
        tools.write(table.filter(pa.array(days == day)), tmp_path / "s" / f"date={day}")

    every = sorted(set(days))
    for day in every[:-1]:
        put(day)
    assert run_job("pipeline", made, tmp_path / "run") == 0
    untouched = {f: f.stat().st_mtime_ns for f in (tmp_path / "run" / "events").rglob("*.parquet")}
    model = (tmp_path / "run" / "model" / "bundle.json").stat().st_mtime_ns
    put(every[-1])
    assert run_job("pipeline", made, tmp_path / "run") == 0
    assert {f: f.stat().st_mtime_ns for f in untouched} == untouched
    assert (tmp_path / "run" / "model" / "bundle.json").stat().st_mtime_ns == model, (
        "train did not change, so nothing is trained"
    )
    assert run_job("pipeline", made, tmp_path / "whole") == 0
    assert tools.scores(tmp_path / "run") == tools.scores(tmp_path / "whole")
    for f in (tmp_path / "s" / f"date={every[-1]}").iterdir():
        f.unlink()
    assert run_job("pipeline", made, tmp_path / "run") == 0
    assert not any(r[1] == every[-1] for r in tools.scores(tmp_path / "run").values())


@pytest.mark.slow
def test_the_tables_open_whole(table: pa.Table, tmp_path: Path, run_job: Job) -> None:
    made = source(table, tmp_path / "s")
    made["detectors"] = ["isolation_forest"]
    assert run_job("pipeline", made, tmp_path / "run") == 0
    for name in (
        "scores",
        "detector_scores",
        "error_distribution",
        "thresholds",
        "metrics",
        "runs",
    ):
        assert pq.read_table(tmp_path / "run" / "tables" / name).num_rows > 0, name
    statuses = tools.query(f"SELECT stage, status FROM '{tmp_path}/run/tables/runs/*.parquet'")
    assert sorted(statuses) == sorted(
        (s, "done") for s in ("extract", "prepare", "train", "score", "report")
    )
    page = (tmp_path / "run" / "report.html").read_text()
    assert "<svg" in page and "http://" not in page.replace("http://www.w3.org", "")
