"""Rows of `metrics` from scored files: by group and kind.

Some files have one class of labels, or no threshold. The files are written here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from foreshock.evaluation.assembly import metric_rows
from foreshock.evaluation.labelled import LabelledCounts, LabelledEvents, ThresholdOf
from foreshock.evaluation.range_rows import range_rows
from foreshock.evaluation.ranges import vus
from foreshock.scored.events import ScoredEvents
from foreshock.scored.passes import run_here

TYPES = {"split": pa.int8(), "label": pa.int8(), "block_row": pa.int32()}


def write(folder: Path, **columns: Any) -> ScoredEvents:
    """Test events, two seconds apart, in two files.

    A column that is not given is the same for all.
    """
    n = len(columns["label"])
    usual = {
        "split": [3] * n,
        "entity": ["e"] * n,
        "event_time": np.arange(n) * 2_000_000,
        "block_id": [0] * n,
        "block_row": np.arange(n),
        "group": ["all"] * n,
        "partition": ["d"] * n,
        "kind": [""] * n,
        "score__pca": np.arange(n) / n,
    }
    table = pa.table({k: pa.array(v, TYPES.get(k)) for k, v in (usual | columns).items()})
    for i in range(2):
        pq.write_table(table.filter(pa.array(np.arange(n) % 2 == i)), folder / f"{i}.parquet")
    return ScoredEvents(tuple(str(folder / f"{i}.parquet") for i in range(2)), ("pca",))


def metrics(
    scored: ScoredEvents, threshold_of: ThresholdOf, length: int, last: int
) -> list[dict[str, Any]]:
    """Rows of `metrics` of test events that reach from time 0 to `last`."""
    counts = LabelledCounts(scored.detectors, threshold_of, {3: (0, last)})
    rows = run_here(scored, [counts]).of(counts)
    return metric_rows(rows, scored.detectors, run_id="r", seed=1) + ranges(
        scored, threshold_of, length
    )


def ranges(scored: ScoredEvents, threshold_of: ThresholdOf, length: int) -> list[dict[str, Any]]:
    """Rows of `metrics` that need the order of events."""
    events = LabelledEvents(scored.detectors)
    tables = run_here(scored, [events]).of(events)
    return range_rows(tables, scored.detectors, threshold_of, length, run_id="r", seed=1)


def found(
    rows: list[dict[str, Any]], group: str = "all", kind: str | None = None
) -> dict[str, float | None]:
    return {
        r["metric"]: r["value"]
        for r in rows
        if r["group"] == group and r["kind"] == kind and r["detector"] == "pca"
    }


def test_ranges_by_group_and_kind_by_hand(tmp_path: Path) -> None:
    # Two events of g follow each other, then two of h, and so on. Flagged: score above 0.5, 0.8 in
    # h.
    label = [0, 0, 0, 0, 1, 1, 0, 0, 0, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 1]
    group = ["g", "g", "h", "h"] * 5
    kind = ["x" if 4 <= i <= 5 or i == 19 else "y" if v else "" for i, v in enumerate(label)]
    score = [0, 0, 0.9, 0, 0, 0.6, 0, 0, 0, 0.7, 0.6, 0.6, 0, 0, 0, 0, 0, 0, 0, 0.1]
    files = write(tmp_path, label=label, group=group, kind=kind, score__pca=np.array(score, float))
    rows = ranges(files, lambda d, g, p: 0.8 if g == "h" else 0.5, 3)
    whole, g, h = (found(rows, name) for name in ("all", "g", "h"))
    # All: anomalies 4-5, 9-11 and 19, found at 5 and 9; runs of flagged events: 2, 5, 9.
    assert (whole["event_recall"], whole["event_precision"], whole["detection_delay"]) == (
        2 / 3,
        2 / 3,
        1.0,
    )
    # g: 4-5 and 9 (its 10 and 11 are h's), both found; the first a second step late, the other at
    # once.
    assert (g["event_recall"], g["event_precision"], g["detection_delay"]) == (1.0, 1.0, 1.0)
    # h: 10-11 and 19, neither found; 2 is flagged.
    assert (h["event_recall"], h["event_precision"], h["detection_delay"]) == (0.0, 0.0, None)
    assert found(rows, kind="x") == {"event_recall": 0.5, "detection_delay": 2.0}
    assert found(rows, kind="y") == {"event_recall": 1.0, "detection_delay": 0.0}
    assert {r["n"] for r in rows if r["kind"] == "x"} == {17} and {
        r["n"] for r in rows if r["group"] == "h"
    } == {10}
    mine = np.array(group) == "g"
    assert (g["vus_roc"], g["vus_pr"]) == vus(
        np.array(label)[mine], np.array(score)[mine], np.zeros(10, int), 3
    )
    assert g["vus_roc"] != whole["vus_roc"]


def test_no_more_groups_than_stated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("foreshock.evaluation.range_rows.MOST_GROUPS", 2)
    group = ["c"] * 3 + ["a"] * 2 + ["b"] * 2 + ["d"]
    files = write(tmp_path, label=[0, 1] * 4, group=group)
    assert {r["group"] for r in ranges(files, lambda *_: 0.5, 2)} == {
        "all",
        "c",
        "a",
    }


@pytest.mark.parametrize("only", [0, 1])
def test_labels_of_one_class_leave_null_what_needs_both(tmp_path: Path, only: int) -> None:
    label = [only] * 10 + [1 - only] * 10  # group h holds the other class, g this one alone
    files = write(
        tmp_path, label=label, group=["g"] * 10 + ["h"] * 10, score__pca=np.linspace(0, 1, 20)
    )
    rows = metrics(files, lambda d, g, p: 0.25, 4, 38_000_000)
    g, whole = found(rows, "g"), found(rows)
    flagged = 5  # of 0, 1/19 … 9/19
    assert g["prevalence"] == only
    assert (g["tp"], g["fn"], g["fp"], g["tn"]) == (
        (flagged, 5, 0, 0) if only else (0, 0, flagged, 5)
    )
    assert all(g[name] is None for name in ("roc_auc", "pr_auc", "vus_roc", "vus_pr", "mcc"))
    assert (g["sensitivity"], g["specificity"]) == ((0.5, None) if only else (None, 0.5))
    assert (g["event_recall"], g["event_precision"]) == ((1.0, 1.0) if only else (None, 0.0))
    assert all(
        whole[name] is not None
        for name in ("roc_auc", "pr_auc", "vus_roc", "vus_pr", "event_recall", "mcc")
    )
    assert {r["detector"] for r in rows} == {"pca", "flag_none", "flag_all", "random"}
    keys = [(r["detector"], r["split"], r["group"], r["kind"], r["metric"]) for r in rows]
    assert len(keys) == len(set(keys))


def test_one_class_alone_and_no_label_at_all(tmp_path: Path) -> None:
    def rows(label: list[int]) -> list[dict[str, Any]]:
        return metrics(write(tmp_path, label=label), lambda *_: None, 4, 14_000_000)

    whole = found(rows([0] * 8))
    assert (
        whole.pop("prevalence") == 0.0
        and set(whole.values()) == {None}
        and "vus_roc" in whole
        and "tp" in whole
    )
    assert rows([-1] * 8) == []


def test_an_event_without_a_score_counts_nowhere(tmp_path: Path) -> None:
    label = [0, 1] * 10
    score = [i / 20 for i in range(20)]
    whole = write(tmp_path, label=label, score__pca=np.array(score))
    rows = metrics(whole, lambda *_: 0.5, 2, 38_000_000)
    more = tmp_path / "more"
    more.mkdir()
    unscored = write(
        more, label=[*label, 1, 0, 1], score__pca=np.array([*score, None, None, None], object)
    )
    assert metrics(unscored, lambda *_: 0.5, 2, 38_000_000) == rows
