"""The train stage over its real entry point.

The tests say what it refuses, what it leaves, and what a second start does.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from acceptance import tools

Job = Callable[..., int]
SMALL = {"name": "lstm_autoencoder", "units": [4], "dense": 2}


def conf(folder: Path, **training: Any) -> dict[str, Any]:
    made = tools.conf()
    made["source"]["path"] = str(tools.write(tools.event_rows(1500, 4, 8), folder / "source"))
    made["model"] = SMALL
    made["training"] = {"epochs": 2, "batch": 64, **training}
    return made


@pytest.mark.parametrize(
    ("training", "says"),
    [
        ({"replicas": 500, "batch": 512}, ["training.replicas is 500", "at most"]),
        ({"workers": 300, "batch": 512}, ["training.workers is 300", "at most"]),
        ({"workers": 100, "batch": 64}, ["batch (64)", "workers x replicas (100)"]),
    ],
)
def test_more_than_there_are_is_refused_before_anything_is_written(
    training: dict[str, Any],
    says: list[str],
    tmp_path: Path,
    run_job: Job,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run_job("pipeline", conf(tmp_path, **training), tmp_path / "run") == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert all(s in last for s in says), last
    assert not (tmp_path / "run" / "events").exists()


def test_a_batch_larger_than_the_dataset_is_refused(
    tmp_path: Path, run_job: Job, capsys: pytest.CaptureFixture[str]
) -> None:
    made = conf(tmp_path, batch=100_000)
    assert [run_job(job, made, tmp_path / "run") for job in ("extract", "prepare", "train")] == [
        0,
        0,
        2,
    ]
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert "training.batch is 100000, larger than the training dataset (" in last
    assert not (tmp_path / "run" / "model").exists()


@pytest.mark.slow
def test_more_workers_than_blocks_are_refused(
    tmp_path: Path, run_job: Job, capsys: pytest.CaptureFixture[str]
) -> None:
    made = conf(tmp_path, workers=2)
    made["source"]["path"] = str(tools.write(tools.event_rows(400, 1, 8), tmp_path / "one"))
    made["windows"]["block"] = 100_000
    assert [run_job(job, made, tmp_path / "run") for job in ("extract", "prepare", "train")] == [
        0,
        0,
        2,
    ]
    assert (
        "training.workers is 2, but the training dataset holds 1 blocks" in capsys.readouterr().err
    )


@pytest.mark.slow
def test_another_runs_checkpoint_is_refused_and_a_finished_one_used(
    tmp_path: Path, run_job: Job, capsys: pytest.CaptureFixture[str]
) -> None:
    made = conf(tmp_path)
    run = tmp_path / "run"
    assert [run_job(job, made, run) for job in ("extract", "prepare", "train")] == [0, 0, 0]
    weights = (run / "model" / "lstm_autoencoder.npz").read_bytes()
    (run / ".stages" / "train.json").unlink()  # as if killed just before it was published
    capsys.readouterr()
    assert run_job("train", made, run) == 0
    assert "epoch" not in capsys.readouterr().err.replace("epochs=", "").replace("best_epoch=", "")
    assert (run / "model" / "lstm_autoencoder.npz").read_bytes() == weights

    other = {**made, "model": {**SMALL, "units": [5]}}
    there = tmp_path / "other"
    assert [run_job(job, other, there) for job in ("extract", "prepare")] == [0, 0]
    (there / "checkpoints").mkdir()
    newest = max((run / "checkpoints").glob("checkpoint-*.npz"))
    import numpy as np

    with np.load(newest) as found:
        members = {k: found[k] for k in found.files}
    state = json.loads(bytes(members["state"]))
    state["position"]["finished"] = False
    members["state"] = np.frombuffer(json.dumps(state).encode(), np.uint8)
    np.savez(there / "checkpoints" / newest.name, **members)
    assert run_job("train", other, there) == 3
    assert "model: units is [5], the checkpoint has [4]" in capsys.readouterr().err
    assert run_job("train", other, there, "--force") == 0
