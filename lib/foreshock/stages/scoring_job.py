"""A scoring job: what its steps share, and the thresholds that it takes from elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from foreshock import columns as C
from foreshock.errors import DataError, SettingsError
from foreshock.platform.files import file_sha256
from foreshock.platform.parquet import read_table
from foreshock.settings.root import RuleSettings, Settings
from foreshock.stages.context import Context
from foreshock.stages.donor import donor_run
from foreshock.stages.extract import read_ledger
from foreshock.thresholds.rules import Threshold, check_borrowed, fixed_row
from foreshock.windows.dataset.manifest import Manifest
from foreshock.windows.models import bundle as bundles
from foreshock.windows.models.bundle import Bundle


@dataclass(frozen=True)
class ScoringJob:
    """What the steps of a scoring job share.

    manifests: of the dataset's splits. bundle: the fitted detectors, with its sha256.
    partitions: only their events are scored; None: all. known_partitions: those with events.
    borrowed: thresholds from elsewhere; None: they are fitted. work: the job's staging folder.
    """

    context: Context
    manifests: Mapping[str, Manifest]
    bundle: Bundle
    bundle_sha256: str
    partitions: tuple[str, ...] | None
    known_partitions: tuple[str, ...]
    borrowed: tuple[Threshold, ...] | None
    work: Path

    @property
    def settings(self) -> Settings:
        """The settings of the run."""
        return self.context.settings

    @property
    def detectors(self) -> tuple[str, ...]:
        """All that events are scored by, the run's model first."""
        return self.settings.all_detectors

    @property
    def model(self) -> str:
        """The detector, or ensemble, whose scores are those of the run."""
        return self.detectors[0]

    @property
    def manifest(self) -> Manifest:
        """That of some split: features, length and stride are the same in all."""
        return next(iter(self.manifests.values()))

    @property
    def is_partial(self) -> bool:
        """Whether only some partitions are scored."""
        return self.partitions is not None

    @property
    def admitted_split(self) -> str | None:
        """The split in which `events.calibrate_where` chooses what thresholds are fitted on.

        None if that setting is null: all judged events of the split count then.
        """
        has_filter = self.settings.events.calibrate_where is not None
        return self.settings.fitted_split if has_filter else None

    @property
    def judging_rule(self) -> RuleSettings:
        """The rule whose thresholds judge."""
        return self.settings.thresholds.judging_rule

    @property
    def tables(self) -> Path:
        """Where the job writes its tables before they are published."""
        return self.work / "tables"


@dataclass(frozen=True)
class ScoringInputs:
    """What a scoring job starts from: the dataset's manifests, and the fitted detectors."""

    manifests: Mapping[str, Manifest]
    bundle: Bundle
    bundle_sha256: str


def load_inputs(
    context: Context, manifests: Mapping[str, Manifest], partitions: list[str] | None
) -> ScoringInputs:
    """What the stages before have made.

    Raises DataError if dataset, scaler and bundle do not belong together, SettingsError if scores
    are smoothed and only some partitions are wanted.
    """
    bundle = bundles.load(context.run.model)
    check_inputs(context, manifests, bundle)
    if partitions is not None and context.settings.scoring.smooth is not None:
        raise SettingsError(
            "--partitions: scoring.smooth averages over scores before them too, so a run is scored "
            "whole. Leave one out."
        )
    return ScoringInputs(manifests, bundle, file_sha256(context.run.model / bundles.NAME))


def open_job(
    context: Context, inputs: ScoringInputs, partitions: list[str] | None, work: Path
) -> ScoringJob:
    """The job that scores a run, or some of its partitions.

    Raises SettingsError if a partition was not extracted, or borrowed thresholds do not fit.
    """
    borrowed = borrowed_thresholds(context, partitions)
    known_partitions = tuple(read_ledger(context).kept_partitions())
    if unknown := sorted(set(partitions or ()) - set(known_partitions)):
        raise SettingsError(
            f"--partitions: {', '.join(unknown)} not extracted; there are "
            f"{', '.join(known_partitions[:20])}."
        )
    return ScoringJob(
        context,
        inputs.manifests,
        inputs.bundle,
        inputs.bundle_sha256,
        None if partitions is None else tuple(partitions),
        known_partitions,
        borrowed,
        work,
    )


def check_inputs(context: Context, manifests: Mapping[str, Manifest], bundle: Bundle) -> None:
    """Raise DataError if dataset, scaler and bundle do not belong together.

    The bundle must also hold every detector of the settings.
    """
    scaler_sha256 = file_sha256(context.run.scaler)
    for manifest in manifests.values():
        bundles.check(
            bundle,
            manifest.features,
            manifest.length,
            manifest.scaler_sha256,
            str(context.run.model),
        )
        if manifest.scaler_sha256 != scaler_sha256:
            raise DataError(
                f"{context.run.scaler}: not the scaler that the dataset was scaled with. "
                "Run jobs/prepare.py --force."
            )
    if missing := sorted(set(context.settings.fitted_detectors) - set(bundle.models)):
        raise DataError(
            f"{context.run.model}: holds no {', '.join(missing)}; train again, or leave it out of "
            "detectors."
        )


def borrowed_thresholds(
    context: Context, partitions: list[str] | None
) -> tuple[Threshold, ...] | None:
    """Thresholds that the job takes from elsewhere; None if it fits them.

    They are those of `model.from`, or of the run itself if it scores a few partitions. A fixed
    threshold is the settings' own. Raises SettingsError if the rule that judges is not among them.
    """
    donor, thresholds_folder = donor_run(context), context.tables / C.THRESHOLDS
    if donor is None and (partitions is None or not thresholds_folder.exists()):
        return None
    settings = context.settings
    thresholds_source = donor / "tables" / C.THRESHOLDS if donor else thresholds_folder
    # A fixed threshold is that of these settings, whatever the donor had.
    borrowed_rows = [
        threshold_row
        for threshold_row in read_thresholds(thresholds_source)
        if threshold_row.rule != "fixed"
    ]
    for threshold_rule in settings.thresholds.rules:
        if threshold_rule.name == "fixed":
            borrowed_rows.append(fixed_row(settings.all_detectors[0], threshold_rule.value or 0.0))
    judging_rule = settings.thresholds.judging_rule
    # Its threshold is computed from the very events that it judges.
    judges_units = judging_rule.name == "conformal" and judging_rule.control == "fdr"
    if donor is not None and judges_units:
        raise SettingsError(
            "thresholds: conformal with control: fdr judges the test units that it was computed "
            "from, not those of another run; with model.from use control: risk, or another rule."
        )
    threshold_place = str(donor.path if donor else context.run.path)
    check_borrowed(borrowed_rows, judging_rule.name, judging_rule.table_level, threshold_place)
    return tuple(borrowed_rows)


def read_thresholds(folder: Path) -> list[Threshold]:
    """The rows of a `thresholds` table.

    folder: that of the table, in a run directory.
    """
    borrowed_rows = read_table(folder / "part-00000.parquet").drop_columns(["run_id"]).to_pylist()
    return [Threshold(**threshold_row) for threshold_row in borrowed_rows]
