"""Jobs on the stack, as separate commands or one after another in one process.

One process is quicker because it keeps its Spark session.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]


def arguments(folder: Path, conf: dict[str, Any], run_dir: str, *flags: str) -> list[str]:
    """A job's arguments; the conf is written to `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{run_dir.rsplit('/', 1)[-1]}.yaml"
    path.write_text(yaml.safe_dump(conf, sort_keys=False))
    return ["--conf", str(path), "--run-dir", run_dir, *flags]


class Process:
    """A process that runs jobs in an environment of its own.

    catalog: the kind of Iceberg catalog whose packages its Spark session loads.
    options: of Spark's catalog, as a cluster's configuration has them.
    """

    def __init__(
        self, environment: dict[str, str], catalog: str, options: dict[str, str] | None = None
    ) -> None:
        self._said = tempfile.TemporaryFile("w+")  # noqa: SIM115 — as long as the process
        self._process = subprocess.Popen(
            [sys.executable, __file__, catalog, json.dumps(options or {})],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            text=True,
        )

    def run(self, argv: list[str], job: str = "pipeline", timeout: float = 400) -> tuple[int, str]:
        """(exit code, what it printed)."""
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps([job, argv]) + "\n")
        self._process.stdin.flush()
        timer = threading.Timer(timeout, self._process.kill)
        timer.start()
        line = self._process.stdout.readline()
        timer.cancel()
        if not line:
            self._said.seek(0)
            return -1, f"the process died, or took too long: {self._said.read()[-3000:]}"
        code, printed = json.loads(line)
        return code, printed

    def stop(self) -> None:
        with contextlib.suppress(OSError):
            self._process.stdin.close()  # type: ignore[union-attr]
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()


def serve(catalog: str, options: dict[str, str]) -> None:
    """Run what is asked for on standard input, until it ends."""
    sys.path.insert(0, str(ROOT / "jobs"))
    from foreshock.platform.session import build_session
    from foreshock.stages.context import Context
    from foreshock.tables.sinks.iceberg_catalog import CATALOG, packages

    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # Java prints there too
    spark: Any = build_session("jobs", s3=True, packages=packages(catalog))
    prefix = f"spark.sql.catalog.{CATALOG}"
    Context.close = lambda self: None  # type: ignore[method-assign]
    for line in sys.stdin:
        job, argv = json.loads(line)
        # the next job's catalog may be another
        spark._jsparkSession.sessionState().catalogManager().reset()
        for row in spark.sql("SET").collect():
            if row["key"].startswith(prefix):
                spark.conf.unset(row["key"])
        for key, value in options.items():
            spark.conf.set(f"{prefix}.{key}", value)
        printed = io.StringIO()
        with contextlib.redirect_stderr(printed), contextlib.redirect_stdout(printed):
            code = importlib.import_module(job).main(argv)
        out.write(json.dumps([code, printed.getvalue()]) + "\n")
        out.flush()


if __name__ == "__main__":
    serve(sys.argv[1], json.loads(sys.argv[2]))
