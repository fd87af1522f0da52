"""Thresholds from training events that the model did not see."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from acceptance import checks, scarce, tools

Job = Callable[..., int]


@pytest.mark.slow
def test_scarce_training_rows(tmp_path: Path, run_job: Job) -> None:
    def run(made: dict[str, Any], target: Path) -> None:
        assert run_job("pipeline", made, target) == 0

    scarce.out_of_fold(tmp_path, run, seeds=2)


@pytest.mark.slow
def test_each_fold_is_scored_by_models_that_saw_none_of_it(tmp_path: Path, run_job: Job) -> None:
    made = tools.conf(scoring__score="last")
    made["source"]["path"] = str(tools.write(tools.event_rows(4000, 5, 17), tmp_path / "s"))
    made |= {"model": {"name": "pca"}, "detectors": ["zscore"], "calibration": {"method": "out_of_fold", "folds": 3}}
    del made["split"]["calibration"]
    assert run_job("pipeline", made, tmp_path / "run") == 0
    from foreshock.models.pca import PCA
    from foreshock.training.bundle import load

    folds = load(tmp_path / "run" / "model").info["folds"]
    assert len(folds) == 3
    x, first, last = [], [], []
    for block in checks.read_plain(tmp_path / "run" / "dataset" / "train"):
        if not block.validation:
            x.append(np.lib.stride_tricks.sliding_window_view(block.x, 5, axis=0).transpose(0, 2, 1))
            first.append(block.event_time[: len(block.x) - 4])
            last.append(block.event_time[4:])
    windows, begins, ends = np.concatenate(x), np.concatenate(first), np.concatenate(last)
    scores = []
    for fold, (start, end) in enumerate(folds):
        apart = (ends < start) | (begins >= end)
        wanted = PCA.fit(windows[apart], np.ones((int(apart.sum()), 5), np.float32))
        found: Any = load(tmp_path / "run" / "model" / f"fold-{fold}").models["pca"]
        own = windows[(ends >= start) & (ends < end)]
        assert 0.2 < len(own) / len(windows) < 0.5
        assert found.windows == apart.sum() and np.abs(found.reconstruct(own) - wanted.reconstruct(own)).max() < 1e-4
        scores.append(wanted.errors(own)[:, -1].mean(axis=-1))
    rows = tools.query(f"SELECT split, sum(n), max(p99) FROM '{tmp_path}/run/tables/error_distribution/*.parquet' WHERE detector = 'pca' "
                       "GROUP BY split")
    n = {r[0]: r[1] for r in rows}
    assert set(n) == {"train", "out_of_fold", "test"} and n["out_of_fold"] == n["train"] >= len(windows)
    value, on = tools.query(f"SELECT threshold, fitted_on FROM '{tmp_path}/run/tables/thresholds/*.parquet' WHERE detector = 'pca' AND "
                            "partition IS NULL AND \"group\" = 'all'")[0]
    assert on == "out_of_fold" and value == pytest.approx(np.quantile(np.concatenate(scores), 0.99), rel=0.15)
    assert tools.reconciles(tools.summary(tmp_path / "run")["counts"])
    assert run_job("pipeline", made, tmp_path / "run", "--set", "model.name=lstm_autoencoder") == 2
