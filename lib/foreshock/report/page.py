"""The report of a run: one HTML page with its figures inside, no script and nothing to fetch."""

from __future__ import annotations

import datetime as dt
import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.resources import files

import numpy as np
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from foreshock.report import plots
from foreshock.report.plots import SPLITS, Floats, Row
from foreshock.statistics.histogram import key_values

NONE = "–"
ORDER = (
    "roc_auc",
    "pr_auc",
    "vus_roc",
    "vus_pr",
    "sensitivity",
    "specificity",
    "precision",
    "f1",
    "mcc",
    "accuracy",
    "prevalence",
    "tp",
    "fp",
    "fn",
    "tn",
)
BASELINES = ("pca", "isolation_forest", "ridge_forecast", "kmeans", "last_value", "zscore")
MOST_FEATURES, MOST_EVENTS = 5, 5
SQL_WORDS = {
    "and",
    "or",
    "not",
    "is",
    "null",
    "case",
    "when",
    "then",
    "else",
    "end",
    "cast",
    "as",
    "in",
    "int",
    "true",
    "false",
}


@dataclass(frozen=True)
class ReportData:
    """What the page shows, as plain data: rows of the tables, and null for what could not be judged.

    `distributions`: detector → split → stored histogram (bins, counts, n, min, max). `partitions`: rows of
    error_distribution. `top_events`: events with their window (x, reconstruction, errors). `timeline`: a sample of scored
    events. `training`: {epochs, best_epoch, windows_per_second, windows, note}. `dataset`: split → sizes.
    """

    summary: Row
    settings: Row
    scaler: Row
    distributions: dict[str, dict[str, Row]]
    thresholds: list[Row]
    partitions: list[Row]
    metrics: list[Row]
    top_events: list[Row]
    timeline: list[Row]
    training: Row
    dataset: dict[str, Row]
    drift: list[Row] = field(default_factory=list)
    explained: dict[str, Row | None] = field(default_factory=dict)


def render_page(data: ReportData) -> str:
    """The whole page as HTML text. Everything from the data is escaped."""
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {
        "num": number,
        "level": level,
        "share": share,
        "when": when,
        "size": size,
        "svg": Markup,
    }
    page = environment.from_string(
        (files("foreshock.report") / "page.html").read_text(encoding="utf-8")
    )
    model = data.summary.get("model") or next(
        iter(data.summary.get("detectors") or data.distributions), "model"
    )
    limits = {name: pooled(data, name) for name in {model, *data.distributions}}
    limit = limits[model][0] if limits[model] else None
    counted = [r for r in data.partitions if r.get("detector") == model]
    bands = {
        split: [
            {
                "partition": r["partition"],
                "low": r.get("p50"),
                "high": r.get("p99"),
                "value": r.get("max"),
            }
            for r in counted
            if r["split"] == split and r["group"] == main_group(counted)
        ]
        for split in SPLITS
    }
    rule = use(data)
    own = [
        t
        for t in data.thresholds
        if t["detector"] == model and t["partition"] is not None and t["rule"] == rule
    ]
    fits: dict[str, list[Row]] = {str(t["fitted_on"]): [] for t in own}
    for t in own:
        if t["group"] == main_group(own) and not t.get("fallback"):
            fits[str(t["fitted_on"])].append(
                {
                    "partition": t["partition"],
                    "low": t["ci_low"],
                    "high": t["ci_high"],
                    "value": t["threshold"],
                }
            )
    curves = {
        name: {s: c for s in SPLITS if len((c := cumulative(splits.get(s) or {}))[0])}
        for name, splits in data.distributions.items()
    }
    return page.render(
        data=data,
        summary=data.summary,
        model=model,
        limit=limit,
        limits=limits[model],
        rule=rule,
        notes=list(notes(data)),
        waterfall=waterfall(data.summary.get("counts") or {}),
        metrics=metric_tables(data.metrics),
        rivals=rivals(data, model),
        settings=list(flat(data.settings)),
        events=[card(e) for e in data.top_events[:MOST_EVENTS]],
        own=own,
        bodies=plots.distribution(curves.get(model, {}), limit, False, "Where the scores lie"),
        tails=plots.distribution(
            curves.get(model, {}), limit, True, "How many score above a value"
        ),
        others={
            name: plots.distribution(
                curve, limits[name][0] if limits[name] else None, True, name, True
            )
            for name, curve in curves.items()
            if name != model
        },
        timeline=plots.timeline(data.timeline, limits[model]),
        bands=plots.by_partition(bands, limit, "^"),
        fits=plots.by_partition(fits, limit, "o"),
        losses=plots.losses(data.training.get("epochs") or [], data.training.get("best_epoch")),
    )


def number(value: object) -> str:
    """A value in short: – for null, thousands with commas, four digits of a fraction."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return NONE
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if isinstance(value, int):
        return f"{value:,}"
    if value and not 1e-4 <= abs(value) < 1e7:
        return f"{value:.4g}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def level(value: float | None) -> str:
    """A quantile's level with all its nines."""
    return NONE if value is None else f"{value:.10g}"


def share(part: float | None, whole: float | None) -> str:
    """A part of a whole in percent: – where either is not known or the whole is 0."""
    if part is None or not whole:
        return NONE
    percent = 100 * part / whole
    return (
        "0 %"
        if part == 0
        else f"{percent:.3g} %"
        if 0.001 <= percent < 99.95 or part == whole
        else f"{percent:.4g} %"
    )


def when(text: object) -> str:
    """A time in UTC, only its date at midnight; other text as it is."""
    time = None if text is None else plots.moment(text)
    if time is None:
        return NONE if text is None else str(text)
    return f"{time:%Y-%m-%d %H:%M:%S} UTC" if time.time() != dt.time.min else f"{time:%Y-%m-%d}"


def size(count: float | None) -> str:
    """Bytes in a unit that is easy to read."""
    if count is None:
        return NONE
    power = min(4, int(math.log(count, 1000))) if count >= 1 else 0
    return f"{count / 1000**power:.3g} {('B', 'kB', 'MB', 'GB', 'TB')[power]}"


def cumulative(histogram: Row) -> tuple[Floats, Floats]:
    """(values, share of events at or below each) of a stored histogram, ascending; both empty where it holds nothing."""
    bins = np.asarray(histogram.get("bins") or [], np.int64) & 0xFFFF
    order = np.argsort(bins)
    bins, counts = bins[order] << 16, np.asarray(histogram.get("counts") or [], np.float64)[order]
    if not counts.sum():
        return np.zeros(0), np.zeros(0)
    low, high = histogram.get("min"), histogram.get("max")
    ends = np.column_stack([key_values(bins), key_values(bins | 0xFFFF)]).astype(np.float64).ravel()
    ends = np.clip(ends, -np.inf if low is None else low, np.inf if high is None else high)
    upper = np.cumsum(counts)
    return ends, np.column_stack([upper - counts, upper]).ravel() / upper[-1]


def use(data: ReportData) -> str | None:
    """The rule that decides: thresholds.use, else the first of the settings, else the first in the table."""
    own = data.settings.get("thresholds") or {}
    rules = [r.get("name") for r in own.get("rules") or []] + [t["rule"] for t in data.thresholds]
    return own.get("use") or next(iter(rules), None)


def main_group(rows: list[Row]) -> str | None:
    """The group a figure shows: `all`, or else the one with the most events."""
    found: dict[str, int] = {}
    for row in rows:
        found[row["group"]] = found.get(row["group"], 0) + (row.get("n") or 0)
    return "all" if "all" in found else max(found, key=lambda group: found[group], default=None)


def pooled(data: ReportData, detector: str) -> list[Row]:
    """A detector's thresholds over all partitions by the rule that decides, its main group first."""
    rows = [
        t
        for t in data.thresholds or data.summary.get("thresholds") or []
        if t["detector"] == detector and t["partition"] is None and t["rule"] == use(data)
    ]
    return sorted(rows, key=lambda t: (t["group"] != main_group(rows), -(t.get("n") or 0)))


def waterfall(counts: Row) -> Row:
    """What became of the rows read: lines with where each bar stands, and whether they add up, in words."""
    read, total, unknown = counts.get("rows_read"), 0, False
    lines: list[Row] = []
    for key in ("filtered", "quarantined", "outside_splits", "train", "judged", "unjudged"):
        value = counts.get(key)
        reasons: dict[str, int] = value if isinstance(value, dict) else {}
        value = sum(value.values()) if isinstance(value, dict) else value
        unknown |= value is None
        start, width = (100 * n / read if read else 0.0 for n in (total, value or 0))
        lines.append(
            {
                "name": key.replace("_", " "),
                "n": value,
                "start": start,
                "width": width,
                "reasons": sorted(reasons.items(), key=lambda pair: -pair[1]),
            }
        )
        total += value or 0
    if read is None or unknown:
        return {
            "lines": lines,
            "read": read,
            "ok": None,
            "text": "Not every count is known, so the sum cannot be checked.",
        }
    sums = " + ".join(number(line["n"]) for line in lines)
    text = (
        f"They add up: {number(read)} = {sums}."
        if read == total
        else (
            f"They do not add up: {sums} = {number(total)}, which is {number(abs(read - total))} "
            f"{'fewer' if total < read else 'more'} than the {number(read)} rows read."
        )
    )
    return {"lines": lines, "read": read, "ok": read == total, "text": text}


def card(event: Row) -> Row:
    """A top event with its figure, and the features that its score is made of with their shares; none where that is not known."""
    shares = event.get("feature_errors") or {}
    x, back = event.get("x") or [], event.get("reconstruction")
    away = np.array(x or [[]], np.float64) - (np.array(back, np.float64) if back else 0.0)
    known = (
        np.array([shares.get(name) or 0.0 for name in event["features"]])
        if shares
        else np.nansum(away**2, axis=0)
    )
    order = np.argsort(-known, kind="stable").tolist()
    parts = [
        (event["features"][at], float(known[at])) for at in order[:3] if shares and known[at] > 0
    ]
    figure = plots.window(event, sorted(order[:MOST_FEATURES]))
    return {"event": event, "parts": parts, "figure": figure, "features": len(order)}


def metric_tables(rows: list[Row]) -> Row:
    """The metrics as {split, group, names, detectors: {name: {metric: row}}, kinds: {kind: {detector: {metric: row}}}}."""
    split = next((s for s in ("test", "calibration") if any(r["split"] == s for r in rows)), None)
    rows = [r for r in rows if r["split"] == split]
    group = main_group(rows)
    table: dict[str, dict[str, Row]] = {}
    kinds: dict[str, dict[str, dict[str, Row]]] = {}
    for row in (r for r in rows if r["group"] == group):
        of = kinds.setdefault(row["kind"], {}) if row.get("kind") else table
        of.setdefault(row["detector"], {})[row["metric"]] = row
    found = {r["metric"] for r in rows}
    return {
        "split": split,
        "group": group,
        "detectors": table,
        "kinds": dict(sorted(kinds.items())),
        "names": [m for m in ORDER if m in found] + sorted(found - {*ORDER}),
        "judged": any(
            r.get("value") is not None
            for r in rows
            if r["metric"] in ("roc_auc", "sensitivity", "tp")
        ),
    }


def rivals(data: ReportData, model: str) -> Row | None:
    """Whether the model's ROC AUC beats that of the simple detectors: {value, beaten_by, ahead_of}; null where unknown."""
    table = metric_tables(data.metrics)["detectors"]
    auc = {name: row["roc_auc"]["value"] for name, row in table.items() if "roc_auc" in row}
    others = {n: v for n, v in auc.items() if n in BASELINES and n != model and v is not None}
    if auc.get(model) is None or not others:
        return None
    return {
        "value": auc[model],
        "beaten_by": {n: v for n, v in others.items() if v >= auc[model]},
        "ahead_of": {n: v for n, v in others.items() if v < auc[model]},
    }


def notes(data: ReportData) -> Iterator[str]:
    """What a reader must know before trusting the figures."""
    events = data.settings.get("events") or {}
    words = {
        key: set(re.findall(r"[a-z_]\w*", str(text or "").lower())) - SQL_WORDS
        for key, text in events.items()
    }
    names = words.get("label", set()) | words.get("kind", set())
    rule = use(data)
    own = [
        t
        for t in data.thresholds
        if t["rule"] == rule and t["detector"] == data.summary.get("model")
    ]
    for key, what in (
        ("train_where", "the model is semi-supervised: its training windows were chosen"),
        ("calibrate_where", "the thresholds are semi-supervised: their events were chosen"),
    ):
        if names & words.get(key, set()) and (key, rule) != ("calibrate_where", "fixed"):
            yield f"events.{key} ({events[key]}) can read the label, so {what} with knowledge of what is normal."
    if any(t["fitted_on"] == "train" for t in own):
        yield "The thresholds were fitted on the events the model was trained on, so they are likely too low."
    if len(groups := {t["group"] for t in own}) > 1:
        yield f"There are {len(groups)} groups, each with its own threshold. Figures by partition show the largest group."


def flat(settings: Row, before: str = "") -> Iterator[tuple[str, str]]:
    """(section.key, value) of nested settings."""
    for key, value in settings.items():
        if isinstance(value, dict) and value:
            yield from flat(value, f"{before}{key}.")
        else:
            yield (
                f"{before}{key}",
                value
                if isinstance(value, str)
                else json.dumps(value, default=str, ensure_ascii=False),
            )
