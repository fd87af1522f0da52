"""What all figures share: alternating repetitions, ratios, the record of a figure."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


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


def alternate(
    name: str, ours: Callable[[], float], peer: Callable[[], float], *, peer_name: str, unit: str, wanted: float, sizes: str,
    repetitions: int,
) -> Figure:
    """Measure both by turns; `ours` and `peer` return a speed in `unit`. Where there are several, a first pair only warms up."""
    if repetitions > 1:
        ours(), peer()
    mine, theirs = [], []
    for i in range(repetitions):
        for side in ((mine, theirs) if i % 2 == 0 else (theirs, mine)):
            side.append(ours() if side is mine else peer())
    ratios = [a / b for a, b in zip(mine, theirs, strict=True)]
    return Figure(name, statistics.median(mine), statistics.median(theirs), peer_name, unit,
                  {"min": min(ratios), "median": statistics.median(ratios), "max": max(ratios)}, repetitions, wanted, sizes)
