"""Shared by all tests: one Spark session, jobs run in this process with it, small tables."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared" / "data"
sys.path.insert(0, str(ROOT / "jobs"))
sys.path.insert(0, str(ROOT / "tests"))


@pytest.fixture(scope="session")
def spark() -> Iterator[Any]:
    from foreshock.platform.session import build_session

    session = build_session("tests")
    yield session
    session.stop()


@pytest.fixture
def run_job(spark: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Runs a job's real main(argv) in this process, and returns the exit code.

    Spark stays up between calls.
    """
    import importlib

    from foreshock.stages.context import Context

    monkeypatch.setattr(Context, "close", lambda self: None)

    def run(job: str, conf: dict[str, Any] | Path, run_dir: Path, *flags: str) -> int:
        path = conf
        if isinstance(conf, dict):
            path = run_dir.parent / f"{run_dir.name}.yaml"
            path.write_text(yaml.safe_dump(conf, sort_keys=False))
        module = importlib.import_module(job)
        code: int = module.main(["--conf", str(path), "--run-dir", str(run_dir), *flags])
        return code

    return run
