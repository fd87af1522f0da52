"""Run directories, here or on S3: lock, stage records, staging, publishing.

A stage is done if its record `.stages/<stage>.json` exists with the wanted fingerprint, its outputs
exist, and its sealed files (small ones: manifests, scaler, bundle) have the recorded sha256. A
record is removed before outputs are replaced, and written last, so that a kill at any moment leaves
either the old record or none.
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from foreshock.errors import DataError
from foreshock.platform.failures import machine_error
from foreshock.platform.files import file_sha256, read_json, write_json
from foreshock.platform.locks import locked
from foreshock.platform.paths import absolute, below, check_bucket, is_remote
from foreshock.platform.transfers import move, remove

STAGES = ("extract", "prepare", "train", "score", "report")
RECORDS, STAGING = ".stages", ".staging"
# Everything that a run writes; whatever else lies in a run directory is the user's and stays.
OUTPUTS = (
    "source",
    "events",
    "events_test",
    "quarantine",
    "quarantine_test",
    "scaler.json",
    "scaler",
    "dataset",
    "rest",
    "tails",
    "sequences",
    "model",
    "checkpoints",
    "tensorboard",
    "tables",
    "score_details.json",
    "verdict.json",
    "shapes.json",
    "adjust.json",
    "report.html",
    "summary.json",
    "sink.json",
    "events.log",
    "events.log.parts",
    RECORDS,
    STAGING,
    "conf.yaml",
)
RECORD_KEYS = {"fingerprint", "outputs", "sealed"}


class RunDirectory:
    """A run directory: where each stage's results lie, and the record that a stage is done."""

    def __init__(self, path: str) -> None:
        self.path = absolute(path)
        self._check_lock: Callable[[], None] = lambda: None

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    @property
    def conf(self) -> Path:
        """The settings as resolved, with their sha256."""
        return self.path / "conf.yaml"

    @property
    def log(self) -> Path:
        """What happened in the run, as JSON lines."""
        return self.path / "events.log"

    @property
    def dataset(self) -> Path:
        """The folder of the datasets, one folder a split."""
        return self.path / "dataset"

    @property
    def rest(self) -> Path:
        """The events that end no window, with the reason."""
        return self.path / "rest"

    @property
    def tails(self) -> Path:
        """The last events of each entity, which a later run continues from."""
        return self.path / "tails"

    @property
    def scaler(self) -> Path:
        """The scaler's statistics and policies."""
        return self.path / "scaler.json"

    @property
    def model(self) -> Path:
        """The bundle of the fitted detectors."""
        return self.path / "model"

    @property
    def checkpoints(self) -> Path:
        """The checkpoints of training."""
        return self.path / "checkpoints"

    @property
    def tables(self) -> Path:
        """The run's tables, one folder each."""
        return self.path / "tables"

    @property
    def report(self) -> Path:
        """The report's page."""
        return self.path / "report.html"

    @property
    def summary(self) -> Path:
        """The summary of the run, as JSON."""
        return self.path / "summary.json"

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the directory, and make it if it is missing.

        Raises SettingsError if another run is at work in it, or if it cannot be written.
        """
        check_bucket(self.path, "--run-dir")
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            # By hand: only what fails before the block begins is an error of --run-dir.
            lock = locked(self.path, "--run-dir")
            self._check_lock = lock.__enter__()
        except OSError as error:
            if is_remote(self.path):
                raise
            raise machine_error(error, f"--run-dir {self.path}: cannot be written") from None
        try:
            yield
        finally:
            lock.__exit__(None, None, None)

    def check_held(self) -> None:
        """Raise ServiceError if another run has taken the directory over.

        To be called before anything in the directory is changed.
        """
        self._check_lock()

    @property
    def foreign(self) -> list[str]:
        """What has the name of a run's results, in a folder where no run has been."""
        names = {entry.name for entry in self.path.iterdir()}
        if {"conf.yaml", RECORDS} & names:
            return []
        return sorted(name for name in names & set(OUTPUTS) if not name.startswith("."))

    @property
    def started(self) -> bool:
        """Whether any stage was published."""
        return any((self.path / RECORDS).glob("*.json"))

    def clear(self) -> None:
        """Remove all results of an earlier run; files that no run writes stay.

        conf.yaml goes last, for it says that the rest are a run's.
        """
        self.check_held()
        for name in (RECORDS, *OUTPUTS):
            remove(self.path / name)

    def staging(self, stage: str) -> Path:
        """A fresh folder for a stage's unfinished work; the stage's leftovers are removed."""
        self.check_held()
        base = self.path / STAGING
        base.mkdir(exist_ok=True)
        if is_remote(self.path):
            remove(base)
        else:
            self._remove_leftovers(base, stage)
        fresh = base / f"{stage}-{uuid.uuid4().hex[:12]}"
        fresh.mkdir()
        return fresh

    def _remove_leftovers(self, base: Path, stage: str) -> None:
        """What a killed process may have left half written or half removed."""
        records = self.path / RECORDS
        for leftover in (
            *base.glob(f"{stage}-*"),
            *self.path.rglob(".removed-*"),
            *records.glob(".*.json.*"),
        ):
            remove(leftover)

    def _record_path(self, stage: str) -> Path:
        return self.path / RECORDS / f"{stage}.json"

    def record(self, stage: str) -> dict[str, Any] | None:
        """The record of a stage that is done: fingerprint, outputs, sealed files; else None.

        Raises DataError if the record was altered.
        """
        path = self._record_path(stage)
        if not path.exists():
            return None
        record = read_json(path)
        if not isinstance(record, dict) or not set(record) >= RECORD_KEYS:
            raise DataError(
                f"{path}: not a stage's record; it was altered. Run again with --force."
            )
        return record

    def is_done(self, stage: str, fingerprint: str) -> bool:
        """Whether the stage is done for this fingerprint.

        Raises DataError if a sealed file was altered.
        """
        record = self.record(stage)
        if record is None or record["fingerprint"] != fingerprint:
            return False
        names = (*record["outputs"], *record["sealed"])
        if not all((self.path / name).exists() for name in names):
            return False
        self.verify(stage)
        return True

    def verify(self, stage: str) -> None:
        """Raise DataError if a sealed file of a stage is missing or was altered."""
        record = self.record(stage)
        sealed = record["sealed"] if record else {}
        for name, sha256 in sealed.items():
            path = self.path / name
            if not path.exists():
                raise DataError(
                    f"{path}: written by stage {stage}, it is missing. Run again with --force."
                )
            if file_sha256(path) != sha256:
                raise DataError(
                    f"{path}: altered since stage {stage} wrote it (its sha256 is not the recorded "
                    f"one), so it does not belong to this run. Restore it, or run jobs/{stage}.py "
                    "with --force."
                )

    def begin(self, stage: str) -> None:
        """Withdraw the records of a stage and of the stages after it, last first.

        A trained model is kept: its fingerprint is made of the training data themselves, and a new
        day need not change them.
        """
        self.check_held()
        for later in reversed(STAGES[STAGES.index(stage) :]):
            if later == stage or later != "train":
                self._record_path(later).unlink(missing_ok=True)

    def publish(
        self,
        stage: str,
        fingerprint: str,
        moves: Mapping[Path, Path],
        *,
        sealed: Sequence[Path] = (),
    ) -> None:
        """Move finished paths to their places, then write the stage's record.

        moves: from staging to the place, where whatever lies there is replaced. sealed: small files
        whose sha256 the record keeps.
        """
        self.begin(stage)
        try:
            for source, target in moves.items():
                remove(target)
                move(source, target)
        except BaseException:
            self._withdraw(moves)
            raise
        self._record_path(stage).parent.mkdir(exist_ok=True)
        outputs = {below(target, self.path) for target in moves.values()} - {None}
        names = {below(path, self.path): path for path in sealed}
        record = {
            "fingerprint": fingerprint,
            "outputs": sorted(name for name in outputs if name),
            "sealed": {name: file_sha256(path) for name, path in names.items() if name},
        }
        # Last: outputs without a record count as not there.
        write_json(self._record_path(stage), record)

    @staticmethod
    def _withdraw(moves: Mapping[Path, Path]) -> None:
        """Remove what was moved already: half of a stage is worse than none of it."""
        for source, target in moves.items():
            if not source.exists() or is_remote(target):
                with contextlib.suppress(Exception):
                    remove(target)
