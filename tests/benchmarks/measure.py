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
    """One figure.

    ours, peer: medians in `unit`. ratio: of each repetition, above 1 if ours is better. wanted: the
    least ratio.
    """

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
    is_cost: bool = False,
) -> Figure:
    """Measure both by turns. If there are several repetitions, a first pair only warms up.

    `ours` and `peer` return a speed in `unit`, or with `is_cost` a cost such as seconds.
    """
    if repetitions > 1:
        ours(), peer()
    our_values: list[float] = []
    peer_values: list[float] = []
    for repetition in range(repetitions):
        sides = (our_values, peer_values) if repetition % 2 == 0 else (peer_values, our_values)
        for values in sides:
            values.append(ours() if values is our_values else peer())
    pairs = list(zip(our_values, peer_values, strict=True))
    ratios = [theirs / mine if is_cost else mine / theirs for mine, theirs in pairs]
    return Figure(
        name,
        statistics.median(our_values),
        statistics.median(peer_values),
        peer_name,
        unit,
        _spread(ratios),
        repetitions,
        wanted,
        sizes,
    )


def within(
    name: str,
    cost: Callable[[], float],
    *,
    limit: float,
    unit: str,
    sizes: str,
    repetitions: int,
) -> Figure:
    """Measure a cost against a limit: the ratio is limit / cost, and 1 is wanted."""
    if repetitions > 1:
        cost()
    costs = [cost() for _ in range(repetitions)]
    ratios = [limit / value for value in costs]
    peer_name = f"the limit, {limit:g} {unit}"
    return Figure(
        name,
        statistics.median(costs),
        limit,
        peer_name,
        unit,
        _spread(ratios),
        repetitions,
        1.0,
        sizes,
    )


def _spread(ratios: list[float]) -> dict[str, float]:
    return {"min": min(ratios), "median": statistics.median(ratios), "max": max(ratios)}
