"""Run directories, here or on S3: lock, conf, stage records, publishing."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from foreshock.errors import DataError, ServiceError, SettingsError
from foreshock.platform.locks import locked
from foreshock.platform.paths import absolute, below, check_bucket, is_remote, move, remove

STAGES = ("extract", "prepare", "train", "score", "report")
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
    ".stages",
    ".staging",
    "conf.yaml",
)


def digest(value: Any) -> str:
    """sha256 of a JSON-able value, the same for equal values."""
    return hashlib.sha256(
        json.dumps(value, sort_keys=True, separators=(",", ":"), default=str).encode()
    ).hexdigest()


def file_sha256(path: Path) -> str:
    """sha256 of a file's bytes."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, data: bytes | memoryview) -> None:
    """Write a file whole or not at all; on S3 any object is."""
    if is_remote(path):
        path.write_bytes(data)
        return
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with temporary.open("wb") as handle:
            handle.write(data)
            handle.flush()
            os.fsync(handle.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Write JSON whole or not at all."""
    write_text(path, json.dumps(value, indent=1, sort_keys=True, default=str) + "\n")


def read_json(path: Path) -> Any:
    """Parsed JSON; DataError names a file that is not JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path}: not valid JSON ({error}); it was altered. Run again with --force."
        ) from None


def machine_error(error: OSError, what: str) -> Exception:
    """The project's error for an OSError: no permission is the user's, a full disk the machine's."""
    message = f"{what}: {error.strerror or error} ({error.filename or what})."
    if error.errno in (
        errno.EEXIST,
        errno.EACCES,
        errno.EPERM,
        errno.EROFS,
        errno.ENOTDIR,
        errno.EISDIR,
        errno.ENAMETOOLONG,
    ):
        return SettingsError(
            f"{message} Choose a place that can be written, or change its permissions."
        )
    return ServiceError(f"{message} Free or add space, then run the same command again.")


class RunDirectory:
    """A run directory: where each stage's results lie, and the record that a stage is done.

    A stage is done when its record `.stages/<stage>.json` exists with the wanted fingerprint, its outputs exist
    and its sealed files (small: manifests, scaler, bundle) have the recorded sha256. A record is removed before
    outputs are replaced and written last, so that a kill at any moment leaves either the old or no record.
    """

    def __init__(self, path: str) -> None:
        self.path = absolute(path)
        self._held: Callable[[], None] = lambda: None  # raises once the lock is lost

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the directory; created if missing. Raises SettingsError where another run does."""
        check_bucket(self.path, "--run-dir")
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock = locked(self.path)
            self._held = lock.__enter__()
        except OSError as error:
            if is_remote(self.path):
                raise
            raise machine_error(error, f"--run-dir {self.path}: cannot be written") from None
        try:
            yield
        finally:
            lock.__exit__(None, None, None)

    def check_held(self) -> None:
        """Raise ServiceError where another run has taken the directory over; before anything there is changed."""
        self._held()

    @property
    def foreign(self) -> list[str]:
        """What has the name of a run's results, in a folder where no run has been."""
        there = {p.name for p in self.path.iterdir()}
        return (
            []
            if {"conf.yaml", ".stages"} & there
            else sorted(there & {n for n in OUTPUTS if not n.startswith(".")})
        )

    @property
    def started(self) -> bool:
        """Whether any stage was published."""
        return any((self.path / ".stages").glob("*.json"))

    def clear(self) -> None:
        """Remove all results of an earlier run; files that no run writes stay. conf.yaml, which says that they are a run's, goes last."""
        self.check_held()
        for name in (".stages", *OUTPUTS):
            remove(self.path / name)

    def staging(self, stage: str) -> Path:
        """A fresh folder for a stage's unfinished work; leftovers of that stage are removed."""
        self.check_held()
        base = self.path / ".staging"
        base.mkdir(exist_ok=True)
        if is_remote(self.path):
            remove(base)
        else:
            for leftover in (
                *base.glob(f"{stage}-*"),
                *self.path.rglob(".removed-*"),
                *(self.path / ".stages").glob(".*.json.*"),
            ):
                remove(leftover)
        fresh = base / f"{stage}-{uuid.uuid4().hex[:12]}"
        fresh.mkdir()
        return fresh

    def _record_path(self, stage: str) -> Path:
        return self.path / ".stages" / f"{stage}.json"

    def record(self, stage: str) -> dict[str, Any] | None:
        """The record of a stage that is done, else None."""
        path = self._record_path(stage)
        if not path.exists():
            return None
        record = read_json(path)
        if not isinstance(record, dict) or not {"fingerprint", "outputs", "sealed"} <= set(record):
            raise DataError(
                f"{path}: not a stage's record; it was altered. Run again with --force."
            )
        return record

    def is_done(self, stage: str, fingerprint: str) -> bool:
        """Whether the stage is done for this fingerprint; DataError where a sealed file was altered."""
        record = self.record(stage)
        if record is None or record["fingerprint"] != fingerprint:
            return False
        if not all((self.path / name).exists() for name in (*record["outputs"], *record["sealed"])):
            return False
        self.verify(stage)
        return True

    def verify(self, stage: str) -> None:
        """Raise DataError where a sealed file of a stage is missing or was altered."""
        for name, sha in (self.record(stage) or {"sealed": {}})["sealed"].items():
            path = self.path / name
            if not path.exists():
                raise DataError(
                    f"{path}: written by stage {stage}, it is missing. Run again with --force."
                )
            if file_sha256(path) != sha:
                raise DataError(
                    f"{path}: altered since stage {stage} wrote it (its sha256 is not the recorded one), so it "
                    f"does not belong to this run. Restore it, or run jobs/{stage}.py with --force."
                )

    def begin(self, stage: str) -> None:
        """Withdraw the records of a stage and of those after it, last first.

        A trained model is kept: its fingerprint is of the training data themselves, and a new day need not change them.
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
        sealed: list[Path] | None = None,
        info: Mapping[str, Any] | None = None,
    ) -> None:
        """Move finished paths to their places (replacing what lies there), then write the stage's record."""
        self.begin(stage)
        try:
            for source, target in moves.items():
                remove(target)
                move(source, target)
        except BaseException:
            for (
                source,
                target,
            ) in (
                moves.items()
            ):  # half of a stage is worse than none; what is still in staging goes with it
                if not source.exists() or is_remote(target):
                    with contextlib.suppress(Exception):
                        remove(target)
            raise
        self._record_path(stage).parent.mkdir(exist_ok=True)
        write_json(
            self._record_path(stage),
            {
                "fingerprint": fingerprint,
                "outputs": sorted(own for t in moves.values() if (own := below(t, self.path))),
                "sealed": {
                    own: file_sha256(p) for p in sealed or [] if (own := below(p, self.path))
                },
                **(info or {}),
            },
        )
