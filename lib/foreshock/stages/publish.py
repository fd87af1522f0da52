"""Publishing the tables where analysts read them: a shared Parquet location, Glue, Iceberg. The run's own stay in its directory.

What was published is noted in `sink.json` in the run directory: a run that was stopped before, or failed, publishes when it goes on.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from foreshock import columns as C
from foreshock.errors import ServiceError, SettingsError
from foreshock.platform import aws_boto
from foreshock.platform.aws import KMS_KEY, endpoint
from foreshock.platform.files import digest, read_json, write_json
from foreshock.platform.locks import locked
from foreshock.platform.paths import at, check_bucket, is_remote, stamps
from foreshock.platform.transfers import at_once, copy, move, remove
from foreshock.scaling.robust import Scaler
from foreshock.stages.context import Context
from foreshock.tables.describe import Described, described
from foreshock.tables.sinks.glue import Registry
from foreshock.tables.sinks.iceberg import Iceberg, Key, at_keys, catalog_options

RECORD = "sink.json"
BY_DAY = (C.SCORES, C.DETECTOR_SCORES)
SMALL = (C.ERROR_DISTRIBUTION, C.THRESHOLDS, C.DRIFT, C.METRICS)
WAIT_SECONDS = 600.0
AT_ONCE = 8  # partitions copied together


def sink_of(context: Context) -> Sink:
    """The sink that the stages of a process share."""
    found: Sink = context.shared.setdefault("sink", Sink(context))
    return found


class Sink:
    """Where a context's tables go besides its run directory. `look` before the work: it checks, and notes what others have written."""

    def __init__(self, context: Context) -> None:
        self.context, self.settings = context, context.settings.tables
        self._looked = False
        self._iceberg: Iceberg | None = None
        self._before: dict[tuple[str, str], list[tuple[str, int, str]]] = {}

    @property
    def used(self) -> bool:
        s = self.settings
        return s.sink == "iceberg" or s.location is not None or s.glue.database is not None

    @property
    def _location(self) -> Path:
        return at(self.settings.location) if self.settings.location else self.context.tables

    @property
    def _shared(self) -> bool:
        return self.settings.location is not None and str(self._location) != str(
            self.context.tables
        )

    def look(self) -> None:
        """Raise SettingsError for what cannot be published to: before any work, and once a process."""
        if not self.used or self._looked:
            return
        self._looked = True
        tables, s = described(tuple(self.context.settings.events.features)), self.settings
        if s.sink == "iceberg":
            i = s.iceberg
            if i.catalog in ("glue", "s3tables"):
                aws_boto.client(i.catalog)  # without a region, say so
            aws = {
                "endpoint": endpoint(),
                "glue": endpoint("GLUE"),
                "s3tables": endpoint("S3TABLES"),
                "region": os.environ.get("AWS_REGION"),
                "kms_key": os.environ.get(KMS_KEY),
            }
            self._iceberg = Iceberg(
                self.context.spark,
                i.namespace,
                catalog_options(i.catalog, i.warehouse, i.uri, aws),
                i.create,
            )
            self._iceberg.look(tables)
            return
        if self._shared:
            check_bucket(self._location, "tables.location")
            self._before = self._parts()
        if s.glue.database is not None:
            if not is_remote(self._location):
                raise SettingsError(
                    f"`tables.glue.database`: Glue registers tables on S3; these lie in {self._location}. Set "
                    "tables.location, or use a run directory on S3."
                )
            self._registry().look({n: (t, self._place(n)) for n, t in tables.items()})

    def publish(self, scaler: Scaler, partitions: list[str] | None = None) -> None:
        """Publish what the run's own tables hold and the record says is not published yet; of some partitions only, where given.

        Raises ServiceError where a service fails, or another run wrote the same partitions since `look`.
        """
        if not self.used:
            return
        context, features = self.context, scaler.kept
        print_ = digest(
            [context.run.record("score"), self.settings.model_dump(mode="json"), partitions]
        )
        known = read_json(context.run / RECORD) if (context.run / RECORD).exists() else {}
        if known.get("fingerprint") == print_ and partitions is None and not context.force:
            return
        self.look()
        tables = {n: t for n, t in described(features).items() if n != C.RUNS}
        own = {
            n: {k: f for k, f in self._own(n).items() if partitions is None or k[1] in partitions}
            for n in BY_DAY
        }
        former = {n: [(k[0], k[1]) for k in known.get("partitions", {}).get(n, [])] for n in BY_DAY}
        gone = {
            n: sorted(set(former[n]) - set(own[n])) if partitions is None else [] for n in BY_DAY
        }
        # Noted before too: what a run that is killed here has published is still its own to replace.
        kept = {n: sorted(set(former[n]) | set(own[n])) for n in BY_DAY}
        context.run.check_held()
        write_json(context.run / RECORD, {"fingerprint": None, "partitions": kept})
        with context.attempt("publish") as counts:
            if self._iceberg is not None:
                counts["snapshots"] = self._to_iceberg(self._iceberg, tables, own, gone)
            else:
                self._to_parquet(tables, own, gone)
            counts["partitions"] = {n: len(own[n]) for n in BY_DAY if own[n]}
            if gone[C.SCORES]:
                counts["removed"] = ["/".join(k) for k in gone[C.SCORES]]
        after = {n: sorted((set(former[n]) | set(own[n])) - set(gone[n])) for n in BY_DAY}
        write_json(context.run / RECORD, {"fingerprint": print_, "partitions": after})
        self.runs(scaler)

    def runs(self, scaler: Scaler) -> None:
        """Publish the `runs` table as it is now."""
        if not self.used or not (self.context.run / RECORD).exists():
            return
        self.look()
        table, description = C.RUNS, described(scaler.kept)[C.RUNS]
        if self._iceberg is not None:
            with self._turn():
                self._iceberg.replace(
                    table, description, self._frame(table), F.col("run_id") == self.context.run_id
                )
            return
        if self._shared:
            (self._location / table).mkdir(parents=True, exist_ok=True)
            for file in (self.context.tables / table).glob("*.parquet"):
                _copy_file(file, self._location / table / f"{self.context.run_id}-{file.name}")
        if self.settings.glue.database is not None:
            self._registry().register(table, description, self._place(table))

    def _own(self, table: str) -> dict[Key, str]:
        """(split, partition) -> folder below the table, of the run's own tables."""
        return _folders(self.context.tables / table)

    def _frame(self, table: str) -> DataFrame | None:
        folder = self.context.tables / table
        if not any(folder.rglob("*.parquet")):
            return None
        return self.context.spark.read.parquet(str(folder)).filter(
            F.col("run_id") == self.context.run_id
        )

    def _to_iceberg(
        self,
        iceberg: Iceberg,
        tables: dict[str, Described],
        own: dict[str, dict[Key, str]],
        gone: dict[str, list[Key]],
    ) -> dict[str, int]:
        found: dict[str, int | None] = {}
        with self._turn() as check_held:
            for table in BY_DAY:
                if other := iceberg.conflict(table, [*own[table], *gone[table]]):
                    raise ServiceError(
                        f"Iceberg table {iceberg.namespace}.{table}: another run wrote split={other[0]}, "
                        f"partition={other[1]} while this one was at work; its rows stay, and nothing of this run is in. "
                        "Run the same command again to replace them."
                    )
            for table in (C.DETECTOR_SCORES, *SMALL, C.SCORES):
                keys = [*own.get(table, {}), *gone.get(table, [])]
                if table in BY_DAY and not keys:
                    continue
                frame = self._frame(table)
                if frame is not None and table in BY_DAY:
                    frame = frame.filter(at_keys(list(own[table]))) if own[table] else None
                where = at_keys(keys) if table in BY_DAY else F.col("run_id") == self.context.run_id
                self.context.log.event("publish", "writing to Iceberg", table=table)
                check_held()
                found[table] = iceberg.replace(table, tables[table], frame, where)
        return {n: s for n, s in found.items() if s is not None}

    @contextlib.contextmanager
    def _turn(self) -> Iterator[Callable[[], None]]:
        """One writer at a time where commits themselves do not exclude each other; yields what raises once it is another's."""
        s, until = self.settings, time.monotonic() + WAIT_SECONDS
        if s.sink == "iceberg" and s.iceberg.catalog != "hadoop":
            yield self.context.run.check_held
            return
        if s.sink == "iceberg":
            setting = "tables.iceberg.warehouse"
            folder = at(str(s.iceberg.warehouse)) / s.iceberg.namespace
        else:
            setting, folder = "tables.location", self._location
        folder.mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as held:
            while True:
                try:
                    check_held = held.enter_context(locked(folder, setting))
                    break
                except SettingsError:
                    if time.monotonic() > until:
                        raise ServiceError(
                            f"{folder}: another run has published there for {WAIT_SECONDS:.0f} s. Run the same command "
                            "again."
                        ) from None
                    time.sleep(1)
            yield check_held

    def _to_parquet(
        self,
        tables: dict[str, Described],
        own: dict[str, dict[Key, str]],
        gone: dict[str, list[Key]],
    ) -> None:
        if self._shared:
            with self._turn() as check_held:
                self._to_location(own, gone, check_held)
        if self.settings.glue.database is not None:
            for name, table in tables.items():
                if (self._location / name).exists():
                    self._registry().register(
                        name, table, self._place(name), own.get(name), gone.get(name, ())
                    )

    def _to_location(
        self,
        own: dict[str, dict[Key, str]],
        gone: dict[str, list[Key]],
        check_held: Callable[[], None],
    ) -> None:
        now, run_id = self._parts(), self.context.run_id
        there = {t: _folders(self._location / t) if gone[t] else {} for t in BY_DAY}
        for table in BY_DAY:
            for key in [*own[table], *gone[table]]:
                part = own[table].get(key) or there[table].get(key)
                if part and now.get((table, part)) != self._before.get((table, part)):
                    raise ServiceError(
                        f"tables.location {self._location}: another run wrote {table}/{part} while this one was at work; "
                        "its rows stay, and nothing of this run is in. Run the same command again to replace them."
                    )
        parts = [(table, part) for table in BY_DAY for part in own[table].values()]
        check_held()
        try:
            at_once(lambda at: self._put(*at), parts, AT_ONCE)
        except BaseException:
            for (
                table,
                part,
            ) in parts:  # what is new is not left there in part; what was replaced stays until this run comes again
                if (table, part) not in now:
                    with contextlib.suppress(Exception):
                        remove(self._location / table / part)
            raise
        remove(self._location / ".staging")  # a run that was killed may have left some
        for table in BY_DAY:
            for key in gone[table]:
                if part := there[table].get(key):
                    remove(self._location / table / part)
        for table in SMALL:
            if (self.context.tables / table).exists():
                (self._location / table).mkdir(parents=True, exist_ok=True)
                _copy_file(
                    self.context.tables / table / "part-00000.parquet",
                    self._location / table / f"{run_id}.parquet",
                )
        self._before = self._parts()

    def _put(self, table: str, part: str) -> None:
        """A partition in place of what is there. S3 replaces an object at once, so files have the same names each time: of a partition
        of one file a reader sees the old or the new. Here a folder is put together beside, and then renamed."""
        source, target = self.context.tables / table / part, self._location / table / part
        files = {
            f"part-{i:05d}.parquet": file for i, file in enumerate(sorted(source.glob("*.parquet")))
        }
        if is_remote(target):
            for name, file in files.items():
                copy(file, target / name)
            for old in target.iterdir():
                if old.name not in files:
                    remove(old)
            return
        fresh = self._location / ".staging" / self.context.run_id / table / part
        try:
            remove(fresh)
            fresh.mkdir(parents=True)
            for name, file in files.items():
                copy(file, fresh / name)
            remove(target)
            move(fresh, target)
        finally:
            remove(fresh)

    def _parts(self) -> dict[tuple[str, str], list[tuple[str, int, str]]]:
        """(table, folder) -> the files there, of the shared location's partitions."""
        found: dict[tuple[str, str], list[tuple[str, int, str]]] = {}
        for table in BY_DAY:
            if (self._location / table).exists():
                for file, size, mark in stamps(self._location / table):
                    part = f"{file.parent.parent.name}/{file.parent.name}"
                    found.setdefault((table, part), []).append((file.name, size, mark))
        return found

    def _place(self, table: str) -> str:
        return f"{str(self._location).rstrip('/')}/{table}"

    def _registry(self) -> Registry:
        glue: Any = self.settings.glue
        return Registry(aws_boto.client("glue"), glue.database, glue.create)


def _folders(table: Path) -> dict[Key, str]:
    """(split, partition) -> folder below the table, as it is named there."""
    found = {}
    for folder in sorted(table.glob("split=*/partition=*")):
        split, partition = folder.parent.name, folder.name
        found[
            unquote(split.removeprefix("split=")), unquote(partition.removeprefix("partition="))
        ] = f"{split}/{partition}"
    return found


def _copy_file(source: Path, target: Path) -> None:
    if is_remote(target) or is_remote(source):
        target.write_bytes(source.read_bytes())
    else:
        fresh = target.with_name(f".{target.name}")
        copy(source, fresh)
        fresh.replace(target)
