"""How prepare and score grow with the number of events.

The figures are seconds, a worker's peak memory, and the exponent of the time.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from acceptance.processes import Peak
from foreshock.settings.load import build_settings
from foreshock.stages.context import Context
from foreshock.stages.extract import extract
from foreshock.stages.prepare import prepare
from foreshock.stages.score import score
from foreshock.stages.train import train

from benchmarks.loading import conf, write_source

SIZES = {
    "growth_prepare": (1_000_000, 4_000_000, 16_000_000, 32_000_000),
    "growth_score": (250_000, 500_000, 1_000_000, 2_000_000),
}
QUICK = (2_000, 8_000)
SMALL = {
    "model__units": [8],
    "model__dense": 4,
    "training__epochs": 1,
    "training__windows_per_epoch": 10_000,
    "training__batch": 64,
}


def growth(name: str, work: Path, spark: Any, *, quick: bool) -> dict[str, Any]:
    """One stage, run once for each size, after a small run that warms up.

    The exponent is the slope of log seconds over log events. Memory is that of Spark's Python
    workers.
    """
    stage: Callable[[Context], None] = prepare if name == "growth_prepare" else score
    before: tuple[Callable[[Context], None], ...] = (
        (extract,) if stage is prepare else (extract, prepare, train)
    )
    sizes = QUICK if quick else SIZES[name]
    seconds, peaks = [], []
    for rows in (QUICK[1], *sizes):
        folder = work / f"{name}-{rows}"
        source = write_source(folder / "source", rows, 200 if rows > QUICK[1] else 20)
        context = Context(
            build_settings(conf(source, **SMALL)), str(folder / "run"), quiet=True, spark=spark
        )
        with context.open():
            for done in before:
                done(context)
            peak = Peak(psutil.Process().pid)
            started = time.perf_counter()
            stage(context)
            seconds.append(time.perf_counter() - started)
            peaks.append(peak.stop()["python worker"])
        shutil.rmtree(folder)
    seconds, peaks = seconds[1:], peaks[1:]
    exponent = float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])
    return {
        "events": sizes,
        "seconds": seconds,
        "peak of a worker, GiB": peaks,
        "exponent": exponent,
        "exponent wanted at most": 1.05,
        "largest over smallest peak": max(peaks) / max(min(peaks), 1e-9),
    }
