"""Report: `summary.json` and the page, from the tables and records of the run."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa

from foreshock import columns as C
from foreshock.errors import GateError, SettingsError
from foreshock.platform.files import digest, read_json, write_json, write_text
from foreshock.platform.parquet import read_table
from foreshock.platform.transfers import remove
from foreshock.report.page import ReportData, render_page
from foreshock.report.summary import (
    by_reason,
    gates,
    headline,
    reconcile,
    strongest,
    training_facts,
)
from foreshock.settings.identity import as_mapping
from foreshock.stages.context import Context
from foreshock.stages.diagnose import VERDICT
from foreshock.stages.extract import read_ledger, totals
from foreshock.stages.publish import sink_of
from foreshock.stages.scaler_file import read_scaler
from foreshock.statistics.histogram import Histogram
from foreshock.tables.spark import open_scores
from foreshock.windows.dataset.manifest import read_manifest
from foreshock.windows.models import bundle as bundles


def report(context: Context) -> Path:
    """Write the summary and the page; returns the page's path. Raises GateError, all written, where a gate is not met."""
    if context.run.record("score") is None:
        raise SettingsError(
            f"--run-dir {context.run.path}: nothing is scored there. Run jobs/score.py first."
        )
    fingerprint = digest({"settings": context.sha256, "score": context.run.record("score")})
    target = context.run / "report.html"
    if not context.force and context.run.is_done("report", fingerprint):
        context.log.event("report", "nothing to do")
    else:
        with context.attempt("report") as counts:
            work = context.run.staging("report")
            summary = _summary(context)
            write_json(work / "summary.json", summary)
            write_text(work / "report.html", render_page(_data(context, summary)))
            moves = {
                work / "summary.json": context.run / "summary.json",
                work / "report.html": target,
            }
            context.run.publish("report", fingerprint, moves)
            remove(work)
            counts |= summary["counts"]
        sink_of(context).runs(read_scaler(context.run / "scaler.json"))
    return target


def check_gates(context: Context) -> None:
    """Raise GateError where a gate of `quality` was not met."""
    missed = read_json(context.run / "summary.json")["gates"]
    if missed:
        raise GateError(
            "; ".join(missed) + f". All was written; see {context.run / 'report.html'}."
        )


def result_lines(context: Context) -> list[str]:
    """The result in about a dozen lines."""
    return headline(read_json(context.run / "summary.json"))


def _rows(folder: Path, without: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    if not folder.exists():
        return []
    table = read_table(folder / "part-00000.parquet")
    return table.drop([c for c in without if c in table.column_names]).to_pylist()


def _summary(context: Context) -> dict[str, Any]:
    total = totals(read_ledger(context))
    judged: Counter[str] = Counter()
    flagged: Counter[str] = Counter()
    unjudged: Counter[str] = Counter()
    for batch in open_scores(context.tables / C.SCORES).to_batches(
        columns=["split", "score", "is_anomaly", "reason"]
    ):
        table = pa.table(batch)
        for row in (
            table.group_by(["split", "is_anomaly", "reason"])
            .aggregate([("score", "count"), ([], "count_all")])
            .to_pylist()
        ):
            judged[row["split"]] += row["score_count"]
            flagged[row["split"]] += row["count_all"] if row["is_anomaly"] else 0
            if missing := row["count_all"] - row["score_count"]:
                unjudged[row["reason"]] += missing
    counts = {
        "rows_read": total["rows_read"],
        "filtered": total["filtered"],
        "quarantined": by_reason(total["quarantined"]),
        "outside_splits": total["kept"].get("outside", 0),
        "train": total["kept"].get(C.TRAIN, 0),
        "judged": judged.total(),
        "unjudged": dict(sorted(unjudged.items())),
    }
    if context.run.record("score") and context.run.record("score")["fingerprint"] != "partial":  # type: ignore[index]
        reconcile(counts)
    settings = as_mapping(context.settings)
    detectors = list(context.settings.all_detectors)
    pooled = [t for t in _rows(context.tables / C.THRESHOLDS) if t["partition"] is None]
    rule = context.settings.thresholds.judging_rule
    missed = gates(settings["quality"], counts, flagged.total())
    verdict = read_json(context.run / VERDICT) if (context.run / VERDICT).exists() else None
    facts = training_facts(read_json(context.run / "model" / bundles.NAME)["info"])
    for fold in facts["folds"]:
        fold |= {end: None if time is None else _iso(time) for end, time in fold.items()}
    return {
        "run_id": context.run_id,
        "status": "gate not met" if missed else "done",
        "verdict": verdict,
        "model": detectors[0],
        "detectors": detectors,
        "rule": {"name": rule.name, "level": rule.table_level},
        "thresholds": pooled,
        "metrics": _rows(context.tables / C.METRICS),
        "counts": counts,
        "flagged": {
            s: {"flagged": flagged[s], "judged": judged[s]}
            for s in (C.CALIBRATION, C.TEST)
            if judged[s]
        },
        "gates": missed,
        "report": str(context.run / "report.html"),
        "settings_sha256": context.sha256,
        "drift": strongest(_rows(context.tables / C.DRIFT)),
        **facts,
    }


def _data(context: Context, summary: dict[str, Any]) -> ReportData:
    rows = _rows(context.tables / C.ERROR_DISTRIBUTION)
    distributions: dict[str, dict[str, dict[str, Any]]] = {}
    for detector in summary["detectors"]:
        for split in C.SCORED:
            own = [r for r in rows if r["detector"] == detector and r["split"] == split and r["n"]]
            if own:
                merged = sum((_histogram(r) for r in own), Histogram())
                distributions.setdefault(detector, {})[split] = merged.to_mapping() | {
                    "p50": merged.quantile(0.5),
                    "p90": merged.quantile(0.9),
                    "p99": merged.quantile(0.99),
                }
    details = read_json(context.run / "score_details.json")
    for row in details["top_events"]:
        row["times"] = [_iso(t) for t in row["times"]]
    for row in (*details["top_events"], *details["timeline"]):
        row["event_time"] = _iso(row["event_time"])
    data = context.run / "dataset"
    manifests = {s: read_manifest(data / s) for s in C.SPLITS if (data / s).exists()}
    info = read_json(context.run / "model" / bundles.NAME)["info"]
    return ReportData(
        summary=summary,
        settings=as_mapping(context.settings),
        scaler=read_json(context.run / "scaler.json"),
        distributions=distributions,
        thresholds=_rows(context.tables / C.THRESHOLDS),
        partitions=[{k: v for k, v in r.items() if k != "histogram"} for r in rows],
        metrics=summary["metrics"],
        top_events=details["top_events"],
        timeline=details["timeline"],
        drift=_rows(context.tables / C.DRIFT),
        explained=info.get("explained") or {},
        training=info.get("training", {}),
        dataset={
            s: {w: m.total(w) for w in ("blocks", "windows", "events", "bytes")}
            for s, m in manifests.items()
        },
    )


def _histogram(row: dict[str, Any]) -> Histogram:
    return Histogram.from_mapping(
        {
            "bins": row["histogram"]["bin"],
            "counts": row["histogram"]["count"],
            "n": row["n"],
            "min": row["min"],
            "max": row["max"],
            "power1": 0,
            "power2": 0,
        }
    )


def _iso(micros: int) -> str:
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=micros)).isoformat()


__all__ = ["check_gates", "report", "result_lines"]
