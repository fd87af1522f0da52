"""What every stage is given: settings, run directory, log and, when first asked for, Spark."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from foreshock.errors import DataError, SettingsError
from foreshock.platform.failures import explain, machine_error
from foreshock.platform.log import RunLog
from foreshock.platform.paths import at, is_remote
from foreshock.platform.run_directory import RunDirectory
from foreshock.platform.transfers import remove
from foreshock.settings.identity import sha256
from foreshock.settings.root import Settings
from foreshock.stages.run_conf import claim
from foreshock.tables.sinks.iceberg_catalog import packages

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


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
        self.uses_s3 = _uses_s3(settings, run_dir)
        if self.uses_s3 or _writes_to_a_catalog(settings):
            # boto3 takes half a second to load: only a run on AWS pays it.
            from foreshock.platform import aws_boto

            aws_boto.apply(settings.aws.model_dump())
        self.sha256 = sha256(settings)
        self.run_id = f"{settings.run.name}-{self.sha256[:10]}"
        self.run = RunDirectory(run_dir)
        self.log = RunLog(self.run_id, quiet=quiet)
        self.shared: dict[str, Any] = {}  # what stages of one process hand on
        self._given_spark = spark

    @property
    def tables(self) -> Path:
        """The run's own tables; stages/publish.py publishes them elsewhere."""
        return self.run.tables

    @cached_property
    def spark(self) -> SparkSession:
        """The session: the one that was given, else one that is started now.

        Raises SettingsError if no Java can be started, ServiceError if Java packages cannot be
        fetched.
        """
        if self._given_spark is not None:
            return self._given_spark
        # A run that has nothing left to do needs no Spark, whose Python half loads for a second.
        from foreshock.platform.session import build_session

        self.log.event("spark", "starting")
        tables = self.settings.tables
        return build_session(
            self.run_id,
            debug=self.debug,
            s3=self.uses_s3,
            packages=packages(tables.iceberg.catalog) if tables.sink == "iceberg" else (),
        )

    @contextlib.contextmanager
    def open(self, *, replace_all: bool = False) -> Iterator[Context]:
        """Lock the run directory and settle whose settings it holds.

        Raises SettingsError if it holds a run of other settings, unless forced, or files that are
        no run's.
        """
        with self.run.locked():
            is_new = claim(self.run, self.settings, force=self.force, replace_all=replace_all)
            self.log.path = self.run.log
            try:
                self._make_location()
                yield self
            except BaseException as error:
                # So that no task still writes where things are cleared away.
                self.close()
                if is_new and self._leaves_nothing(error):
                    self.log.path = None
                    self.run.clear()
                raise
            finally:
                self._tidy()

    def _make_location(self) -> None:
        """Raise SettingsError at once if `tables.location` cannot be written.

        It is needed only when scoring is done, which may be hours later.
        """
        if self.settings.tables.location is None:
            return
        location = at(self.settings.tables.location)
        try:
            location.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            setting = f"tables.location {location}: cannot be written"
            raise machine_error(error, setting) from None

    def _leaves_nothing(self, error: BaseException) -> bool:
        # What is wrong with settings or data leaves no trace. What a service failed at stays: the
        # table `runs` and the log tell of it.
        is_users = isinstance(explain(error, ""), SettingsError | DataError)
        return is_users and not self.run.started

    def _tidy(self) -> None:
        """Remove unfinished work and close the log, unless another run took the directory over."""
        with contextlib.suppress(Exception):
            self.run.check_held()
            with contextlib.suppress(Exception):
                remove(self.run / ".staging")
            self.log.close()

    @contextlib.contextmanager
    def attempt(self, stage: str) -> Iterator[dict[str, Any]]:
        """Record a stage's attempt in the table `runs` while the block runs.

        Yields the attempt's counts, for the stage to fill. If the block raises, the row says
        `failed` and names the exception.
        """
        # PyArrow, which writes the row, is not loaded where every stage is done.
        from foreshock.tables.runs import Attempt

        counts: dict[str, Any] = {}
        attempt = Attempt(self.run_id, stage, self.sha256)
        attempt.write(self.tables)
        self.log.event(stage, "started")
        try:
            yield counts
        except BaseException as error:
            error_name = type(error).__name__
            with contextlib.suppress(Exception):
                attempt.finished("failed", counts | {"error": error_name}).write(self.tables)
                self.log.event(stage, "failed", error=error_name)
            raise
        attempt.finished("done", counts).write(self.tables)
        self.log.event(stage, "done", **counts)

    def close(self) -> None:
        """Stop the Spark that this context started; one that was given stays.

        It may be called again. A later use of `spark` starts another session.
        """
        if "spark" in self.__dict__ and self._given_spark is None:
            session = self.__dict__.pop("spark")
            # A JVM that is gone cannot be stopped.
            with contextlib.suppress(Exception):
                session.stop()


def _uses_s3(settings: Settings, run_dir: str) -> bool:
    """Whether Spark or Python reads or writes S3."""
    paths = (
        run_dir,
        settings.source.path,
        settings.split.test_path,
        settings.model.from_,
        settings.tables.location,
    )
    if settings.source.kind == "athena" or any(path and is_remote(at(path)) for path in paths):
        return True
    iceberg = settings.tables.iceberg
    warehouse = iceberg.warehouse if iceberg.catalog == "hadoop" else None
    return warehouse is not None and is_remote(warehouse)


def _writes_to_a_catalog(settings: Settings) -> bool:
    return settings.tables.glue.database is not None or settings.tables.sink == "iceberg"
