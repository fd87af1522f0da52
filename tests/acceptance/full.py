"""Runs the acceptance checks at full size and writes docs/acceptance.md.

Each check runs in a process of its own.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import platform
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from acceptance import (
    checks,
    diagnosis,
    lake,
    planted_runs,
    processes,
    question,
    rules,
    scarce,
    scores,
    tools,
    training,
)

FULL: dict[str, tuple[str, Callable[[Path], dict[str, Any]]]] = {}


def spark() -> Any:
    from foreshock.platform.session import build_session

    return build_session("accept")


FULL["schema"] = ("298 transactions, 28 columns, value exact", lambda w: checks.schema(w, spark()))
FULL["windows"] = (
    "windows equal sliding_window_view",
    lambda w: checks.windows(w, spark(), cases=20),
)
FULL["scaling"] = (
    "quartiles of 5 M heavy-tailed values, exact",
    lambda w: checks.scaling_exact(w, spark(), values=5_000_000),
)
FULL["dataset"] = (
    "x <= 1.10 x the float32 matrix; plain petastorm and Spark read it",
    lambda w: checks.dataset_size(w, spark(), events=600_000),
)
FULL["threshold"] = (
    "quantile 0.99: calibration, interval, test",
    lambda w: checks.threshold(w, spark(), runs=200, events=400_000),
)
FULL["bundle"] = (
    "reloaded bundle and other batches give equal scores",
    lambda w: checks.bundle(w, spark()),
)
FULL["repeat"] = (
    "same seed, other order and partitioning: same scores",
    lambda w: checks.repeat(w, spark(), events=20_000),
)
FULL["ethereum"] = (
    "71,239 labelled transactions: counts reconcile, figures as they are",
    lambda w: checks.ethereum(w, spark()),
)
FULL["order_only"] = (
    "order-only ROC AUC: network >= 0.85, isolation forest <= 0.65",
    lambda w: checks.order_only(w, spark(), seeds=(7, 8, 9)),
)
FULL["kill"] = (
    "kill -9 in each stage, then the same command",
    lambda w: processes.kill_all(w, moments=(0.0, 0.7, 3.0)),
)
FULL["cluster"] = ("spark-submit on a standalone cluster gives the same tables", processes.cluster)
FULL["memory"] = (
    "20 M events under 2 GiB a process",
    lambda w: processes.memory(w, events=20_000_000, windows_per_epoch=200_000),
)
FULL["replicas"] = ("one replica and two: losses of 30 steps equal to 1e-4", training.replicas)
FULL["workers"] = (
    "two and three workers on a standalone cluster: equal weights, every block once",
    training.workers,
)
FULL["resume"] = (
    "ten kill -9 of a training: losses by step and weights as undisturbed",
    training.kills,
)
FULL["worker_killed"] = (
    "kill -9 of one of two workers: exit 4 naming it, then resumed",
    training.worker_killed,
)
FULL["worker_stalled"] = (
    "one of two workers stopped (SIGSTOP): exit 4 naming it, then resumed",
    lambda w: training.worker_killed(w, how=signal.SIGSTOP),
)
FULL["worker_slowed"] = (
    "one of two workers slowed tenfold: training ends, same weights",
    training.worker_slowed,
)
FULL["pot"] = (
    "peaks over threshold at 1e-4: error, coverage, SciPy's likelihood",
    lambda _: rules.pot(seeds=500, compared=50),
)
FULL["question"] = (
    "the question's settings fail and the verdict says why; mended, sensitivity >= 0.6 at "
    "specificity >= 0.95",
    lambda w: question.question(w, started, seeds=(4, 5, 6)),
)  # no setting was chosen on these
FULL["question_ethereum"] = (
    "the question on labelled Ethereum transactions, and mended: no signal",
    lambda w: question.ethereum(w, started),
)
FULL["diagnosis"] = (
    "planted causes: the first verdict right, healthy runs without one, two causes both named",
    lambda _: diagnosis.planted(seeds=range(5), healthy=range(40)),
)
FULL["heavy_tails"] = (
    "healthy series with heavy tails: at most 10 % with a verdict",
    lambda _: diagnosis.heavy(seeds=range(40)),
)
FULL["planted_runs"] = (
    "planted causes through the whole job: the first verdict right",
    lambda w: planted_runs.planted_runs(w, started, seeds=(1, 2)),
)
FULL["scores"] = (
    "plain, standardised and Mahalanobis errors, smoothed or not: PR AUC",
    lambda w: scores.scores(w, started, seeds=(7, 8, 9), models={"pca": 3, "lstm_autoencoder": 1}),
)
FULL["out_of_fold"] = (
    "400 training rows: thresholds out of fold flag <= 3 % of fresh ones, in-sample twice that",
    lambda w: scarce.out_of_fold(w, started, seeds=20),
)
FULL["conformal"] = (
    "false discovery rate in units over 200 simulations; 1,000 p-values uniform",
    lambda _: rules.conformal(simulations=200),
)
FULL["aws_journey"] = (
    "a month from Athena on S3 into every catalog, a day of its own: tables equal those of local "
    "files",
    lambda w: lake.lake(w, "test_aws_journey"),
)
FULL["aws_faults"] = (
    "faults at the server: right tables, or exit 4 in the service's words and nothing "
    "half-published",
    lambda w: lake.lake(w, "test_aws_faults"),
)
FULL["aws_together"] = (
    "SIGTERM in each stage; two jobs at once on one table, by catalog",
    lambda w: lake.lake(w, "test_aws_together"),
)


def started(made: dict[str, Any], target: Path) -> None:
    """A pipeline in this process."""
    checks.run(made, target, spark())


def one(name: str, out: str) -> None:
    work = Path(tempfile.mkdtemp(prefix=f"foreshock-accept-{name}-"))
    started = time.monotonic()
    try:
        result: dict[str, Any] = {"passed": True, "figures": FULL[name][1](work)}
    except BaseException as error:
        traceback.print_exc()
        result = {
            "passed": False,
            "figures": {"error": f"{type(error).__name__}: {str(error)[:400]}"},
        }
    result["seconds"] = round(time.monotonic() - started, 1)
    Path(out).write_text(json.dumps(result, default=str))
    shutil.rmtree(work, ignore_errors=True)


def main(names: list[str]) -> int:
    if unknown := [n for n in names if n not in FULL]:
        print(
            f"scripts/accept: no such check: {', '.join(unknown)}; there are {', '.join(FULL)}",
            file=sys.stderr,
        )
        return 2
    record = tools.ROOT / "docs" / "acceptance.json"
    record.parent.mkdir(exist_ok=True)
    results = json.loads(record.read_text()) if record.exists() else {}
    for name in names or list(FULL):
        out = Path(tempfile.mkdtemp()) / "result.json"
        print(f"== {name}: {FULL[name][0]}", file=sys.stderr)
        process = multiprocessing.get_context("spawn").Process(target=one, args=(name, str(out)))
        process.start()
        process.join()
        found = (
            json.loads(out.read_text())
            if out.exists()
            else {"passed": False, "figures": {"error": "the process died"}, "seconds": 0}
        )
        results[name] = found | {"date": datetime.now(UTC).strftime("%Y-%m-%d")}
        print(json.dumps(results[name], indent=1), file=sys.stderr)
        record.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n")
        (tools.ROOT / "docs" / "acceptance.md").write_text(page(results))
    failed = [n for n in names or list(FULL) if not results[n]["passed"]]
    print(f"{len(names or FULL) - len(failed)} passed, {len(failed)} failed")
    return 1 if failed else 0


def page(results: dict[str, Any]) -> str:
    """docs/acceptance.md from the figures."""
    lines = [
        "# Acceptance",
        "",
        f"Written by `scripts/accept` on {os.cpu_count()} cores ({platform.machine()}, Python "
        f"{platform.python_version()}); `docs/acceptance.json` holds the same. Reduced sizes run "
        "in `scripts/test`.",
        "",
    ]
    for name, (what, _) in FULL.items():
        if name not in results:
            lines += [f"## {name}: not run yet", "", what, ""]
            continue
        r = results[name]
        lines += [
            f"## {name}: {'passed' if r['passed'] else 'FAILED'}",
            "",
            f"{what} ({r['seconds']} s, {r['date']})",
            "",
            "| figure | value |",
            "| --- | --- |",
        ]
        lines += [
            f"| {k} | {f'{v:.6g}' if isinstance(v, float) else v} |"
            for k, v in r["figures"].items()
        ] + [""]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
