"""Planted causes through the whole job: each table has a single known fault.

Features have different units and a daily rhythm.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from foreshock.diagnosis import facts as cause_names

from acceptance import tools

FEATURES = tuple(f"x{i}" for i in range(8))
ENTITIES, A_DAY, DAYS, CALIBRATION_FROM, TEST_FROM = 8, 120, 20, 10, 15
CAUSES = (
    cause_names.HEALTHY,
    cause_names.OUT_OF_REACH,
    cause_names.UNDER_FITTED,
    cause_names.OVER_FITTED,
    cause_names.DRIFTED,
    cause_names.CONTAMINATED,
    cause_names.CONTAMINATED_CALIBRATION,
    cause_names.OUT_OF_SUPPORT,
    cause_names.NO_SIGNAL,
)
Run = Callable[[dict[str, Any], Path], Any]


def table(cause: str, seed: int) -> tuple[pa.Table, str]:
    """Events of 20 days, and the name of the feature that drifts if the cause is drift.

    Test has bursts of noise, and earlier splits have them if the cause is contamination.
    The bursts are labelled, unless the cause is a lack of signal: then labels are random.
    """
    rng = np.random.default_rng([seed, 31])
    n = A_DAY * DAYS
    day = np.repeat(np.arange(DAYS), A_DAY)
    hours = np.sort(rng.uniform(0, 24, (ENTITIES, DAYS, A_DAY)), axis=-1).reshape(ENTITIES, n)
    factors = np.zeros((ENTITIES, n, 3))
    shocks = rng.standard_normal(factors.shape) * 0.5
    for t in range(1, n):
        factors[:, t] = 0.85 * factors[:, t - 1] + shocks[:, t]
    factors[..., 0] += 0.8 * np.sin(2 * np.pi * hours / 24)
    mixing = rng.standard_normal((3, len(FEATURES)))
    x = factors @ (mixing / np.linalg.norm(mixing, axis=0)) + 0.4 * rng.standard_normal(
        (ENTITIES, n, len(FEATURES))
    )
    hit = np.zeros((ENTITIES, n), bool)
    first = {
        cause_names.CONTAMINATED: 0,
        cause_names.CONTAMINATED_CALIBRATION: CALIBRATION_FROM,
    }.get(cause, TEST_FROM) * A_DAY
    for e in range(ENTITIES):
        for start in rng.integers(first, n - 6, max(3, (n - first) * 3 // 500)):
            hit[e, start : start + 5] = True
    x[hit] += 3.0 * rng.standard_normal((int(hit.sum()), len(FEATURES)))
    label = hit.astype(np.int8)
    moved = int(rng.integers(len(FEATURES)))
    if cause == cause_names.DRIFTED:
        x[:, day >= TEST_FROM + 2, moved] += 1.5
    if cause == cause_names.NO_SIGNAL:
        label = (rng.random(hit.shape) < 0.03).astype(np.int8)
    x = x * 10.0 ** rng.integers(-2, 5, len(FEATURES)) + rng.normal(
        0, 50, len(FEATURES)
    )  # units of their own
    start = np.datetime64("2024-03-01T00:00:00", "us").astype(np.int64)
    times = start + (day * 24 + hours) * 3_600_000_000
    made = {
        "who": np.repeat([f"e{e}" for e in range(ENTITIES)], n),
        "label": label.ravel(),
        "at": pa.array(times.astype(np.int64).ravel(), pa.timestamp("us", tz="UTC")),
    }
    return pa.table(made | {f: x[..., i].ravel() for i, f in enumerate(FEATURES)}), FEATURES[moved]


def conf(path: Path, cause: str, seed: int) -> dict[str, Any]:
    made: dict[str, Any] = {
        "run": {"name": f"planted-{cause.replace('_', '-')}", "seed": seed},
        "source": {"kind": "files", "path": str(path)},
        "events": {
            "entity": "who",
            "time": "at",
            "label": "label",
            "features": {f: f for f in FEATURES},
        },
        "split": {
            "train": ["2024-03-01", "2024-03-11"],
            "calibration": ["2024-03-11", "2024-03-16"],
            "test": ["2024-03-16", "2024-03-21"],
        },
        "windows": {"length": 10},
        "model": {"name": "pca"},
        "detectors": [],
        "thresholds": {"min_count": 100},
    }
    if cause in (cause_names.OUT_OF_REACH, cause_names.UNDER_FITTED):
        made["model"] = {"name": "lstm_autoencoder", "units": [32], "dense": 16}
        made["training"] = {"epochs": 4, "learning_rate": 0.005, "batch": 128}
    if cause == cause_names.OUT_OF_REACH:
        made["model"]["output"] = "sigmoid"
    if cause == cause_names.UNDER_FITTED:
        made["model"] |= {"l1": 0.5, "l2": 0.5}
    if cause == cause_names.OVER_FITTED:
        made["split"]["train"] = ["2024-03-10T12:00:00", "2024-03-11"]
    if cause == cause_names.OUT_OF_SUPPORT:
        made["thresholds"]["rules"] = [{"name": "quantile", "level": 0.99, "margin": 1000}]
    return made


def planted_runs(
    work: Path, run: Run, *, seeds: Iterable[int], causes: Iterable[str] = CAUSES
) -> dict[str, Any]:
    """The verdicts of the runs, by cause.

    The first verdict is the planted cause in at least nine of ten runs. A run without a fault
    counts as right if its verdict is healthy.
    """
    figures: dict[str, Any] = {}
    right: list[bool] = []
    for cause in causes:
        said = []
        for seed in seeds:
            events, moved = table(cause, seed)
            path = tools.write(events, work / f"{cause}-{seed}")
            target = work / f"run-{cause}-{seed}"
            run(conf(path, cause, seed), target)
            found = tools.summary(target)["verdict"]
            said.append(
                ", ".join(found["causes"])
                + (
                    f" ({found['features'][0]}, planted {moved})"
                    if cause == cause_names.DRIFTED
                    else ""
                )
            )
            right.append(
                found["causes"][0] == cause
                and (cause != cause_names.DRIFTED or found["features"][:1] == [moved])
            )
        figures[f"planted {cause}"] = "; ".join(said)
    figures["first verdict right"] = sum(right) / len(right)
    assert sum(right) >= 0.9 * len(right), figures
    return figures
