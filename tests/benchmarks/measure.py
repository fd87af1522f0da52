"""What all figures share: alternating repetitions, ratios, the record of a figure."""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import psutil


@dataclass(frozen=True)
class Figure:
    """One figure. ours, peer: medians in `unit`; ratio: of each repetition, above 1 where ours is better; wanted: at least."""

    name: str
    ours: float
    peer: float
    peer_name: str
    unit: str
    ratio: dict[str, float]
    repetitions: int
    wanted: float
    sizes: str

    @property
    def met(self) -> bool:
        return self.ratio["median"] >= self.wanted


def timed(work: Callable[[], Any]) -> float:
    """Seconds of one call."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def cost(work: Callable[[], Any]) -> tuple[float, float]:
    """CPU seconds of this process and all below it while it works, and bytes that they read."""
    before = _spent()
    work()
    after = _spent()
    return after[0] - before[0], after[1] - before[1]


def _spent() -> tuple[float, float]:
    seconds = read = 0.0
    here = psutil.Process()
    for process in (here, *here.children(recursive=True)):
        with contextlib.suppress(psutil.Error):
            times, io = process.cpu_times(), process.io_counters()
            seconds += times.user + times.system + times.children_user + times.children_system
            read += io.read_chars
    return seconds, read


def alternate(
    name: str,
    ours: Callable[[], float],
    peer: Callable[[], float],
    *,
    peer_name: str,
    unit: str,
    wanted: float,
    sizes: str,
    repetitions: int,
) -> Figure:
    """Measure both by turns; `ours` and `peer` return a speed in `unit`. Where there are several, a first pair only warms up."""
    if repetitions > 1:
        ours(), peer()
    mine, theirs = [], []
    for i in range(repetitions):
        for side in (mine, theirs) if i % 2 == 0 else (theirs, mine):
            side.append(ours() if side is mine else peer())
    ratios = [a / b for a, b in zip(mine, theirs, strict=True)]
    return Figure(
        name,
        statistics.median(mine),
        statistics.median(theirs),
        peer_name,
        unit,
        {"min": min(ratios), "median": statistics.median(ratios), "max": max(ratios)},
        repetitions,
        wanted,
        sizes,
    )
