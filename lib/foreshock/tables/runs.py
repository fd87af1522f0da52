"""The `runs` table: one small Parquet file a stage's attempt, written whole at its start and again at its end."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import pyarrow as pa

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


@dataclass(frozen=True)
class Attempt:
    """A stage's attempt. status: running, done, failed; a row still `running` was killed."""

    run_id: str
    stage: str
    settings_sha256: str
    started: datetime = field(default_factory=lambda: datetime.now(UTC))
    ended: datetime | None = None
    status: str = "running"
    counts: dict[str, Any] = field(default_factory=dict)

    def finished(self, status: str, counts: dict[str, Any]) -> Attempt:
        return replace(self, status=status, counts=counts, ended=datetime.now(UTC))

    def write(self, tables: Path) -> None:
        """Write the row to `tables/runs/`, in place of this attempt's earlier one."""
        folder = tables / "runs"
        folder.mkdir(parents=True, exist_ok=True)
        name = f"{self.stage}-{self.started:%Y%m%dT%H%M%S%f}.parquet"
        counts = json.dumps(self.counts, sort_keys=True, default=str)
        row = asdict(self) | {"counts": counts, "versions": json.dumps(versions())}
        write_table(pa.Table.from_pylist([row], SCHEMA), folder / name)


def versions() -> dict[str, str]:
    """The versions that a result depends on."""
    found = {}
    for package in (
        "foreshock",
        "pyspark",
        "tensorflow-cpu",
        "tensorflow",
        "petastorm",
        "pyarrow",
        "numpy",
        "scikit-learn",
    ):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found
