"""Blocks in memory: their windows as views, and the shuffle that mixes blocks into batches. NumPy alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class TrainingBlock:
    """A block as training sees it. x: (n, F) float32; windows start at 0, stride, …; padding: leading rows that are none."""

    block_id: int
    x: Floats
    windows: int
    padding: int


def block_windows(block: TrainingBlock, length: int, stride: int) -> tuple[Floats, Floats]:
    """Windows of a block, (w, L, F), as a view, and weights, (w, L): 0 where padded."""
    views = np.lib.stride_tricks.sliding_window_view(block.x, length, axis=0)[::stride][: block.windows]
    weight = np.ones((block.windows, length), np.float32)
    weight[:, : block.padding] = 0.0
    return views.transpose(0, 2, 1), weight


def mix(
    blocks: Iterator[TrainingBlock], length: int, stride: int, batch: int, pool: int, rng: np.random.Generator, limit: int | None,
) -> Iterator[tuple[Floats, Floats]]:
    """Batches (x: (B, L, F), weight: (B, L)) drawn at random from a pool of about `pool` windows that blocks refill.

    Every window comes once (until `limit`); the last batch is what is left. A function of the blocks' order and rng alone.
    """
    held: list[TrainingBlock] = []
    waiting = given = 0
    left: tuple[Floats, Floats] | None = None

    def drawn() -> Iterator[tuple[Floats, Floats]]:
        rows = np.concatenate([b.x for b in held])  # (N, F)
        offset = np.concatenate([[0], np.cumsum([len(b.x) for b in held])])
        start = np.concatenate([offset[i] + stride * np.arange(b.windows) for i, b in enumerate(held)])
        padding = np.repeat([b.padding for b in held], [b.windows for b in held])
        order = rng.permutation(len(start))
        steps = np.arange(length)
        first = batch - (len(left[0]) if left is not None else 0)
        for a, b in _spans(len(order), first, batch):
            chosen = order[a:b]
            x = rows[start[chosen][:, None] + steps]  # (B, L, F)
            yield x, (steps >= padding[chosen][:, None]).astype(np.float32)

    def emit(x: Floats, weight: Floats) -> Iterator[tuple[Floats, Floats]]:
        nonlocal given
        room = len(x) if limit is None else min(len(x), limit - given)
        given += room
        if room:
            yield x[:room], weight[:room]

    for block in _ending(blocks):
        if block is not None:
            held.append(block)
            waiting += block.windows
        if held and (block is None or waiting >= pool):
            for x, weight in drawn():
                if left is not None:
                    x, weight = np.concatenate([left[0], x]), np.concatenate([left[1], weight])
                    left = None
                if len(x) < batch:
                    left = (x, weight)
                else:
                    yield from emit(x, weight)
                if limit is not None and given >= limit:
                    return
            held, waiting = [], 0
    if left is not None:
        yield from emit(*left)


def _spans(n: int, first: int, batch: int) -> Iterator[tuple[int, int]]:
    at = 0
    while at < n:
        size = first if at == 0 else batch
        yield at, min(n, at + size)
        at += size


def _ending(blocks: Iterator[TrainingBlock]) -> Iterator[TrainingBlock | None]:
    yield from blocks
    yield None
