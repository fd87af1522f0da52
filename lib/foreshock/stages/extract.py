"""Extract: decides what of the source is new, and has it done. Nothing here needs Spark."""

from __future__ import annotations

from foreshock.errors import DataError
from foreshock.events.ledger import EVENTS_FOLDERS, MAIN, Ledger
from foreshock.platform.files import digest, read_json
from foreshock.stages.context import Context
from foreshock.stages.source import find_sources

LEDGER_PATH = f"{EVENTS_FOLDERS[MAIN]}/ledger.json"


def extract(
    context: Context, partitions: list[str] | None = None, *, whole_run: bool = False
) -> None:
    """Bring `events/` up to date: new and changed partitions are extracted, removed ones go.

    partitions: those to look at; None for all.
    whole_run: other stages follow, so what they need (rows in every split) is checked before
    anything is written.
    Raises DataError if the source is empty, a split has no rows, or an expression does not fit the
    columns.
    """
    sources = find_sources(context)
    ledger = read_ledger(context)
    fingerprint = digest(sources.fingerprints | {"settings": context.sha256})
    if partitions is None and not context.force and context.run.is_done("extract", fingerprint):
        context.log.event("extract", "nothing to do")
        return
    from foreshock.stages.extract_work import ExtractRequest, extract_sources

    request = ExtractRequest(sources, ledger, fingerprint, partitions, whole_run)
    extract_sources(context, request)


def read_ledger(context: Context) -> Ledger:
    """The ledger of what was extracted; empty if nothing was.

    Raises DataError for a file that is no ledger.
    """
    path = context.run / LEDGER_PATH
    if not path.exists() or not context.run.record("extract"):
        return Ledger()
    try:
        return Ledger.from_mapping(read_json(path))
    except DataError as error:
        raise DataError(
            f"{path}: {error} It was altered, or is of another version. Run again with --force."
        ) from None
