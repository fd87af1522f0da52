"""Code planted in a prepared dataset, through the real train and score stages: it does not run."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from acceptance import tools
from foreshock.platform.files import file_sha256
from support.datasets import replant_metadata, rewrite_chunk, without_petastorm

Job = Callable[..., int]
SPLITS = ("train", "calibration", "test")
PETASTORM: dict[str, Callable[[], contextlib.AbstractContextManager[None]]] = {
    "installed": contextlib.nullcontext,
    "missing": contextlib.contextmanager(without_petastorm),
}


def conf(source: Path) -> dict[str, Any]:
    made = tools.conf()
    made["source"]["path"] = str(source)
    made["model"] = {"name": "lstm_autoencoder", "units": [4], "dense": 2}
    made["training"] = {"epochs": 1, "batch": 64}
    made["detectors"] = ["pca"]
    return made


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory, spark: Any) -> Path:
    """A folder with the source and a run directory that is prepared."""
    from acceptance.checks import prepare_only

    work = tmp_path_factory.mktemp("prepared")
    tools.write(tools.event_rows(1500, 4, 8), work / "source")
    prepare_only(conf(work / "source"), work / "run", spark)
    return work


def reseal_run(run: Path) -> None:
    """Write the digests of what lies in `dataset/` into the stage's record.

    An attacker would do the same.
    """
    path = run / ".stages" / "prepare.json"
    record = json.loads(path.read_text())
    record["sealed"] = {name: file_sha256(run / name) for name in record["sealed"]}
    path.write_text(json.dumps(record))


def copied(prepared: Path, target: Path) -> Path:
    shutil.copytree(prepared / "run", target)
    return target


def results(run: Path) -> dict[str, Any]:
    """The trained weights and the scores of a run."""
    with np.load(run / "model" / "lstm_autoencoder.npz", allow_pickle=False) as arrays:
        weights = {name: arrays[name].tobytes() for name in arrays.files}
    scores = pq.read_table(run / "tables" / "scores").select(["event_id", "score"])
    return {"weights": weights, "scores": scores.sort_by("event_id").to_pylist()}


@pytest.mark.slow
def test_training_and_scoring_run_no_planted_code(
    prepared: Path, tmp_path: Path, run_job: Job, capsys: pytest.CaptureFixture[str]
) -> None:
    made = conf(prepared / "source")
    genuine = copied(prepared, tmp_path / "genuine")
    assert [run_job(job, made, genuine) for job in ("train", "score")] == [0, 0]
    assert "the dataset is read with Arrow" not in (genuine / "events.log").read_text()
    for name, petastorm in PETASTORM.items():
        run, marker = copied(prepared, tmp_path / name), tmp_path / f"{name}.marker"
        for split in SPLITS:
            replant_metadata(run / "dataset" / split, marker)
        with petastorm():
            assert run_job("train", made, run) == 3  # the stage's record has other digests
            reseal_run(run)
            assert [run_job(job, made, run) for job in ("train", "score")] == [0, 0]
        assert "the dataset is read with Arrow" in (run / "events.log").read_text()
        assert results(run) == results(genuine)
        assert not marker.exists()


def with_texts_for_labels(table: pa.Table) -> pa.Table:
    place = table.column_names.index("label")
    return table.set_column(place, "label", pa.array(["1"] * len(table)))


@pytest.mark.slow
def test_blocks_of_another_schema_are_refused_in_training_and_scoring(
    prepared: Path, tmp_path: Path, run_job: Job, capsys: pytest.CaptureFixture[str]
) -> None:
    made = conf(prepared / "source")
    run = copied(prepared, tmp_path / "run")
    assert run_job("train", made, run) == 0
    for split, job, flags in (("test", "score", ()), ("train", "train", ("--force",))):
        file = min((run / "dataset" / split).glob("*.parquet")).name
        rewrite_chunk(run / "dataset" / split, file, with_texts_for_labels)
        reseal_run(run)
        capsys.readouterr()
        assert run_job(job, made, run, *flags) == 3
        assert f"{split}/{file}: the column label has the type string" in capsys.readouterr().err
