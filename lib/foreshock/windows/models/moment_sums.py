"""Sums behind `WindowMoments` as they grow, from blocks of events whose windows overlap.

Overlapping windows share their rows, so a run of windows one event apart costs a product per lag,
not one per pair of steps. Only sums of like parts are formed, never differences, so a large value
at a run's edge leaves no rounding error behind.
"""

from __future__ import annotations

import numpy as np

from foreshock.statistics.arrays import Float32Array, Float64Array, Int64Array

# Rows per group in a run's product: wide enough for BLAS, narrow enough to waste little.
GROUP = 16
# Windows in one piece of a run: its rows stay in the cache.
RUN = 4096
# Values of flattened windows held at once.
CHUNK = 2**20
# Runs whose edge rows are held at once.
EDGES = 512


class MomentSums:
    """Sums of windows and of their outer products, each value less its feature's origin (F,).

    A run of w windows one event apart has w + L − 1 rows. Its sum for steps a and a + d of a window
    is made of three parts that all its windows share: the *core*, pairs whose earlier row is among
    the first w and whose later row is not among the first L − 1; the *head*, pairs within the first
    L − 1 rows; the *tail*, pairs within the last L − 1 rows.
    """

    def __init__(self, length: int, origin: Float64Array) -> None:
        """Begin with no windows of `length` events."""
        self.length, self.origin, self.features = length, origin, len(origin)
        self.n = 0
        n_values, n_edge_values = length * self.features, (length - 1) * self.features
        self._total, self._products = np.zeros(n_values), np.zeros((n_values, n_values))
        self._group = min(GROUP, length)
        core_shape = (self._group * self.features, (self._group + length - 1) * self.features)
        self._core, self._core_total = np.zeros(core_shape), np.zeros(self.features)
        self._head, self._tail = (
            np.zeros((n_edge_values, n_edge_values)),
            np.zeros((n_edge_values, n_edge_values)),
        )
        self._head_total, self._tail_total = np.zeros(n_edge_values), np.zeros(n_edge_values)
        # A run's first L − 1 rows, flattened, and its last.
        self._waiting_heads: list[Float64Array] = []
        self._waiting_tails: list[Float64Array] = []

    def add_block(self, rows: Float32Array, starts: Int64Array) -> None:
        """Add the windows at `starts` (ascending) of a block of events (n, F).

        Raises ValueError if a window leaves the block.
        """
        length = self.length
        if not len(starts):
            return
        start_steps = np.diff(starts)
        leaves_block = starts[0] < 0 or starts[-1] + length > len(rows)
        if rows.shape[1] != self.features or leaves_block or (start_steps < 1).any():
            raise ValueError(
                f"windows of {length} at {starts[0]} to {starts[-1]} are not ascending or leave a "
                f"block of shape {rows.shape}"
            )
        run_bounds = np.concatenate([[0], np.flatnonzero(start_steps > 1) + 1, [len(starts)]])
        run_sizes = np.diff(run_bounds)
        for run_number in np.flatnonzero(run_sizes >= length):
            run_starts = starts[run_bounds[run_number] : run_bounds[run_number + 1]]
            for piece_starts in np.array_split(
                run_starts, max(1, len(run_starts) // max(RUN, length))
            ):
                piece_rows = rows[piece_starts[0] : piece_starts[-1] + length]
                self._add_run(piece_rows.astype(np.float64) - self.origin)
        # Runs too short to gain from what their windows share.
        loose_starts = starts[np.repeat(run_sizes < length, run_sizes)]
        for first_window in range(0, len(loose_starts), self._chunk_windows):
            row_positions = loose_starts[
                first_window : first_window + self._chunk_windows, None
            ] + np.arange(length)
            self._add_flat(rows[row_positions].astype(np.float64) - self.origin)

    def add_windows(self, windows: Float32Array) -> None:
        """Add windows (N, L, F) as they are.

        `add_block` is faster for windows that overlap.
        """
        for first_window in range(0, len(windows), self._chunk_windows):
            chunk = windows[first_window : first_window + self._chunk_windows]
            self._add_flat(chunk.astype(np.float64) - self.origin)

    @property
    def _chunk_windows(self) -> int:
        return max(1, CHUNK // (self.length * self.features))

    def _add_flat(self, windows: Float64Array) -> None:
        """Windows (N, L, F), less the origin."""
        flat_windows = windows.reshape(len(windows), -1)
        self.n += len(flat_windows)
        self._total += flat_windows.sum(axis=0)
        self._products += flat_windows.T @ flat_windows

    def _add_run(self, rows: Float64Array) -> None:
        """All windows of rows (w + L − 1, F), w at least L, less the origin."""
        length, features, group = self.length, self.features, self._group
        n_windows = len(rows) - length + 1
        n_groups = -(-n_windows // group)
        earlier_rows = np.zeros((n_groups * group, features))
        earlier_rows[:n_windows] = rows[:n_windows]
        later_rows = np.zeros((n_groups * group + length - 1, features))
        # Pairs whose later row is among the first L − 1 are the head's.
        later_rows[length - 1 : len(rows)] = rows[length - 1 :]
        # A strip holds all rows that a group's windows pair it with, so one product has every lag.
        strip_width = (group + length - 1) * features
        strip_views = np.lib.stride_tricks.sliding_window_view(later_rows.ravel(), strip_width)
        strips = np.ascontiguousarray(strip_views[:: group * features])
        self._core += earlier_rows.reshape(n_groups, -1).T @ strips
        self._core_total += rows[length - 1 : n_windows].sum(axis=0)
        self._waiting_heads.append(rows[: length - 1].ravel())
        self._waiting_tails.append(rows[n_windows:].ravel())
        self.n += n_windows
        if len(self._waiting_heads) >= EDGES:
            self._add_edges()

    def _add_edges(self) -> None:
        """Take the waiting edge rows into the sums of heads and tails."""
        if self._waiting_heads:
            heads, tails = np.stack(self._waiting_heads), np.stack(self._waiting_tails)
            self._head += heads.T @ heads
            self._tail += tails.T @ tails
            self._head_total += heads.sum(axis=0)
            self._tail_total += tails.sum(axis=0)
            self._waiting_heads.clear()
            self._waiting_tails.clear()

    def result(self) -> tuple[Float64Array, Float64Array]:
        """The sum of windows (L·F,) and of their products (L·F, L·F). Call it once, at the end.

        For steps a and a + d of a run's windows: the core's lag d, the head's pairs from (a, a + d)
        on and the tail's before it.
        """
        self._add_edges()
        length, features, n_edge_rows = self.length, self.features, self.length - 1
        window_products = self._products.reshape(length, features, length, features)
        by_lag = self._core_by_lag()
        for step in range(length):
            window_products[step] += by_lag[:, n_edge_rows - step : n_edge_rows - step + length]
        edge_shape = (n_edge_rows, features, n_edge_rows, features)
        head_products, tail_products = (
            self._head.reshape(edge_shape),
            self._tail.reshape(edge_shape),
        )
        for step in range(1, n_edge_rows):
            head_products[n_edge_rows - 1 - step, :, :-1] += head_products[
                n_edge_rows - step, :, 1:
            ]
            tail_products[step, :, 1:] += tail_products[step - 1, :, :-1]
        window_products[:-1, :, :-1] += head_products
        window_products[1:, :, 1:] += tail_products
        window_total = self._total.reshape(length, features)
        window_total += self._core_total
        head_rows = self._head_total.reshape(n_edge_rows, features)
        window_total[:-1] += np.cumsum(head_rows[::-1], axis=0)[::-1]
        window_total[1:] += np.cumsum(self._tail_total.reshape(n_edge_rows, features), axis=0)
        return self._total, self._products

    def _core_by_lag(self) -> Float64Array:
        """The core's products (F, 2L − 1, F), by lag from 1 − L to L − 1."""
        length, group = self.length, self._group
        core = self._core.reshape(group, self.features, group + length - 1, self.features)
        ahead = core[0, :, :length]
        for row in range(1, group):
            ahead = ahead + core[row, :, row : row + length]
        # A lag back is the same lag ahead with its two rows exchanged.
        behind = ahead[:, :0:-1].transpose(2, 1, 0)
        return np.concatenate([behind, ahead], axis=1)
