"""Every acceptance line of training at a reduced size; scripts/accept tries them at full size."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from acceptance import tools, training

pytestmark = pytest.mark.slow


def test_two_replicas_lose_as_one(tmp_path: Path) -> None:
    training.replicas(tmp_path)


def test_two_workers_end_with_the_same_weights(tmp_path: Path) -> None:
    training.workers(tmp_path, counts=(2,))


def test_a_killed_training_goes_on(tmp_path: Path) -> None:
    training.kills(tmp_path, times=2)


def test_a_killed_worker_ends_the_job_and_is_named(tmp_path: Path) -> None:
    training.worker_killed(tmp_path)


def test_a_slowed_worker_is_waited_for(tmp_path: Path) -> None:
    training.worker_slowed(tmp_path)


def test_the_bench_runs(tmp_path: Path) -> None:
    done = subprocess.run(
        [str(tools.ROOT / "scripts" / "bench"), "--quick", "--json", str(tmp_path / "b.json")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    for figure in json.loads((tmp_path / "b.json").read_text()):
        assert figure["repetitions"] == 1
        if "ratio" in figure:
            assert figure["ratio"]["min"] <= figure["ratio"]["median"] <= figure["ratio"]["max"]
            assert figure["peer_name"] and figure["unit"]
