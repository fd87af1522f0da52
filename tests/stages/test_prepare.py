"""Prepare with sequences: the folder of a run directory, against the extracted events by pandas."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from foreshock import detectors
from foreshock.detectors import DetectorEntry
from foreshock.sequences.split import Split
from foreshock.stages import prepare as prepare_module
from foreshock.stages.prepare import reads_sequences

SPLITS = {
    "train": ["2023-01-02", "2023-01-06"],
    "calibration": ["2023-01-06", "2023-01-08"],
    "test": ["2023-01-09", "2023-01-10"],
}
CONF = {
    "run": {"name": "sequences", "seed": 3},
    "source": {
        "kind": "synthetic",
        "events": 1500,
        "entities": 30,
        "start": "2023-01-02",
        "days": 9,
    },
    "events": {
        "entity": "from_address",
        "time": "block_timestamp",
        "partition": "date",
        "tiebreak": ["block_number", "transaction_index"],
        "id": "hash",
        "label": "label",
        "train_where": "gas > 21000",
        "features": {"gas_price": "log10(gas_price)"},
    },
    "split": SPLITS,
    "windows": {"length": 5, "max_gap": 3600},
    "model": {"name": "pca"},
    "thresholds": {"min_count": 50},
}


def test_a_detector_of_sequences_asks_for_them(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = DetectorEntry("gaps", "nowhere:Gaps", family="sequences")
    monkeypatch.setitem(detectors.REGISTRY, "gaps", entry)
    settings: Any = SimpleNamespace(fitted_detectors=("pca", "gaps"))
    assert reads_sequences(settings)
    settings.fitted_detectors = ("pca", "kmeans")
    assert not reads_sequences(settings)


@pytest.mark.slow
def test_sequences_hold_every_event_of_the_splits(
    tmp_path: Path, run_job: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    assert run_job("extract", CONF, run) == 0
    with monkeypatch.context() as patched:
        patched.setattr(prepare_module, "reads_sequences", lambda settings: True)
        assert run_job("prepare", CONF, run) == 0
    rows = pq.read_table(run / "sequences").to_pandas()

    files = sorted((run / "events").rglob("*.parquet"))
    events = pd.concat([pq.ParquetFile(file).read().to_pandas() for file in files])
    order = ["entity", "event_time", "tiebreak_0", "tiebreak_1", "event_id"]
    events = events.sort_values(order, ignore_index=True)
    events["gap"] = events.groupby("entity")["event_time"].diff().dt.total_seconds()
    events["split"] = Split.OUTSIDE
    for name, (begin, end) in SPLITS.items():
        times = pd.to_datetime([begin, end], utc=True)
        inside = events["event_time"].between(*times, inclusive="left")
        events.loc[inside, "split"] = Split.of(name)
    events = events[events["split"] != Split.OUTSIDE]
    assert rows["event_id"].tolist() == events["event_id"].tolist()
    assert rows["split"].tolist() == events["split"].tolist()
    assert rows["position"].tolist() == events.index.tolist()
    assert rows["train_ok"].tolist() == events["train_ok"].tolist()
    np.testing.assert_array_equal(rows["gap"], events["gap"])

    assert run_job("prepare", CONF, run, "--force") == 0
    assert not (run / "sequences").exists()
