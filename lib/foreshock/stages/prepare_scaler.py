"""Fits the scaler of a run on its training events, reading only partitions that are new."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from urllib.parse import unquote

from foreshock import columns as C
from foreshock.errors import DataError
from foreshock.events.ledger import EVENTS_FOLDERS, MAIN, Ledger
from foreshock.scaling.robust import FeatureScale, Scaler, fit_feature
from foreshock.scaling.spark import fit_summary
from foreshock.scaling.summary import Summary
from foreshock.stages.context import Context
from foreshock.stages.prepare_windows import is_small
from foreshock.statistics.histogram import Histogram

SUMMARIES = "scaler"  # folder of the partitions' summaries


def fit_scaler(context: Context, ledger: Ledger, work: Path) -> Scaler:
    """The scaler of the run; the partitions' summaries lie in `work` afterwards.

    Raises DataError if no training event, or no feature with spread, is left.
    """
    settings = context.settings
    assert settings.split.train is not None
    summary = fit_summary(
        context.spark,
        _training_files(context, ledger),
        settings.feature_names,
        settings.split.train.micros,
        settings.scaling.transform,
        # --force trusts nothing that an earlier run kept.
        before=work / "none" if context.force else context.run / SUMMARIES,
        after=work / SUMMARIES,
        say=partial(context.log.event, "prepare"),
        here=is_small(context, ledger),
    )
    if not any(histogram.n for histogram in summary.histograms.values()):
        raise DataError(
            "events.train_where leaves no training event. Correct it, or widen split.train."
        )
    scaling = settings.scaling
    feature_scales = _feature_scales(context, ledger, summary)
    scaler = Scaler(scaling.method, scaling.transform, scaling.clip, feature_scales)
    if not scaler.kept:
        raise DataError(
            "every feature has no spread and scaling.constant is drop: nothing is left to look at."
        )
    for feature in scaler.features:
        if feature.policy != "scaled":
            message = f"feature {feature.name} is {feature.policy}"
            context.log.event("prepare", message, why=feature.why)
    return scaler


def _training_files(context: Context, ledger: Ledger) -> dict[str, list[str]]:
    """The files of events by partition (as its folder spells it) that holds training events."""
    with_training = {
        partition for partition, counts in ledger.partitions(MAIN) if counts.kept.get(C.TRAIN)
    }
    partition_files: dict[str, list[str]] = {}
    for folder in sorted((context.run / EVENTS_FOLDERS[MAIN]).glob(f"{C.PARTITION}=*")):
        partition = folder.name.partition("=")[2]
        # Folders spell partitions with escapes, the ledger without.
        if unquote(partition) in with_training:
            partition_files[partition] = [str(path) for path in sorted(folder.glob("*.parquet"))]
    return {partition: paths for partition, paths in partition_files.items() if paths}


def _feature_scales(context: Context, ledger: Ledger, summary: Summary) -> tuple[FeatureScale, ...]:
    settings, quartiles = context.settings, summary.quartiles()
    nulls_by_feature = ledger.total().nulls_by_feature
    return tuple(
        fit_feature(
            feature_name,
            summary.histograms.get(feature_name, Histogram()),
            quartiles.get(feature_name, (0.0, 0.0, 0.0)),
            nulls_by_feature.get(feature_name, 0),
            method=settings.scaling.method,
            floor=settings.scaling.floor,
            constant=settings.scaling.constant,
            null_policy=settings.quality.null_policy(feature_name),
        )
        for feature_name in settings.feature_names
    )
