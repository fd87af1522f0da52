"""scripts/submit_emr: the step that it prints or hands to the AWS CLI, without AWS."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
NEEDED = {
    "--cluster-id": "j-1ABC",
    "--code": "s3://my-bucket/foreshock/",
    "--conf": "s3://my-bucket/conf/run.yaml",
    "--run-dir": "s3://my-bucket/runs/a b",
}


def submit(
    *flags: str, path: Path | None = None, **changed: str
) -> subprocess.CompletedProcess[str]:
    needed = NEEDED | {f"--{name.replace('_', '-')}": value for name, value in changed.items()}
    command = [sys.executable, str(ROOT / "scripts" / "submit_emr")]
    for flag, value in needed.items():
        command += [flag, value]
    environment = os.environ | ({"PATH": str(path)} if path else {})
    return subprocess.run(
        [*command, *flags], capture_output=True, text=True, env=environment, check=False
    )


def step_of(command: list[str]) -> dict[str, Any]:
    """The one step of an `aws emr add-steps` command."""
    assert command[:3] == ["emr", "add-steps", "--cluster-id"]
    assert command[3:5] == ["j-1ABC", "--steps"]
    (step,) = json.loads(command[5])
    return dict(step)


def printed_step(*flags: str, **changed: str) -> dict[str, Any]:
    done = submit(*flags, path=None, **changed)
    assert done.returncode == 0, done.stderr
    aws, *command = shlex.split(done.stdout)
    assert aws == "aws"
    return step_of(command)


def test_the_step_runs_the_job_with_the_archive_on_the_cluster() -> None:
    step = printed_step()
    assert (step["Type"], step["Name"]) == ("Spark", "foreshock pipeline")
    assert step["ActionOnFailure"] == "CONTINUE"
    arguments = step["Args"]
    assert arguments[:2] == ["--deploy-mode", "cluster"]
    assert arguments[arguments.index("--py-files") + 1] == "s3://my-bucket/foreshock/foreshock.zip"
    assert arguments[arguments.index("--archives") + 1] == (
        "s3://my-bucket/foreshock/env.tar.gz#env"
    )
    assert "spark.executorEnv.PYSPARK_PYTHON=./env/bin/python" in arguments
    assert arguments[-5:] == [
        "s3://my-bucket/foreshock/jobs/pipeline.py",
        "--conf",
        "s3://my-bucket/conf/run.yaml",
        "--run-dir",
        "s3://my-bucket/runs/a b",
    ]


def test_job_name_spark_options_and_the_jobs_own_flags() -> None:
    flags = ["--job", "train", "--name", "nightly", "--spark", "spark.driver.memoryOverhead=9g"]
    step = printed_step(*flags, "--", "--set", "run.seed=8", "--force")
    assert step["Name"] == "nightly"
    arguments = step["Args"]
    assert "spark.driver.memoryOverhead=9g" in arguments
    assert "spark.driver.memoryOverhead=6g" not in arguments
    assert arguments[-3:] == ["--set", "run.seed=8", "--force"]
    assert "s3://my-bucket/foreshock/jobs/train.py" in arguments


@pytest.mark.parametrize("job", [job.stem for job in sorted(ROOT.glob("jobs/*.py"))])
def test_every_job_can_be_submitted(job: str) -> None:
    assert printed_step("--job", job)["Name"] == f"foreshock {job}"


@pytest.mark.parametrize(
    ("flags", "changed", "said"),
    [
        ([], {"conf": "conf/run.yaml"}, "--conf conf/run.yaml: s3://… is wanted"),
        ([], {"run_dir": "runs/a"}, "--run-dir runs/a: s3://… is wanted"),
        (["--spark", "spark.x"], {}, "--spark spark.x: key=value is wanted"),
        (["--job", "walk"], {}, "invalid choice: 'walk'"),
    ],
)
def test_wrong_arguments_exit_2(flags: list[str], changed: dict[str, str], said: str) -> None:
    done = submit(*flags, path=None, **changed)
    assert done.returncode == 2
    assert said in done.stderr
    assert done.stdout == ""


def test_execute_hands_the_step_to_the_aws_cli_and_gives_its_exit_code(tmp_path: Path) -> None:
    record = tmp_path / "arguments.json"
    aws = tmp_path / "aws"
    aws.write_text(
        f"#!{sys.executable}\nimport json, sys\n"
        f"json.dump(sys.argv[1:], open({str(record)!r}, 'w'))\nsys.exit(254)\n"
    )
    aws.chmod(0o755)
    assert submit("--execute", path=tmp_path).returncode == 254
    assert step_of(json.loads(record.read_text())) == printed_step()


def test_execute_without_the_aws_cli_says_so(tmp_path: Path) -> None:
    done = submit("--execute", path=tmp_path)
    assert done.returncode == 2
    assert "there is no `aws` on PATH" in done.stderr
