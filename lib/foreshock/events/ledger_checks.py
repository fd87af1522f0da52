"""Whether what was extracted is enough to go on with."""

from __future__ import annotations

from collections.abc import Mapping

from foreshock import columns as C
from foreshock.errors import DataError
from foreshock.events.ledger import Ledger, PartitionCounts, time_text
from foreshock.settings.root import Settings

SHOWN_REASONS = 6


def refused_text(quarantined: Mapping[str, int]) -> str:
    """The commonest reasons of refused rows, as the end of a sentence; empty where there is none.

    >>> refused_text({"null:gas": 2, "nan:value": 7})
    '; quarantined: nan:value: 7, null:gas: 2'
    >>> refused_text({})
    ''
    """
    if not quarantined:
        return ""
    commonest = sorted(quarantined.items(), key=lambda item: -item[1])[:SHOWN_REASONS]
    return "; quarantined: " + ", ".join(f"{reason}: {count}" for reason, count in commonest)


def check_rows(settings: Settings, ledger: Ledger) -> None:
    """Raise DataError if no row was read, or if none is left.

    The message says how many rows were filtered, and the commonest reasons of those refused.
    """
    total = ledger.total()
    if not total.rows_read:
        raise DataError(
            f"source {_source_text(settings)}: there are no rows in it; the source is empty."
        )
    if not total.kept:
        raise DataError(
            f"no row of {total.rows_read} is left: {total.filtered} filtered by events.where"
            f"{refused_text(total.quarantined)}. Correct the expressions or the source."
        )


def _source_text(settings: Settings) -> str:
    source = settings.source
    if source.path:
        return source.path
    if source.kind == "athena":
        return f"{source.database}.{source.table}" if source.table else "query"
    return source.kind


def check_splits(settings: Settings, ledger: Ledger) -> None:
    """Raise DataError if training cannot go well with what was extracted.

    That is so if a split has no rows, if a feature has no value in train, or if thresholds have too
    few events.
    """
    total = ledger.total()
    _check_needed_splits(settings, total)
    if settings.model.from_ is not None:
        # Scaler and thresholds come from the other run.
        return
    _check_features(settings, total)
    _check_fitted_rows(settings, total)


def _check_needed_splits(settings: Settings, total: PartitionCounts) -> None:
    for split in settings.needed_splits:
        if not total.kept.get(split):
            span = getattr(settings.split, split)
            raise DataError(
                f"split.{split} {span} has no rows: of {total.rows_read} rows read, "
                f"{_kept_text(total)}{refused_text(total.quarantined)}. "
                "Correct the split or the source."
            )


def _kept_text(total: PartitionCounts) -> str:
    if total.event_span is None:
        return "none is kept"
    first, last = time_text(total.event_span.first), time_text(total.event_span.last)
    return f"the events kept lie from {first} to {last}"


def _check_features(settings: Settings, total: PartitionCounts) -> None:
    train_rows = total.kept.get(C.TRAIN, 0)
    for feature in settings.feature_names:
        if total.nulls_by_feature.get(feature, 0) == train_rows:
            raise DataError(
                f"feature `{feature}` is null in every training row ({train_rows} rows): "
                f"correct events.features.{feature} or remove it."
            )


def _check_fitted_rows(settings: Settings, total: PartitionCounts) -> None:
    split, least = settings.fitted_rows, settings.thresholds.min_count
    fitted_events = total.kept.get(split, 0)
    # A fixed threshold needs no event.
    all_fixed = all(rule.name == "fixed" for rule in settings.thresholds.rules)
    if not all_fixed and fitted_events < least:
        raise DataError(
            f"split.{split} holds {fitted_events} events, fewer than thresholds.min_count "
            f"({least}): too few for any threshold. Widen the split or lower min_count."
        )
