"""What the settings make of plain scores: errors by feature as one, averages in time, an ensemble. The statistics stay in the run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from foreshock import columns as C
from foreshock.errors import DataError
from foreshock.platform.files import read_json, write_json
from foreshock.scored import adjust_spark
from foreshock.sequences.split import Split
from foreshock.settings.root import ENSEMBLE
from foreshock.stages.context import Context
from foreshock.stages.donor import donor_run
from foreshock.thresholds import spark as thresholds_spark
from foreshock.thresholds.distribution import CHOSEN, Key, locate

ADJUST = "adjust.json"


def adjust(
    context: Context,
    files: list[str],
    fitted: tuple[str, ...],
    chosen: str | None,
    partial: bool,
    work: Path,
) -> list[str]:
    """Scored files as `scoring.errors`, `scoring.smooth` and `ensemble` want them, in the order of all_detectors.

    Statistics are those of the split that thresholds are fitted on; with `model.from`, or where only some partitions are scored, those of
    the other run or of the run itself. Raises DataError where there are none.
    """
    s = context.settings
    known = _known(context, partial)
    split = Split.of(s.fitted_split)
    facts: dict[str, Any] = {}
    if s.scoring.errors != "plain":
        facts |= _errors(context, files, split, chosen is not None) if known is None else known
        files = adjust_spark.rescore(
            context.spark, files, fitted, s.scoring.errors, facts, work / "rescored"
        )
    if s.scoring.smooth is not None:
        mean, exponential = s.scoring.smooth.mean, s.scoring.smooth.exponential
        files = adjust_spark.smooth(
            context.spark, files, len(fitted), mean, exponential, work / "smoothed"
        )
    if s.ensemble is not None:
        of = s.ensemble.of
        facts |= (
            {"quantiles": _quantiles(context, files, fitted, of, chosen)}
            if known is None
            else known
        )
        files = adjust_spark.ensemble(
            context.spark,
            files,
            fitted,
            s.all_detectors,
            of,
            facts["quantiles"],
            s.ensemble.combine,
            work / ENSEMBLE,
        )
    write_json(work / ADJUST, facts)
    return files


def _known(context: Context, partial: bool) -> dict[str, Any] | None:
    donor = donor_run(context)
    donor_path = donor.path if donor else (context.run.path if partial else None)
    s = context.settings
    if donor_path is None or (s.scoring.errors == "plain" and s.ensemble is None):
        return None
    path = donor_path / ADJUST
    found: dict[str, Any] = read_json(path) if path.exists() else {}
    wanted = {"standardised": ("scale",), "mahalanobis": ("mean", "precision")}.get(
        s.scoring.errors, ()
    )
    if missing := [k for k in (*wanted, *(("quantiles",) if s.ensemble else ())) if k not in found]:
        raise DataError(
            f"{path}: holds no {', '.join(missing)}; that run was scored with other scoring.errors or without an ensemble. "
            "Use its settings."
        )
    return found


def _errors(context: Context, files: list[str], split: int, chosen: bool) -> dict[str, Any]:
    if context.settings.scoring.errors == "standardised":
        return {"scale": adjust_spark.error_scale(context.spark, files, split, chosen).tolist()}
    found = adjust_spark.residuals(context.spark, files, split, chosen)
    return {"mean": found.mean.tolist(), "precision": found.precision().tolist()}


def _quantiles(
    context: Context,
    files: list[str],
    fitted: tuple[str, ...],
    of: tuple[str, ...],
    chosen: str | None,
) -> list[float]:
    s = context.settings
    if s.ensemble is None:
        return []
    found = thresholds_spark.histograms(context.spark, files, fitted, chosen)
    keys = [Key(d, CHOSEN if chosen else s.fitted_split, None, C.ALL) for d in of]
    exact = thresholds_spark.exact_quantiles(
        context.spark, files, fitted, locate(found, keys, [s.ensemble.quantile]), chosen
    )
    if len(exact) < len(keys):
        raise DataError(
            f"no event of split.{s.fitted_split} was judged, so the ensemble has nothing to divide by. Widen it."
        )
    return [exact[k, s.ensemble.quantile] for k in keys]
