"""The `runs` table: a small Parquet file for each attempt at a stage.

The file is written whole when the attempt begins, and again when it ends.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import pyarrow as pa

from foreshock.columns import RUNS
from foreshock.platform.parquet import write_table

SCHEMA = pa.schema(
    [
        ("run_id", pa.string()),
        ("stage", pa.string()),
        ("started", pa.timestamp("us", tz="UTC")),
        ("ended", pa.timestamp("us", tz="UTC")),
        ("status", pa.string()),
        ("counts", pa.string()),
        ("settings_sha256", pa.string()),
        ("versions", pa.string()),
    ]
)
PACKAGES = (
    "foreshock",
    "pyspark",
    "tensorflow-cpu",
    "tensorflow",
    "petastorm",
    "pyarrow",
    "numpy",
    "scikit-learn",
)


@dataclass(frozen=True)
class Attempt:
    """An attempt at a stage. status: running, done or failed.

    An attempt that still runs in the table was killed. counts: whatever the stage counted.
    """

    run_id: str
    stage: str
    settings_sha256: str
    started: datetime = field(default_factory=lambda: datetime.now(UTC))
    ended: datetime | None = None
    status: str = "running"
    counts: Mapping[str, object] = field(default_factory=dict)

    def finished(self, status: str, counts: Mapping[str, object]) -> Attempt:
        """The same attempt, ended now.

        >>> Attempt("demo", "score", "ab").finished("done", {"judged": 5}).status
        'done'
        """
        return replace(self, status=status, counts=counts, ended=datetime.now(UTC))

    def write(self, tables: Path) -> None:
        """Write the row to `tables/runs/`, in place of what was written of this attempt before.

        tables: the run's folder of tables. The folder is made if it is missing.
        """
        runs_folder = tables / RUNS
        runs_folder.mkdir(parents=True, exist_ok=True)
        table_row = asdict(self) | {
            "counts": json.dumps(self.counts, sort_keys=True, default=str),
            "versions": json.dumps(versions()),
        }
        # The time of the start tells attempts at a stage apart.
        row_file = runs_folder / f"{self.stage}-{self.started:%Y%m%dT%H%M%S%f}.parquet"
        write_table(pa.Table.from_pylist([table_row], SCHEMA), row_file)


def versions() -> dict[str, str]:
    """The versions of the packages that a result depends on; those not installed are left out.

    >>> "pyarrow" in versions()
    True
    """
    installed = {}
    for package in PACKAGES:
        try:
            installed[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return installed
