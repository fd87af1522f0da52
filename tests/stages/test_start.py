"""What a run loads: no TensorFlow without a network, and no Spark when everything is done."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

# Runs the pipeline and prints its exit code and the packages that this process loaded.
RUN = """
import json, sys
from foreshock.stages.command import main
code = main(["run", *sys.argv[1:]])
print(json.dumps([code, sorted({name.partition(".")[0] for name in sys.modules})]))
"""
CONF: dict[str, Any] = {
    "source": {"kind": "synthetic", "events": 3200, "entities": 20, "days": 20},
    "events": {
        "entity": "from_address",
        "time": "block_timestamp",
        "tiebreak": ["block_number", "transaction_index"],
        "features": {"value": "log10(1 + value / 1e15)", "gas": "log10(gas)"},
    },
    "split": {
        "train": ["2023-01-01", "2023-01-13"],
        "calibration": ["2023-01-13", "2023-01-16"],
        "test": ["2023-01-16", "2023-01-21"],
    },
    "windows": {"length": 16},
    "model": {"name": "pca"},
    "detectors": [],
    "thresholds": {"min_count": 100},
}
NETWORK = {"tensorflow", "keras"}
WORKING = {"pyspark", "py4j", "petastorm", "sklearn", "scipy", "pandas", "matplotlib", "jinja2"}
AWS = {"boto3", "botocore", "s3fs", "upath"}


def run(conf: Path, run_dir: Path) -> tuple[set[str], str, str]:
    """The packages that a run in a process of its own loaded, its output and its progress."""
    command = [sys.executable, "-c", RUN, "--conf", str(conf), "--run-dir", str(run_dir)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr
    *result, loaded = done.stdout.splitlines()
    code, packages = json.loads(loaded)
    assert code == 0, done.stderr
    return set(packages), "\n".join(result), done.stderr


@pytest.mark.slow
def test_a_run_without_a_network_loads_no_tensorflow_and_done_again_no_spark(
    tmp_path: Path,
) -> None:
    conf = tmp_path / "conf.yaml"
    conf.write_text(yaml.safe_dump(CONF))
    packages, result, progress = run(conf, tmp_path / "run")
    assert packages & (NETWORK | AWS) == set()
    assert "nothing to do" not in progress
    packages, result_again, progress = run(conf, tmp_path / "run")
    assert packages & (NETWORK | AWS | WORKING) == set()
    assert progress.count("nothing to do") == 5
    assert result_again == result
