"""Figures of S3: extracting from it, against plain Spark on the same files. The server is a process of its own."""

from __future__ import annotations

import multiprocessing
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from foreshock import paths
from foreshock.config_file import build_settings
from foreshock.stages.context import Context
from foreshock.stages.extract import extract

from benchmarks.loading import conf, write_source
from benchmarks.measure import Figure, alternate, timed

NAME = "extract_s3"


def _serve(said: Any) -> None:
    from aws_stack.server import REGION, Stack

    stack = Stack()
    stack.client("s3").create_bucket(Bucket="lake", CreateBucketConfiguration={"LocationConstraint": REGION})
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


def figures(work: Path, spark: Any, names: set[str], *, quick: bool) -> Iterator[Figure]:
    if NAME not in names:
        return
    rows, times = (10_000, 1) if quick else (2_000_000, 5)
    source = write_source(work / "source", rows, 2_000)
    paths.copy(source, paths.at("s3://lake/source"))
    made = conf(work)
    made["source"]["path"] = "s3://lake/source"

    def ours() -> float:
        paths.remove(paths.at("s3://lake/run"))
        context = Context(build_settings(made), "s3://lake/run", spark=spark, quiet=True)
        with context.open():
            return rows / timed(lambda: extract(context))

    def peer() -> float:
        paths.remove(paths.at("s3://lake/copy"))
        return rows / timed(lambda: spark.read.parquet("s3://lake/source").write.parquet("s3://lake/copy"))

    yield alternate(NAME, ours, peer, peer_name="plain Spark: read.parquet, write.parquet", unit="events/s", wanted=0.8, repetitions=times,
                    sizes=f"{rows} events in {len(paths.stamps(paths.at('s3://lake/source')))} files, on S3 at both ends")
    shutil.rmtree(work / "source", ignore_errors=True)
