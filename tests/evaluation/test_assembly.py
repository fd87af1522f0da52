"""Rows of `metrics` from scored files: by group and kind, with one class of labels, with no threshold. The files are written here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from foreshock.evaluation import spark as assembly
from foreshock.evaluation.range_rows import range_rows
from foreshock.evaluation.ranges import vus

TYPES = {"split": pa.int8(), "label": pa.int8(), "at": pa.int32()}
BASE = {"run_id": "r", "seed": 1}


class _Row(dict):  # type: ignore[type-arg]
    def asDict(self) -> dict[str, Any]:
        return dict(self)


@pytest.fixture(autouse=True)
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """The function of each file is called here, without Spark."""
    monkeypatch.setattr(
        assembly,
        "each_item",
        lambda spark, files, one, schema: [
            _Row(row) for file in files for batch in one(file) for row in batch.to_pylist()
        ],
    )


def write(folder: Path, **columns: Any) -> list[str]:
    """Test events, two seconds apart, in two files; what is not given is the same for all."""
    n = len(columns["label"])
    usual = {
        "split": [3] * n,
        "entity": ["e"] * n,
        "event_time": np.arange(n) * 2_000_000,
        "block_id": [0] * n,
        "at": np.arange(n),
        "group": ["all"] * n,
        "partition": ["d"] * n,
        "kind": [""] * n,
        "s0": np.arange(n) / n,
    }
    table = pa.table({k: pa.array(v, TYPES.get(k)) for k, v in (usual | columns).items()})
    for i in range(2):
        pq.write_table(table.filter(pa.array(np.arange(n) % 2 == i)), folder / f"{i}.parquet")
    return [str(folder / f"{i}.parquet") for i in range(2)]


def found(
    rows: list[dict[str, Any]], group: str = "all", kind: str | None = None
) -> dict[str, float | None]:
    return {
        r["metric"]: r["value"]
        for r in rows
        if r["group"] == group and r["kind"] == kind and r["detector"] == "pca"
    }


def test_ranges_by_group_and_kind_by_hand(tmp_path: Path) -> None:
    # Two events of g follow each other, then two of h, and so on. Flagged: score above 0.5, 0.8 in h.
    label = [0, 0, 0, 0, 1, 1, 0, 0, 0, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 1]
    group = ["g", "g", "h", "h"] * 5
    kind = ["x" if 4 <= i <= 5 or i == 19 else "y" if v else "" for i, v in enumerate(label)]
    score = [0, 0, 0.9, 0, 0, 0.6, 0, 0, 0, 0.7, 0.6, 0.6, 0, 0, 0, 0, 0, 0, 0, 0.1]
    files = write(tmp_path, label=label, group=group, kind=kind, s0=np.array(score, float))
    rows = range_rows(files, ("pca",), lambda d, g, p: 0.8 if g == "h" else 0.5, 3, BASE)
    whole, g, h = (found(rows, name) for name in ("all", "g", "h"))
    # All: anomalies 4-5, 9-11 and 19, found at 5 and 9; runs of flagged events: 2, 5, 9.
    assert (whole["event_recall"], whole["event_precision"], whole["detection_delay"]) == (
        2 / 3,
        2 / 3,
        1.0,
    )
    # g: 4-5 and 9 (its 10 and 11 are h's), both found; the first a second step late, the other at once.
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
    assert {r["group"] for r in range_rows(files, ("pca",), lambda *_: 0.5, 2, BASE)} == {
        "all",
        "c",
        "a",
    }


@pytest.mark.parametrize("only", [0, 1])
def test_labels_of_one_class_leave_null_what_needs_both(tmp_path: Path, only: int) -> None:
    label = [only] * 10 + [1 - only] * 10  # group h holds the other class, g this one alone
    files = write(tmp_path, label=label, group=["g"] * 10 + ["h"] * 10, s0=np.linspace(0, 1, 20))
    rows = assembly.metrics(
        None,
        files,
        ("pca",),
        lambda d, g, p: 0.25,
        judged=20,
        run_id="r",
        seed=1,
        length=4,  # type: ignore[arg-type]
        spans={3: (0, 38_000_000)},
    )
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
        files = write(tmp_path, label=label)
        return assembly.metrics(
            None,
            files,
            ("pca",),
            lambda *_: None,
            judged=8,
            run_id="r",
            seed=1,
            length=4,  # type: ignore[arg-type]
            spans={3: (0, 14_000_000)},
        )

    whole = found(rows([0] * 8))
    assert (
        whole.pop("prevalence") == 0.0
        and set(whole.values()) == {None}
        and "vus_roc" in whole
        and "tp" in whole
    )
    assert rows([-1] * 8) == []
