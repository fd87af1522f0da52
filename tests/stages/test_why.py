"""What a run says of why.

The tests cover the attribution of each score, exact linear detectors, conformal units, drift
and the verdict.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from acceptance import checks, planted_runs, tools
from foreshock.statistics.arrays import AnyArray
from scipy import stats
from sklearn.decomposition import PCA
from sklearn.linear_model import Ridge

pytestmark = pytest.mark.slow
L = 5
Job = Callable[..., int]


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory, spark: Any) -> Path:
    """A run of pca and ridge_forecast on 4,000 events, by window scores."""
    import extract
    from foreshock.stages.context import Context

    assert extract and spark
    folder = tmp_path_factory.mktemp("why")
    made = tools.conf(scoring__score="window")
    made["source"]["path"] = str(tools.write(tools.event_rows(4000, 5, 17), folder / "s"))
    made |= {
        "model": {"name": "pca"},
        "detectors": ["ridge_forecast"],
        "scaling": {"transform": "asinh"},
    }
    made["thresholds"] = {
        "min_count": 100,
        "use": "conformal",
        "rules": [
            {"name": "quantile", "level": 0.99},
            {"name": "conformal", "level": 0.4},
            {"name": "conformal", "level": 0.05, "control": "risk"},
        ],
    }
    import pipeline
    import yaml

    (folder / "conf.yaml").write_text(yaml.safe_dump(made))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Context, "close", lambda self: None)
        assert (
            pipeline.main(["--conf", str(folder / "conf.yaml"), "--run-dir", str(folder / "run")])
            == 0
        )
    return folder / "run"


def windows(run_dir: Path, split: str, *, fitted: bool = False) -> AnyArray:
    """All windows (N, L, F) of a dataset. fitted: only those that models learn from."""
    found = [
        np.lib.stride_tricks.sliding_window_view(b.x, L, axis=0).transpose(0, 2, 1)
        for b in checks.read_plain(run_dir / "dataset" / split)
        if not (fitted and b.validation)
    ]
    stacked: AnyArray = np.concatenate(found).astype(np.float64)
    return stacked


def test_linear_detectors_are_exact_on_all_windows(run_dir: Path) -> None:
    from foreshock.windows.models.bundle import load

    models = load(run_dir / "model").models
    x = windows(run_dir, "train", fitted=True)
    flat = x.reshape(len(x), -1)
    ours: Any = models["pca"]
    theirs = PCA(len(ours.components), svd_solver="full").fit(flat)
    rebuilt = theirs.inverse_transform(theirs.transform(flat)).reshape(x.shape)
    assert np.abs(ours.reconstruct(x.astype(np.float32)) - rebuilt).max() < 1e-5
    assert ours.windows == len(x) and ours.mean == pytest.approx(theirs.mean_, rel=1e-6, abs=1e-9)
    ridge: Any = models["ridge_forecast"]
    inputs, target = x[:, :-1].reshape(len(x), -1), x[:, -1]
    spread = inputs.std(axis=0)
    wanted = Ridge(alpha=1e-3 * len(x)).fit(inputs / spread, target)
    assert ridge.coefficients == pytest.approx(wanted.coef_.T / spread[:, None], rel=1e-6, abs=1e-9)


def test_each_score_is_split_by_feature_in_original_units(run_dir: Path) -> None:
    rows = tools.query(
        "SELECT s.event_id, s.score, s.feature_errors.a, s.feature_errors.b, s.top_feature, "
        "s.top_step, s.top_value, "
        f"s.top_expected FROM read_parquet('{run_dir}/tables/scores/**/*.parquet') s"
    )
    table = tools.event_rows(4000, 5, 17)
    value = {
        i: {"a": a, "b": b}
        for i, a, b in zip(*(table[c].to_pylist() for c in ("id", "a", "b")), strict=True)
    }
    judged = [r for r in rows if r[1] is not None]
    assert len(judged) > 1500
    for event, _, a, b, top, step, there, expected in judged:
        assert (
            a + b == pytest.approx(1)
            and top == ("a" if a >= b else "b")
            and -L < step <= 0
            and expected is not None
        )
        if step == 0:
            assert there == pytest.approx(value[event][top], rel=1e-4, abs=1e-5)
    assert all(r[2] is None and r[4] is None and r[7] is None for r in rows if r[1] is None)


def test_a_corrupted_feature_is_on_top(tmp_path: Path, run_job: Job) -> None:
    table = tools.event_rows(4000, 5, 17)
    b, times = table["b"].to_numpy().copy(), table["time"].to_pylist()
    late = [i for i in range(len(b)) if times[i].day >= 17]
    hit = np.random.default_rng(1).choice(late, 30, replace=False)
    b[hit] += 60.0
    made = tools.conf(scoring__score="last")
    made["source"]["path"] = str(
        tools.write(table.set_column(table.column_names.index("b"), "b", [b]), tmp_path / "s")
    )
    made |= {"model": {"name": "ridge_forecast"}, "detectors": []}
    assert run_job("pipeline", made, tmp_path / "run") == 0
    ids = ", ".join(f"'id{i:07d}'" for i in hit)
    found = tools.query(
        "SELECT top_feature, top_value FROM "
        f"read_parquet('{tmp_path}/run/tables/scores/**/*.parquet') "
        f"WHERE event_id IN ({ids}) AND score IS NOT NULL"
    )
    assert len(found) > 20 and sum(r[0] == "b" for r in found) >= 0.9 * len(found)
    assert all(r[1] > 30 for r in found if r[0] == "b")


def test_conformal_flags_the_units_that_benjamini_and_hochberg_reject(run_dir: Path) -> None:
    from foreshock.windows.models.bundle import load

    model = load(run_dir / "model").models["pca"]
    highest: dict[str, list[float]] = {}
    for split in ("calibration", "test"):
        for block in checks.read_plain(run_dir / "dataset" / split):
            views = np.lib.stride_tricks.sliding_window_view(block.x, L, axis=0).transpose(0, 2, 1)
            scores = (
                model.errors(np.ascontiguousarray(views))
                .mean(axis=(1, 2), dtype=np.float64)
                .astype(np.float32)
            )
            ends = np.arange(len(scores)) + L - 1
            highest.setdefault(split, []).extend(
                float(scores[ends // L == u].max()) for u in np.unique(ends // L)
            )
    c, s = np.array(highest["calibration"]), np.array(highest["test"])
    p = (1 + (c[None] >= s[:, None]).sum(axis=1)) / (len(c) + 1)
    rejected = stats.false_discovery_control(p) <= 0.4
    rows = tools.query(
        f"SELECT level, threshold, fallback FROM '{run_dir}/tables/thresholds/*.parquet' WHERE "
        "detector = 'pca' AND rule = "
        "'conformal' AND \"group\" = 'all' AND partition IS NULL ORDER BY level"
    )
    assert [r[0] for r in rows] == [0.05, 0.4]
    assert sorted(s[s > rows[1][1]]) == pytest.approx(sorted(s[rejected]), rel=1e-6)
    assert (rows[1][2] is None) == bool(rejected.any())
    rank = int(np.ceil((len(c) + 1) * 0.95))
    assert rows[0][1] == pytest.approx(np.sort(c)[rank - 1], rel=1e-6)


def test_drift_and_verdict_are_written(run_dir: Path) -> None:
    rows = tools.query(
        "SELECT from_split, to_split, feature, wasserstein, verdict FROM "
        f"'{run_dir}/tables/drift/*.parquet' "
        "WHERE \"group\" = 'all'"
    )
    pairs = (
        ("train", "validation"),
        ("train", "calibration"),
        ("train", "test"),
        ("validation", "calibration"),
        ("validation", "test"),
        ("calibration", "test"),
    )
    assert {r[:3] for r in rows} == {(a, b, f) for a, b in pairs for f in (None, "a", "b")}
    assert {r[4] for r in rows} == {"stable"} and all(0 <= r[3] < 0.5 for r in rows)
    found = tools.summary(run_dir)["verdict"]
    assert found["causes"] == ["no_signal"] and "no signal" in found["text"]
    assert "What moved between the splits" in (run_dir / "report.html").read_text()


def test_an_ensemble_of_smoothed_scores_is_scored_like_a_model(
    tmp_path: Path, run_job: Job
) -> None:
    made = tools.conf(scoring__score="mean")
    made["source"]["path"] = str(tools.write(tools.event_rows(4000, 5, 17), tmp_path / "s"))
    made["scoring"] |= {"smooth": {"mean": 3}}
    made |= {
        "model": {"name": "ensemble"},
        "detectors": [],
        "ensemble": {"of": ["pca", "zscore"], "quantile": 0.9},
    }
    made["thresholds"] = {"min_count": 100}
    assert run_job("pipeline", made, tmp_path / "run") == 0
    rows = tools.query(
        "SELECT s.split, s.score, p.score, z.score "
        f"FROM read_parquet('{tmp_path}/run/tables/scores/**/*.parquet') s\n"
        f"        JOIN read_parquet('{tmp_path}/run/tables/detector_scores/**/*.parquet') p "
        "ON p.event_id = s.event_id AND p.detector = 'pca'\n"
        f"        JOIN read_parquet('{tmp_path}/run/tables/detector_scores/**/*.parquet') z "
        "ON z.event_id = s.event_id AND z.detector = 'zscore'\n"
        "        WHERE s.score IS NOT NULL"
    )
    calibration = np.array([r[1:] for r in rows if r[0] == "calibration"])
    scale = np.quantile(calibration[:, 1:], 0.9, axis=0, method="inverted_cdf")
    scores = np.array([r[1:] for r in rows])
    assert scores[:, 0] == pytest.approx((scores[:, 1:] / scale).mean(axis=1), rel=1e-5)
    threshold = tools.query(
        f"SELECT threshold FROM '{tmp_path}/run/tables/thresholds/*.parquet' WHERE detector = "
        "'ensemble' AND partition "
        "IS NULL AND \"group\" = 'all'"
    )
    assert threshold == [(float(np.quantile(calibration[:, 0], 0.99, method="inverted_cdf")),)]
    assert tools.reconciles(tools.summary(tmp_path / "run")["counts"])
    assert run_job("score", made, tmp_path / "run", "--partitions", "2024-01-18") == 2


@pytest.mark.parametrize("errors", ["standardised", "mahalanobis"])
def test_errors_made_one_by_their_calibration(errors: str, tmp_path: Path, run_job: Job) -> None:
    made = tools.conf(scoring__score="last")
    made["source"]["path"] = str(tools.write(tools.event_rows(4000, 5, 17), tmp_path / "s"))
    made["scoring"] |= {"errors": errors}
    made |= {"model": {"name": "ridge_forecast"}, "detectors": ["zscore"]}
    assert run_job("pipeline", made, tmp_path / "run") == 0
    rows = tools.query(
        f"SELECT split, score FROM read_parquet('{tmp_path}/run/tables/scores/**/*.parquet') WHERE "
        "score IS NOT NULL"
    )
    assert np.mean([s for split, s in rows if split == "calibration"]) == pytest.approx(
        1, rel=0.05
    )  # 1 is ordinary, by definition
    other = made | {"model": {"name": "ridge_forecast", "from": str(tmp_path / "run")}}
    assert run_job("pipeline", other, tmp_path / "daily") == 0
    again = tools.query(
        f"SELECT split, score FROM read_parquet('{tmp_path}/daily/tables/scores/**/*.parquet') "
        "WHERE score IS NOT NULL"
    )
    assert sorted(s for split, s in again if split == "test") == pytest.approx(
        sorted(s for split, s in rows if split == "test"), rel=1e-6
    )


def test_a_planted_cause_is_named_by_the_whole_job(tmp_path: Path, run_job: Job) -> None:
    def run(made: dict[str, Any], target: Path) -> None:
        assert run_job("pipeline", made, target) == 0

    planted_runs.planted_runs(
        tmp_path, run, seeds=(1,), causes=("healthy", "drifted", "contaminated_training")
    )
