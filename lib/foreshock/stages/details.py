"""What the report shows beside the tables: the highest events with their windows, and a sample over time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.compute as pc

from foreshock import columns as C
from foreshock.platform.parquet import dataset
from foreshock.sequences.split import Split
from foreshock.stages.context import Context
from foreshock.tables import spark as tables
from foreshock.tables.attribution import COLUMNS
from foreshock.thresholds.rules import Judging, threshold_of
from foreshock.windows.models.bundle import Bundle
from foreshock.windows.scoring.scorer import Plan, explain_event

TOP_EVENTS = 5
TIMELINE = 4000


def details(
    context: Context, plan: Plan, bundle: Bundle, files: list[str], scores: Path, by: Judging
) -> dict[str, Any]:
    """`top_events` and `timeline` of a scoring job's files; scores: the table, whose columns say why an event is among them."""
    model = context.settings.all_detectors[0]
    scored = dataset(files)
    light = ["event_time", "event_id", "s0", "label", "split", "group", "partition"]
    table = scored.to_table(columns=light, filter=pc.field("split") >= 2)
    highest = table.filter(pc.field("split") == 3)["s0"]
    least = pc.min(
        highest.take(
            pc.select_k_unstable(
                highest, k=min(len(highest), 2000), sort_keys=[("s0", "descending")]
            )
        )
    )
    test = scored.to_table(filter=(pc.field("split") == 3) & (pc.field("s0") >= least))
    chosen: dict[str, dict[str, Any]] = {}
    for row in test.take(
        pc.select_k_unstable(test, k=min(len(test), 2000), sort_keys=[("s0", "descending")])
    ).to_pylist():
        chosen.setdefault(row["entity"], row)
        if len(chosen) == TOP_EVENTS:
            break
    why = explained(scores, list(chosen.values()))
    top = []
    for row in chosen.values():
        path = context.run / "dataset" / C.TEST / row["file"]
        window = explain_event(
            bundle,
            plan.detectors[0],
            str(path),
            row["block_id"],
            row["at"],
            plan.length,
            plan.stride,
        )
        window |= why.get((row["entity"], row["event_id"]), {})
        limit = threshold_of(by, model, row["group"], row["partition"])
        top.append(
            {k: row[k] for k in ("entity", "event_id", "event_time", "partition", "group")}
            | window
            | {
                "score": row["s0"],
                "threshold": limit,
                "label": row["label"] if row["label"] >= 0 else None,
                "kind": row["kind"] or None,
                "features": list(bundle.features),
            }
        )
    step = max(1, len(table) // TIMELINE)
    order = pc.sort_indices(
        table, sort_keys=[("event_time", "ascending"), ("event_id", "ascending")]
    )
    sample = table.take(order.take(list(range(0, len(table), step))))
    line = [
        {
            "event_time": r["event_time"],
            "score": r["s0"],
            "label": r["label"] if r["label"] >= 0 else None,
            "split": Split(r["split"]).text,
            "threshold": (t := threshold_of(by, model, r["group"], r["partition"])),
            "is_anomaly": None if t is None else r["s0"] > t,
        }
        for r in sample.to_pylist()
    ]
    return {"top_events": top, "timeline": line}


def explained(scores: Path, events: list[dict[str, Any]]) -> dict[tuple[str, str], dict[str, Any]]:
    """The columns of test events that say why, by (entity, event_id)."""
    if not events:
        return {}
    where = pc.field("split") == C.TEST
    for name in (C.PARTITION, C.EVENT_ID):
        where &= pc.field(name).isin([e[name] for e in events])
    found = (
        tables.open_scores(scores)
        .to_table(columns=[C.ENTITY, C.EVENT_ID, *COLUMNS], filter=where)
        .to_pylist()
    )
    return {(row[C.ENTITY], row[C.EVENT_ID]): {c: row[c] for c in COLUMNS} for row in found}
