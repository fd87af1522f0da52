"""Prepare: from `events/` to the scaler, a Petastorm dataset per split and, where wanted,
sequences.

Here it is decided whether there is anything to do, without Spark; the work is in `prepare_work`.
"""

from __future__ import annotations

from foreshock.detectors import entry_of
from foreshock.errors import SettingsError
from foreshock.events.ledger_checks import check_rows, check_splits
from foreshock.platform.files import digest
from foreshock.settings.root import Settings
from foreshock.stages.context import Context
from foreshock.stages.donor import donor_run
from foreshock.stages.extract import read_ledger
from foreshock.stages.scaler_file import read_scaler

__all__ = ["prepare", "read_scaler", "reads_sequences"]


def prepare(context: Context) -> None:
    """Fit the scaler on train and cut every split into blocks, unless that is done.

    Raises SettingsError if nothing is extracted, DataError if a split has no window.
    """
    ledger = read_ledger(context)
    if ledger.is_empty:
        raise SettingsError(
            f"--run-dir {context.run.path}: nothing is extracted there. Run jobs/extract.py first."
        )
    check_rows(context.settings, ledger)
    check_splits(context.settings, ledger)
    donor = donor_run(context)
    fingerprint = digest(
        {
            "settings": context.sha256,
            "ledger": ledger.to_mapping(),
            # The keys are those of earlier versions, whose finished runs stay finished.
            "other": donor.identity() if donor else None,
        }
    )
    if not context.force and context.run.is_done("prepare", fingerprint):
        context.log.event("prepare", "nothing to do")
        return
    from foreshock.stages.prepare_work import prepare_run

    prepare_run(
        context, ledger, donor, fingerprint, write_sequences=reads_sequences(context.settings)
    )


def reads_sequences(settings: Settings) -> bool:
    """Whether a detector of the run scores `sequences/` rather than windows.

    Only then does prepare write that folder.
    """
    return any(entry_of(name).reads_sequences for name in settings.fitted_detectors)
