"""A transactions table of daily partitions on S3 and in Glue, and the confs that read it."""

from __future__ import annotations

import io
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from foreshock.events.synthetic import SyntheticTable, write_table

KINDS = ("value_spike", "dust_burst")
GLUE_TYPES = {
    "string": "string",
    "int64": "bigint",
    "int32": "int",
    "double": "double",
    "int8": "tinyint",
    "bool": "boolean",
}


def daily(folder: Path, *, events: int = 24_000, days: int = 30) -> list[Path]:
    """The folders `date=…` of a synthetic table with so many days from 2023-01-01."""
    write_table(
        SyntheticTable(
            events=events,
            entities=40,
            start=date(2023, 1, 1),
            days=days,
            prevalence=0.02,
            anomaly_kinds=KINDS,
            seed=5,
            anomalies_from=date(2023, 1, 1) + timedelta(days=days * 7 // 10),
        ),
        folder,
    )
    return sorted(folder.glob("date=*"))


def upload(s3: Any, folders: list[Path], bucket: str, prefix: str) -> None:
    for folder in folders:
        for file in folder.iterdir():
            s3.put_object(
                Bucket=bucket, Key=f"{prefix}/{folder.name}/{file.name}", Body=file.read_bytes()
            )


def register(glue: Any, folders: list[Path], database: str, table: str, location: str) -> None:
    """Put the table and these partitions into Glue. The database is made if it is not there."""
    if database not in [d["Name"] for d in glue.get_databases()["DatabaseList"]]:
        glue.create_database(DatabaseInput={"Name": database})
    schema = pq.read_schema(io.BytesIO(next(folders[0].iterdir()).read_bytes()))
    columns = [
        {
            "Name": f.name,
            "Type": GLUE_TYPES.get(
                str(f.type), "timestamp" if "timestamp" in str(f.type) else "string"
            ),
        }
        for f in schema
    ]
    storage = {"Location": location, "Columns": columns}
    if table not in [t["Name"] for t in glue.get_tables(DatabaseName=database)["TableList"]]:
        glue.create_table(
            DatabaseName=database,
            TableInput={
                "Name": table,
                "StorageDescriptor": storage,
                "PartitionKeys": [{"Name": "date", "Type": "string"}],
            },
        )
    for folder in folders:
        value = folder.name.removeprefix("date=")
        glue.create_partition(
            DatabaseName=database,
            TableName=table,
            PartitionInput={
                "Values": [value],
                "StorageDescriptor": {**storage, "Location": f"{location}/{folder.name}"},
            },
        )


def conf(source: dict[str, Any], **sections: Any) -> dict[str, Any]:
    """A conf over the table with a quick model. The partitions are the table's days."""
    features = {
        "value": "cast(value as decimal(38,0)) / 1e18",
        "gas": "gas",
        "gas_price": "gas_price / 1e9",
    }
    return {
        "run": {"name": "aws", "seed": 7},
        "source": source,
        "events": {
            "entity": "from_address",
            "time": "block_timestamp",
            "partition": "date",
            "id": "hash",
            "tiebreak": ["block_number", "transaction_index"],
            "label": "label",
            "kind": "kind",
            "features": features,
        },
        "split": {
            "train": ["2023-01-01", "2023-01-16"],
            "calibration": ["2023-01-16", "2023-01-22"],
            "test": ["2023-01-22", "2023-02-05"],
        },
        "windows": {"length": 16},
        "model": {"name": "pca"},
        "detectors": ["zscore"],
        "thresholds": {"min_count": 500},
        **sections,
    }


def day(number: int) -> str:
    """The name of a day, counted from 1."""
    return (date(2023, 1, 1) + timedelta(days=number - 1)).isoformat()
