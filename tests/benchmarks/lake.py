"""Figures of S3: extracting from it, against plain Spark on the same files.

The server is a separate process.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from foreshock.platform import paths, transfers
from foreshock.settings.load import build_settings
from foreshock.stages.context import Context
from foreshock.stages.extract import extract

from benchmarks.loading import conf, events_table
from benchmarks.measure import Figure, alternate, timed

NAME, MOST = "extract_s3", 1_000_000


def _serve(said: Any) -> None:
    from aws_stack.server import REGION, Stack

    stack = Stack()
    stack.client("s3").create_bucket(
        Bucket="lake", CreateBucketConfiguration={"LocationConstraint": REGION}
    )
    said.put(stack.environment())
    said.get()


@contextmanager
def served() -> Iterator[None]:
    """A local S3 that this process and its Spark use."""
    context = multiprocessing.get_context("spawn")
    said = context.Queue()
    server = context.Process(target=_serve, args=(said,), daemon=True)
    server.start()
    os.environ.update({k: v for k, v in said.get().items() if k.startswith("AWS_")})
    try:
        yield
    finally:
        server.terminate()
        server.join()


def write_days(folder: Path, table: pa.Table, first: int) -> None:
    """A file for each day of a table, in folders `date=…`. Ids are counted from `first`."""
    table = table.set_column(
        table.column_names.index("id"),
        "id",
        pa.array(np.arange(first, first + len(table))).cast(pa.string()),
    )
    day = pc.strftime(table["time"], "%Y-%m-%d")
    for value in sorted(pc.unique(day).to_pylist()):
        own = folder / f"date={value}"
        own.mkdir(parents=True, exist_ok=True)
        pq.write_table(table.filter(pc.equal(day, value)), own / f"part-{first:09d}.parquet")


def figures(work: Path, spark: Any, names: set[str], *, quick: bool) -> Iterator[Figure]:
    if NAME not in names:
        return
    rows, times = (10_000, 1) if quick else (4_000_000, 5)
    for number in range(0, rows, MOST):
        write_days(
            work / "source", events_table(min(MOST, rows - number), 2_000, number // MOST), number
        )
    transfers.copy(work / "source", paths.at("s3://lake/source"))
    made = conf(work)
    made["source"]["path"] = "s3://lake/source"
    made["events"]["partition"] = "date"

    def ours() -> float:
        transfers.remove(paths.at("s3://lake/run"))
        context = Context(build_settings(made), "s3://lake/run", spark=spark, quiet=True)
        with context.open():
            return rows / timed(lambda: extract(context))

    def peer() -> float:
        transfers.remove(paths.at("s3://lake/copy"))
        return rows / timed(
            lambda: spark.read.parquet("s3://lake/source").write.parquet("s3://lake/copy")
        )

    yield alternate(
        NAME,
        ours,
        peer,
        peer_name="plain Spark: read.parquet, write.parquet",
        unit="events/s",
        wanted=0.8,
        repetitions=times,
        sizes=f"{rows} events in {len(paths.stamps(paths.at('s3://lake/source')))} files of 20 "
        "days, on S3 at both ends",
    )
    shutil.rmtree(work / "source", ignore_errors=True)
