"""The donor run: the finished run of `model.from`, whose scaler, model and thresholds a run uses.
No Spark.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from foreshock.errors import DataError, ServiceError, SettingsError
from foreshock.platform.files import file_sha256
from foreshock.platform.paths import at, stamps
from foreshock.platform.run_directory import RunDirectory
from foreshock.scaling.robust import Scaler
from foreshock.sequences.event_rows import TAILS
from foreshock.stages.context import Context
from foreshock.stages.scaler_file import SCALER, read_scaler

NEEDED = (SCALER, "model/bundle.json", "tables/thresholds")
# Its key among what stages of one process hand on.
SHARED = "donor"


@dataclass(frozen=True)
class DonorRun:
    """A finished run. fingerprint: of its scoring; another one means that it was scored anew."""

    path: Path
    fingerprint: str

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    @property
    def has_tails(self) -> bool:
        """Whether it kept the last events of its sequences (early versions did not)."""
        return (self / TAILS).exists()

    def identity(self) -> dict[str, object]:
        """What of it decides how events are prepared, as data to be hashed.

        The sha256 of its scaler, and the stamps of its tails, which are larger.
        """
        tail_stamps = stamps(self / TAILS) if self.has_tails else []
        return {"scaler": file_sha256(self / SCALER), TAILS: tail_stamps}

    def scaler(self, feature_names: tuple[str, ...]) -> Scaler:
        """Its scaler.

        feature_names: of this run, in order. Raises DataError if the scaler is of other features,
        or of another order of them.
        """
        scaler = read_scaler(self / SCALER)
        scaler_names = tuple(feature.name for feature in scaler.features)
        if scaler_names != feature_names:
            raise DataError(
                f"model.from {self.path}: its scaler has the features {', '.join(scaler_names)}; "
                f"the settings have {', '.join(feature_names)}. Use the same features in order."
            )
        return scaler


def donor_run(context: Context) -> DonorRun | None:
    """The run of `model.from`, if there is one: found each time, verified the first time of a
    process.

    Raises SettingsError if the directory holds no finished run, DataError if the run was altered,
    ServiceError if it was scored anew since the first time.
    """
    if context.settings.model.from_ is None:
        return None
    # Looked for each time: it may be scored anew while this run is at work.
    donor = find_donor(at(context.settings.model.from_))
    first_found = context.shared.get(SHARED)
    # Hashing its files once a process is enough: they are read by this process alone.
    if first_found is None:
        verify_donor(donor)
        context.shared[SHARED] = donor
    elif first_found != donor:
        raise ServiceError(
            f"model.from {donor.path}: it was scored anew while this run was at work. "
            "Run the same command again."
        )
    return donor


def find_donor(path: Path) -> DonorRun:
    """The finished run of a directory; nothing is verified yet.

    Raises SettingsError if a file of NEEDED is missing, or if the run's scoring is not finished.
    """
    for needed_name in NEEDED:
        if not (path / needed_name).exists():
            raise SettingsError(
                f"`model.from`: {path} holds no {needed_name}; a run directory with a finished "
                "run is wanted."
            )
    score_record = RunDirectory(str(path)).record("score")
    if score_record is None:
        raise SettingsError(
            f"`model.from`: {path} holds no finished run: its scoring is under way, or was "
            "stopped. Let it finish first."
        )
    return DonorRun(path, score_record["fingerprint"])


def verify_donor(donor: DonorRun) -> None:
    """Raise DataError if a sealed file of the donor's (scaler, manifests, bundle) was altered.

    The files are read and hashed.
    """
    run = RunDirectory(str(donor.path))
    for stage in ("prepare", "train"):
        run.verify(stage)
