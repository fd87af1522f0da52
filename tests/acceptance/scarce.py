"""Acceptance of out-of-fold thresholds.

There are few training rows, a model with many parameters, and fresh rows to judge.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from acceptance import tools

TRAIN, FRESH, SERIES, LENGTH = 400, 4000, 8, 10


def series(seed: int) -> pa.Table:
    """Eight correlated autoregressive series (0.3 to 0.7).

    There is a row a minute. The training rows come first.
    """
    rng = np.random.default_rng([seed, 8])
    n = TRAIN + FRESH
    mixing = np.eye(SERIES) + 0.5 * rng.normal(size=(SERIES, SERIES)) / np.sqrt(SERIES)
    shocks = rng.normal(size=(n, SERIES)) @ mixing
    x = np.zeros((n, SERIES))
    for t in range(1, n):
        x[t] = np.linspace(0.3, 0.7, SERIES) * x[t - 1] + shocks[t]
    start = np.datetime64("2024-01-01T00:00:00", "us").astype(np.int64)
    times = pa.array(start + np.arange(n) * 60_000_000, pa.timestamp("us", tz="UTC"))
    return pa.table({"time": times, **{f"x{i}": x[:, i] for i in range(SERIES)}})


def conf(path: Path, method: str) -> dict[str, Any]:
    edge = str(np.datetime64("2024-01-01T00:00:00") + np.timedelta64(TRAIN, "m"))
    return {
        "run": {"name": "scarce", "seed": 7},
        "source": {"kind": "files", "path": str(path)},
        "events": {
            "entity": "'one'",
            "time": "time",
            "features": {f"x{i}": f"x{i}" for i in range(SERIES)},
        },
        "split": {"train": ["2024-01-01", edge], "test": [edge, "2024-01-05"]},
        "windows": {"length": LENGTH},
        "model": {"name": "pca"},
        "detectors": [],
        "calibration": {"method": method},
        "thresholds": {"min_count": 100},
    }


def out_of_fold(
    work: Path, run: Callable[[dict[str, Any], Path], Any], *, seeds: int
) -> dict[str, Any]:
    """Shares of fresh rows flagged at level 0.99.

    Out of fold, the median share is at most 3 %. In-sample, it is at least twice as high.
    The verdict names over-fitting in at least nine of ten out-of-fold runs.
    """
    shares: dict[str, list[float]] = {"out_of_fold": [], "train": []}
    said = 0
    for seed in range(seeds):
        path = tools.write(series(seed), work / f"s{seed}")
        for method, found in shares.items():
            target = work / f"{method}-{seed}"
            run(conf(path, method), target)
            summary = tools.summary(target)
            found.append(
                summary["flagged"]["test"]["flagged"] / summary["flagged"]["test"]["judged"]
            )
            said += method == "out_of_fold" and "over_fitted" in summary["verdict"]["causes"]
    medians = {method: float(np.median(found)) for method, found in shares.items()}
    figures = {
        "seeds": seeds,
        "training rows": TRAIN,
        "fresh rows flagged, out of fold, median": medians["out_of_fold"],
        "fresh rows flagged, in-sample, median": medians["train"],
        "runs whose verdict names over-fitting": said,
    }
    assert medians["out_of_fold"] <= 0.03 and medians["train"] >= 2 * medians["out_of_fold"], (
        figures
    )
    assert said >= 0.9 * seeds, figures
    return figures
