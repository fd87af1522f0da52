"""Run directories: lock, conf, stage records, atomic publish. Local files in this version."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from foreshock.errors import DataError, ServiceError, SettingsError

STAGES = ("extract", "prepare", "train", "score", "report")
OUTPUTS = ("source", "events", "events_test", "quarantine", "quarantine_test", "scaler.json", "scaler", "dataset", "rest",
           "model", "checkpoints", "tensorboard", "tables", "score_details.json", "report.html", "summary.json", "events.log", ".stages",
           ".staging", "conf.yaml")


def digest(value: Any) -> str:
    """sha256 of a JSON-able value, the same for equal values."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":"), default=str).encode()).hexdigest()


def file_sha256(path: Path) -> str:
    """sha256 of a file's bytes."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with temporary.open("w", encoding="utf-8") as handle:
            handle.write(text)
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
        raise DataError(f"{path}: not valid JSON ({error}); it was altered. Run again with --force.") from None


def machine_error(error: OSError, what: str) -> Exception:
    """The project's error for an OSError: no permission is the user's, a full disk the machine's."""
    message = f"{what}: {error.strerror or error} ({error.filename or what})."
    if error.errno in (errno.EEXIST, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG):
        return SettingsError(f"{message} Choose a place that can be written, or change its permissions.")
    return ServiceError(f"{message} Free or add space, then run the same command again.")


class RunDirectory:
    """A run directory: where each stage's results lie, and the record that a stage is done.

    A stage is done when its record `.stages/<stage>.json` exists with the wanted fingerprint, its outputs exist
    and its sealed files (small: manifests, scaler, bundle) have the recorded sha256. A record is removed before
    outputs are replaced and written last, so that a kill at any moment leaves either the old or no record.
    """

    def __init__(self, path: str) -> None:
        if "://" in path and not path.startswith("file://"):
            raise SettingsError(f"--run-dir {path}: {path.split('://')[0]}:// is not available in this version.")
        self.path = Path(path.removeprefix("file://")).expanduser().resolve()

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the directory; created if missing. The lock dies with the process, however it ends."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            handle = (self.path / ".lock").open("w")
        except OSError as error:
            raise machine_error(error, f"--run-dir {self.path}: cannot be written") from None
        with handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise SettingsError(f"--run-dir {self.path}: another run is at work in it. Wait for it.") from None
            yield

    @property
    def started(self) -> bool:
        """Whether any stage was published."""
        return any((self.path / ".stages").glob("*.json"))

    def clear(self) -> None:
        """Remove all results of an earlier run; files that no run writes stay."""
        with contextlib.suppress(FileNotFoundError):
            (self.path / "conf.yaml").unlink()
        for name in OUTPUTS:
            remove(self.path / name)

    def staging(self, stage: str) -> Path:
        """A fresh folder for a stage's unfinished work; leftovers of that stage are removed."""
        base = self.path / ".staging"
        base.mkdir(exist_ok=True)
        for leftover in (*base.glob(f"{stage}-*"), *self.path.rglob(".removed-*"), *(self.path / ".stages").glob(".*.json.*")):
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
            raise DataError(f"{path}: not a stage's record; it was altered. Run again with --force.")
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
                raise DataError(f"{path}: written by stage {stage}, it is missing. Run again with --force.")
            if file_sha256(path) != sha:
                raise DataError(
                    f"{path}: altered since stage {stage} wrote it (its sha256 is not the recorded one), so it "
                    f"does not belong to this run. Restore it, or run jobs/{stage}.py with --force."
                )

    def begin(self, stage: str) -> None:
        """Withdraw the records of a stage and of those after it, last first.

        A trained model is kept: its fingerprint is of the training data themselves, and a new day need not change them.
        """
        for later in reversed(STAGES[STAGES.index(stage):]):
            if later == stage or later != "train":
                self._record_path(later).unlink(missing_ok=True)

    def publish(
        self, stage: str, fingerprint: str, moves: Mapping[Path, Path], *, sealed: list[Path] | None = None,
        info: Mapping[str, Any] | None = None,
    ) -> None:
        """Move finished paths to their places (replacing what lies there), then write the stage's record."""
        self.begin(stage)
        for source, target in moves.items():
            target.parent.mkdir(parents=True, exist_ok=True)
            if target.exists():
                remove(target)
            source.rename(target)
        self._record_path(stage).parent.mkdir(exist_ok=True)
        write_json(self._record_path(stage), {
            "fingerprint": fingerprint,
            "outputs": sorted(str(t.relative_to(self.path)) for t in moves.values() if t.is_relative_to(self.path)),
            "sealed": {str(p.relative_to(self.path)): file_sha256(p) for p in sealed or []},
            **(info or {}),
        })


def remove(path: Path) -> None:
    """Remove a file or folder, if there; a folder is moved away first so that no reader sees half of it."""
    if path.is_dir() and not path.is_symlink():
        doomed = path.with_name(f".removed-{uuid.uuid4().hex}")
        path.rename(doomed)
        shutil.rmtree(doomed, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
