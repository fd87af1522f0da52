"""The summary of a run: counts that reconcile, thresholds, metrics, gates."""

from __future__ import annotations

from typing import Any

from foreshock.errors import ForeshockError

COUNTS = ("rows_read", "filtered", "quarantined", "outside_splits", "train", "judged", "unjudged")


def reconcile(counts: dict[str, Any]) -> None:
    """Raise ForeshockError unless rows_read is the sum of what became of the rows."""
    parts = [
        counts["filtered"],
        sum(counts["quarantined"].values()),
        counts["outside_splits"],
        counts["train"],
        counts["judged"],
        sum(counts["unjudged"].values()),
    ]
    if counts["rows_read"] != sum(parts):
        raise ForeshockError(f"the counts do not reconcile: {counts}. This is a defect of ours.")


def by_reason(quarantined: dict[str, int]) -> dict[str, int]:
    """Quarantined rows by reason, from counts by `reason:column`."""
    found: dict[str, int] = {}
    for key, n in quarantined.items():
        reason = key.split(":")[0]
        found[reason] = found.get(reason, 0) + n
    return found


def gates(quality: dict[str, Any], counts: dict[str, Any], flagged: int) -> list[str]:
    """The gates of `quality` that are not met, in words."""
    judged, unjudged = counts["judged"], sum(counts["unjudged"].values())
    quarantined = sum(counts["quarantined"].values())
    shares = (
        (
            "max_quarantined",
            quarantined,
            counts["rows_read"],
            f"{quarantined} of {counts['rows_read']} rows quarantined",
        ),
        (
            "max_unjudged",
            unjudged,
            judged + unjudged,
            f"{unjudged} of {judged + unjudged} events not judged",
        ),
        ("max_flagged", flagged, judged, f"{flagged} of {judged} judged events flagged"),
    )
    missed = []
    for name, n, of, words in shares:
        limit = quality.get(name)
        if limit is not None and of and n / of > limit:
            missed.append(f"quality.{name} is {limit:g}, but {words} ({n / of:.4g})")
    return missed


def strongest(drift: list[dict[str, Any]], most: int = 3) -> list[dict[str, Any]]:
    """Of each pair of splits, all groups together: how far the score moved, and the features that moved farthest, by their middle 90 %."""
    pairs: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in drift:
        if row["group"] == "all":
            pairs.setdefault((row["from_split"], row["to_split"]), []).append(row)
    kept = ("wasserstein", "trimmed", "band", "quantile_ratio", "verdict")
    made = []
    for (low, high), rows in pairs.items():
        known = [r for r in rows if r["feature"] is not None and r["trimmed"] is not None]
        far = sorted(known, key=lambda r: (-r["trimmed"], r["feature"]))
        score = next(({k: r[k] for k in kept} for r in rows if r["feature"] is None), None)
        made.append(
            {
                "from": low,
                "to": high,
                "score": score,
                "features": [{k: r[k] for k in ("feature", *kept)} for r in far[:most]],
            }
        )
    return made


def training_facts(info: dict[str, Any]) -> dict[str, Any]:
    """What a bundle's info says of the fit: `train_windows`; how many of them each detector but the network was `fitted_on`; `explained`,
    the share of each feature that it explains (null: it expects none); `folds`, [from, to) in microseconds, null where one has no end."""
    shares = {
        name: None if fact is None else fact["share"]
        for name, fact in (info.get("explained") or {}).items()
    }
    folds = info.get("folds") or []
    ends = [low for low, _ in folds[1:]]
    return {
        "train_windows": info.get("train_windows"),
        "fitted_on": info.get("fitted_on") or {},
        "explained": shares,
        "folds": [{"from": a, "to": b} for a, b in zip([None, *ends], [*ends, None], strict=True)]
        if folds
        else [],
    }


def headline(summary: dict[str, Any]) -> list[str]:
    """The result in about a dozen lines."""
    c, model = summary["counts"], summary["model"]
    lost = ", ".join(f"{n} {reason}" for reason, n in sorted(c["quarantined"].items())) or "none"
    why = ", ".join(f"{n} {reason}" for reason, n in sorted(c["unjudged"].items())) or "none"
    lines = [
        f"run          {summary['run_id']}",
        f"rows read    {c['rows_read']} (filtered {c['filtered']}, quarantined: {lost}, outside the splits {c['outside_splits']})",
        f"train        {c['train']} events",
        f"judged       {c['judged']} events of calibration and test (not judged: {why})",
    ]
    own = [t for t in summary["thresholds"] if t["detector"] == model and t["partition"] is None]
    judging = summary.get("rule")  # earlier versions had but one
    pooled = [t for t in own if judging in (None, {"name": t["rule"], "level": t["level"]})]
    for t in pooled[:3]:
        value = "none" if t["threshold"] is None else f"{t['threshold']:.5g}"
        between = (
            ""
            if t["ci_low"] is None
            else f" (95 % interval {t['ci_low']:.5g} to {t['ci_high']:.5g})"
        )
        rule = t["rule"] if t["level"] is None else f"{t['rule']} {t['level']:.10g}"
        of = f" of n = {t['n']}" if t["n"] else ""
        lines.append(f"threshold    {value}{between}, {rule}{of}, group {t['group']}")
    for split, n in summary["flagged"].items():
        lines.append(f"flagged      {n['flagged']} of {n['judged']} judged events of {split}")
    aucs = [
        m
        for m in summary["metrics"]
        if m["metric"] == "roc_auc" and m["split"] == "test" and m["group"] == "all"
    ]
    for detector in summary["detectors"]:
        own = [m for m in aucs if m["detector"] == detector and m["value"] is not None]
        if own:
            shown = ", ".join(
                f"{m['kind'] or 'all'} {m['value']:.3f}"
                for m in sorted(own, key=lambda m: m["kind"] or "")
            )
            lines.append(f"ROC AUC      {detector}: {shown}")
    if verdict := summary.get("verdict"):
        lines.append(f"verdict      {', '.join(verdict['causes'])}: {verdict['text']}")
    lines += [f"gate         {g}" for g in summary["gates"]]
    return lines
