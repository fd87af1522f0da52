"""What every stage is given: settings, run directory, log and, when first asked for, Spark."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

from pyspark.sql import SparkSession

from foreshock.errors import DataError, SettingsError
from foreshock.platform import aws_boto
from foreshock.platform.failures import explain, machine_error
from foreshock.platform.files import write_text
from foreshock.platform.log import RunLog
from foreshock.platform.paths import at, is_remote
from foreshock.platform.run_directory import RunDirectory
from foreshock.platform.session import build_session
from foreshock.platform.transfers import remove
from foreshock.settings.conf_yaml import YamlError, format_yaml, parse_yaml
from foreshock.settings.identity import as_mapping, differing_keys, sha256
from foreshock.settings.root import Settings
from foreshock.tables.runs import Attempt
from foreshock.tables.sinks.iceberg import packages


class Context:
    """One attempt at a run. `open` it around the stages."""

    def __init__(
        self,
        settings: Settings,
        run_dir: str,
        *,
        force: bool = False,
        debug: bool = False,
        quiet: bool = False,
        spark: SparkSession | None = None,
    ) -> None:
        self.settings, self.force, self.debug = settings, force, debug
        if self.uses_aws(run_dir):
            aws_boto.apply(settings.aws.model_dump())
        self.sha256 = sha256(settings)
        self.run_id = f"{settings.run.name}-{self.sha256[:10]}"
        self.run = RunDirectory(run_dir)
        self.log = RunLog(self.run_id, quiet=quiet)
        self._given = spark
        self.shared: dict[str, Any] = {}  # what stages of one process hand on

    def uses_aws(self, run_dir: str) -> bool:
        """Whether anything of the run lies on AWS."""
        s = self.settings
        iceberg = s.tables.iceberg
        paths = (run_dir, s.source.path, s.split.test_path, s.model.from_, s.tables.location)
        self.uses_s3 = s.source.kind == "athena" or any(
            p is not None and is_remote(at(p)) for p in paths
        )
        self.uses_s3 |= (
            iceberg.catalog == "hadoop"
            and iceberg.warehouse is not None
            and is_remote(iceberg.warehouse)
        )
        return self.uses_s3 or s.tables.glue.database is not None or s.tables.sink == "iceberg"

    @property
    def tables(self) -> Path:
        """The run's own tables; stages/sink.py publishes them elsewhere."""
        return self.run / "tables"

    @cached_property
    def spark(self) -> SparkSession:
        if self._given is not None:
            return self._given
        self.log.event("spark", "starting")
        tables = self.settings.tables
        return build_session(
            self.run_id,
            debug=self.debug,
            s3=self.uses_s3,
            packages=packages(tables.iceberg.catalog) if tables.sink == "iceberg" else (),
        )

    def _make_location(self) -> None:
        """Raise SettingsError at once for a place of the tables that cannot be written; it is needed only when scoring is done."""
        if self.settings.tables.location is not None:
            location = at(self.settings.tables.location)
            try:
                location.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise machine_error(
                    error, f"tables.location {location}: cannot be written"
                ) from None

    def _settings_there(self, conf: Path) -> dict[str, Any]:
        """The settings of the run that a directory holds. Raises SettingsError for a conf.yaml that no run wrote."""
        try:
            there = parse_yaml(conf.read_text(encoding="utf-8"))
        except (YamlError, ValueError):
            there = None
        if (
            not isinstance(there, dict)
            or not isinstance(there.get("settings"), dict)
            or "settings_sha256" not in there
        ):
            raise SettingsError(
                f"--run-dir {self.run.path} holds a conf.yaml that no run of ours wrote. Nothing was written. Use a folder "
                "of its own."
            )
        return dict(there["settings"])

    @contextlib.contextmanager
    def open(self, *, replace_all: bool = False) -> Iterator[Context]:
        """Lock the run directory and settle whose settings it holds.

        Raises SettingsError where it holds a run of other settings, unless forced, or what is no run's.
        """
        with self.run.locked():
            if foreign := self.run.foreign:
                raise SettingsError(
                    f"--run-dir {self.run.path} holds {', '.join(foreign)}, and no run of ours (there is no conf.yaml). "
                    "Nothing was written. Use a folder of its own."
                )
            conf = self.run / "conf.yaml"
            wanted = as_mapping(self.settings)
            if conf.exists():
                keys = differing_keys(self._settings_there(conf), wanted)
                if keys and not self.force and self.run.started:
                    raise SettingsError(
                        f"--run-dir {self.run.path} holds a run of other settings; these differ: {', '.join(keys)}. Nothing "
                        "was written. Use another run directory, or --force to replace it."
                    )
                if keys or (self.force and replace_all):
                    self.run.clear()
            elif self.force and replace_all:
                self.run.clear()
            fresh = not conf.exists()
            self.log.path = self.run / "events.log"
            if not conf.exists():
                body = {"settings_sha256": self.sha256, "settings": wanted}
                write_text(conf, format_yaml(body))
            try:
                self._make_location()
                yield self
            except BaseException as error:
                self.close()  # so that no task still writes where things are cleared away
                # What is wrong with settings or data leaves nothing; what a service failed at stays in `runs` and the log.
                if (
                    fresh
                    and not self.run.started
                    and isinstance(explain(error, ""), SettingsError | DataError)
                ):
                    self.log.path = None
                    self.run.clear()
                raise
            finally:
                with contextlib.suppress(Exception):
                    self.run.check_held()
                    with contextlib.suppress(Exception):
                        remove(self.run / ".staging")
                    self.log.close()

    @contextlib.contextmanager
    def attempt(self, stage: str) -> Iterator[dict[str, Any]]:
        """Record a stage's attempt in `runs`; yields its counts to fill."""
        counts: dict[str, Any] = {}
        attempt = Attempt(self.run_id, stage, self.sha256)
        attempt.write(self.tables)
        self.log.event(stage, "started")
        try:
            yield counts
        except BaseException as error:
            with contextlib.suppress(Exception):
                attempt.finished("failed", counts | {"error": type(error).__name__}).write(
                    self.tables
                )
                self.log.event(stage, "failed", error=type(error).__name__)
            raise
        attempt.finished("done", counts).write(self.tables)
        self.log.event(stage, "done", **counts)

    def close(self) -> None:
        """Stop the Spark this context started."""
        if "spark" in self.__dict__ and self._given is None:
            spark = self.__dict__.pop("spark")
            with contextlib.suppress(Exception):  # a JVM that is gone cannot be stopped
                spark.stop()
