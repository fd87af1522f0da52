"""The network over a run directory on S3, with two workers, killed once in training."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from acceptance import tools
from acceptance.processes import small_conf
from aws_stack.jobs import ROOT
from aws_stack.server import REGION, Stack

pytestmark = pytest.mark.slow
BUCKET, RUN = "runs", "network"
LONGEST_WAIT = 400  # seconds


def start(stack: Stack, conf: Path, run_directory: str) -> subprocess.Popen[str]:
    """A pipeline as a command of its own, in a process group of its own."""
    command = [sys.executable, str(ROOT / "jobs" / "pipeline.py")]
    return subprocess.Popen(
        [*command, "--conf", str(conf), "--run-dir", run_directory],
        env=stack.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def keys(stack: Stack, prefix: str) -> list[str]:
    pages = stack.client("s3").get_paginator("list_objects_v2")
    return [
        entry["Key"]
        for page in pages.paginate(Bucket=BUCKET, Prefix=prefix)
        for entry in page.get("Contents", [])
    ]


def download(stack: Stack, prefix: str, target: Path) -> Path:
    for key in keys(stack, prefix):
        file = target / key.removeprefix(f"{prefix}/")
        file.parent.mkdir(parents=True, exist_ok=True)
        stack.client("s3").download_file(BUCKET, key, str(file))
    return target


def test_the_network_on_s3_with_two_workers_killed_once_ends_with_the_tables_of_a_local_run(
    tmp_path: Path,
) -> None:
    conf = small_conf(
        tmp_path, events=6000, training__workers=2, training__epochs=3, training__checkpoint_steps=4
    )
    stack = Stack()
    with contextlib.closing(contextlib.ExitStack()) as cleanup:
        cleanup.callback(stack.stop)
        location = {"LocationConstraint": REGION}
        stack.client("s3").create_bucket(Bucket=BUCKET, CreateBucketConfiguration=location)
        killed = start(stack, conf, f"s3://{BUCKET}/{RUN}")
        until = time.monotonic() + LONGEST_WAIT
        # The blocks that a worker saw are noted at the end of an epoch: one is behind it, more to
        # come.
        while not keys(stack, f"{RUN}/checkpoints/blocks/epoch-00001"):
            assert killed.poll() is None, killed.communicate()[0][-3000:]
            assert time.monotonic() < until, "no epoch ended"
            time.sleep(0.1)
        os.killpg(killed.pid, signal.SIGKILL)
        killed.communicate()
        assert not keys(stack, f"{RUN}/.stages/train.json"), "killed too late to show anything"
        again = start(stack, conf, f"s3://{BUCKET}/{RUN}")
        printed, _ = again.communicate(timeout=LONGEST_WAIT)
        assert again.returncode == 0, printed[-3000:]
        assert "resumed at epoch" in printed
        remote = download(stack, RUN, tmp_path / "remote")
    local = start(stack, conf, str(tmp_path / "local"))
    printed, _ = local.communicate(timeout=LONGEST_WAIT)
    assert local.returncode == 0, printed[-3000:]
    assert tools.largest_difference(tmp_path / "local", remote) <= 1e-6
    epochs = {file.name for file in (remote / "checkpoints" / "blocks").iterdir()}
    assert epochs == {f"epoch-0000{e}-worker-{w}.npy" for e in (1, 2, 3) for w in (0, 1)}
