"""Thresholds from training events that the model did not see."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from acceptance import checks, scarce, tools
from pyspark.sql import SparkSession

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
    made |= {
        "model": {"name": "pca"},
        "detectors": ["zscore"],
        "calibration": {"method": "out_of_fold", "folds": 3},
    }
    del made["split"]["calibration"]
    assert run_job("pipeline", made, tmp_path / "run") == 0
    from foreshock.windows.models.bundle import load
    from foreshock.windows.models.pca import PCA

    folds = load(tmp_path / "run" / "model").folds
    assert folds is not None
    assert len(folds) == 3
    x, first, last = [], [], []
    for block in checks.read_plain(tmp_path / "run" / "dataset" / "train"):
        if not block.validation:
            x.append(
                np.lib.stride_tricks.sliding_window_view(block.x, 5, axis=0).transpose(0, 2, 1)
            )
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
        assert (
            found.windows == apart.sum()
            and np.abs(found.reconstruct(own) - wanted.reconstruct(own)).max() < 1e-4
        )
        scores.append(wanted.errors(own)[:, -1].mean(axis=-1))
    rows = tools.query(
        f"SELECT split, sum(n), max(p99) FROM '{tmp_path}/run/tables/error_distribution/*.parquet' "
        "WHERE detector = 'pca' "
        "GROUP BY split"
    )
    n = {r[0]: r[1] for r in rows}
    assert set(n) == {"train", "out_of_fold", "test"} and n["out_of_fold"] == n["train"] >= len(
        windows
    )
    value, on = tools.query(
        f"SELECT threshold, fitted_on FROM '{tmp_path}/run/tables/thresholds/*.parquet' WHERE "
        "detector = 'pca' AND "
        "partition IS NULL AND \"group\" = 'all'"
    )[0]
    assert on == "out_of_fold" and value == pytest.approx(
        np.quantile(np.concatenate(scores), 0.99), rel=0.15
    )
    assert tools.reconciles(tools.summary(tmp_path / "run")["counts"])


@pytest.mark.slow
def test_the_network_of_a_fold_is_trained_without_it(
    tmp_path: Path, run_job: Job, spark: SparkSession
) -> None:
    made = tools.conf(scoring__score="last")
    made["source"]["path"] = str(tools.write(tools.event_rows(3000, 5, 17), tmp_path / "s"))
    made |= {
        "model": {"name": "lstm_autoencoder", "units": [4], "dense": 2},
        "calibration": {"method": "out_of_fold", "folds": 2},
        "training": {"epochs": 2, "batch": 64},
    }
    del made["split"]["calibration"]
    run = tmp_path / "run"
    assert run_job("pipeline", made, run) == 0
    from foreshock.training.checkpoint import read
    from foreshock.windows.dataset.held_out_spark import write_without
    from foreshock.windows.dataset.manifest import read_manifest
    from foreshock.windows.models.bundle import load

    whole = load(run / "model")
    networks: list[Any] = [whole.models["lstm_autoencoder"]]
    assert whole.folds is not None
    for fold, span in enumerate(whole.folds):
        folder = tmp_path / f"without-{fold}"
        write_without(
            spark, run / "dataset" / "train", read_manifest(run / "dataset" / "train"), span, folder
        )
        wanted: list[Any] = []
        found: list[Any] = []
        for source, into in ((run / "dataset" / "train", wanted), (folder, found)):
            for block in checks.read_plain(source):
                for at in range(block.n_windows):
                    times = block.event_time[at : at + 5]
                    if (
                        block.validation
                        or not ((times >= span[0]) & (times < span[1])).any()
                        or source == folder
                    ):
                        into.append(
                            (
                                block.entity,
                                block.validation,
                                times.tolist(),
                                block.x[at : at + 5].tolist(),
                            )
                        )
        assert sorted(found) == sorted(wanted) and len(found) > 500
        manifest = read_manifest(folder)
        assert [r.block_id for r in checks.read_plain(folder)] == list(
            range(manifest.total("blocks"))
        )
        newest = read(max((run / "checkpoints" / f"fold-{fold}").glob("checkpoint-*.npz")))
        assert [record.windows for record in newest.position.epochs] == [
            sum(not w[1] for w in wanted)
        ] * 2
        networks.append(load(run / "model" / f"fold-{fold}").models["lstm_autoencoder"])
    x = np.random.default_rng(1).normal(size=(8, 5, 2)).astype(np.float32)
    outputs = [n.reconstruct(x) for n in networks]
    assert all(
        np.abs(a - b).max() > 1e-5
        for a, b in ((outputs[0], outputs[1]), (outputs[1], outputs[2]), (outputs[0], outputs[2]))
    )
    kinds = {
        r[0] for r in tools.query(f"SELECT split FROM '{run}/tables/error_distribution/*.parquet'")
    }
    assert kinds == {"train", "out_of_fold", "test"}
    assert tools.reconciles(tools.summary(run)["counts"]) and not (run / ".staging").exists()
    weights = (run / "model" / "fold-1" / "lstm_autoencoder.npz").read_bytes()
    (run / ".stages" / "train.json").unlink()  # as if killed just before it was published
    assert run_job("train", made, run) == 0
    assert (run / "model" / "fold-1" / "lstm_autoencoder.npz").read_bytes() == weights
