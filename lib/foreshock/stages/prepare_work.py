"""Prepare's work: scaler, windows and datasets, then published together."""

from __future__ import annotations

from pathlib import Path

from foreshock.events.ledger import Ledger
from foreshock.platform.transfers import remove
from foreshock.scaling.robust import Scaler
from foreshock.sequences.event_rows import SEQUENCES, TAILS
from foreshock.stages.context import Context
from foreshock.stages.donor import DonorRun
from foreshock.stages.prepare_datasets import join_datasets
from foreshock.stages.prepare_scaler import SUMMARIES, fit_scaler
from foreshock.stages.prepare_windows import cut_windows
from foreshock.stages.publish import publisher_of
from foreshock.stages.scaler_file import SCALER, write_scaler
from foreshock.windows.cut.spark import REST
from foreshock.windows.dataset.manifest import MANIFEST_NAME, METADATA_NAME, Count, Manifest

DATASET = "dataset"
COUNTED: tuple[Count, ...] = ("blocks", "windows", "events", "bytes")


def prepare_run(
    context: Context,
    ledger: Ledger,
    donor: DonorRun | None,
    fingerprint: str,
    *,
    write_sequences: bool,
) -> None:
    """Do all of prepare and publish it.

    fingerprint: recorded with the stage. write_sequences: whether a detector needs `sequences/`.
    Raises DataError if a split that is needed has no window, or no feature has spread.
    """
    context.run.verify("extract")
    # Before the work: what others publish from now on is a conflict.
    publisher_of(context).look()
    with context.attempt("prepare") as counts:
        staging_folder = context.run.staging("prepare")
        if donor:
            scaler = donor.scaler(context.settings.feature_names)
        else:
            scaler = fit_scaler(context, ledger, staging_folder)
        write_scaler(scaler, staging_folder / SCALER)
        pieces = cut_windows(
            context, ledger, donor, scaler, staging_folder, write_sequences=write_sequences
        )
        split_manifests = join_datasets(context, pieces, scaler.kept, staging_folder)
        published_names = [SCALER, DATASET, REST, TAILS]
        published_names += [SEQUENCES] if write_sequences else []
        # With a donor no scaler is fitted, so there are no summaries to keep.
        published_names += [] if donor else [SUMMARIES]
        staged_moves = {staging_folder / name: context.run / name for name in published_names}
        context.run.publish(
            "prepare", fingerprint, staged_moves, sealed=_sealed(context, split_manifests)
        )
        if not write_sequences:
            # They are those of a run of other settings, which was forced anew.
            remove(context.run / SEQUENCES)
        remove(staging_folder)
        counts |= {
            split: {name: manifest.total(name) for name in COUNTED}
            for split, manifest in split_manifests.items()
        }
        counts["scaled"] = _policies(scaler)


def _sealed(context: Context, manifests: dict[str, Manifest]) -> list[Path]:
    """The small files whose hashes the stage's record holds."""
    dataset_folders = [context.run / DATASET / split for split in manifests]
    return [
        context.run / SCALER,
        *(folder / name for folder in dataset_folders for name in (MANIFEST_NAME, METADATA_NAME)),
    ]


def _policies(scaler: Scaler) -> dict[str, str]:
    return {feature.name: feature.policy for feature in scaler.features}
