"""A dataset's block opened for scoring: its arrays, and which of its windows are scored."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal, get_args

import numpy as np

from foreshock.statistics.arrays import AnyArray, BoolArray, Float32Array, Int64Array, TextArray
from foreshock.windows.dataset.schema import BlockRow
from foreshock.windows.scoring.aggregate import ENDING, Layout
from foreshock.windows.scoring.plan import ScoringPlan, ScoringTask

EventField = Literal["event_id", "event_time", "event_group", "kind", "label", "split", "calibrate"]
SCORED_FIELDS = (
    *("block_id", "entity", "n_windows", "first_padding", "x", "event_partition"),
    *get_args(EventField),
)


@dataclass(frozen=True)
class OpenBlock:
    """A block (n, F) of events of one entity, and the layout of the windows to be scored."""

    row: BlockRow
    x: Float32Array
    partition: TextArray
    layout: Layout

    @property
    def block_id(self) -> int:
        """The block's number in its dataset."""
        return self.row["block_id"]

    @property
    def entity(self) -> str:
        """Whose events it holds."""
        return self.row["entity"]

    def column(self, name: EventField) -> AnyArray:
        """An array (n,) of the block's events."""
        values: AnyArray = self.row[name]
        return values

    @cached_property
    def windows(self) -> Float32Array:
        """The windows (w, L, F) to be scored.

        They are copied from the block's events when they are first asked for, and kept.
        """
        window_views = np.lib.stride_tricks.sliding_window_view(self.x, self.layout.length, axis=0)
        return np.asarray(window_views[self.layout.starts].transpose(0, 2, 1))


def open_block(plan: ScoringPlan, task: ScoringTask, row: BlockRow) -> OpenBlock:
    """The block of a dataset's row, with the windows that a task scores.

    row: with SCORED_FIELDS. Windows are left out that judge no event of the task's partitions, or
    that the models of its fold saw; none may be left.
    """
    x, partition = row["x"], row["event_partition"]
    window_ordinals = np.arange(row["n_windows"])
    layout = Layout(len(x), window_ordinals, plan.length, plan.stride, row["first_padding"])
    if task.partitions is not None:
        is_wanted = np.isin(partition, task.partitions)
        layout = _only(layout, _reaches(plan, layout, is_wanted))
    if task.fold is not None:
        event_times = row["event_time"]
        layout = _only(layout, _in_fold(plan, task, layout, event_times))
    return OpenBlock(row, x, partition, layout)


def _only(layout: Layout, is_scored: BoolArray) -> Layout:
    return replace(layout, ordinals=layout.ordinals[is_scored])


def _reaches(plan: ScoringPlan, layout: Layout, is_wanted: BoolArray) -> BoolArray:
    """Which windows judge a wanted event (n,)."""
    if plan.score_kind in ENDING:
        return np.asarray(is_wanted[layout.starts + plan.length - 1])
    # A window holds a wanted event if the count of those before rises over it.
    wanted_before = np.concatenate([[0], np.cumsum(is_wanted)])
    return np.asarray(wanted_before[layout.starts + plan.length] > wanted_before[layout.starts])


def _in_fold(plan: ScoringPlan, task: ScoringTask, layout: Layout, times: Int64Array) -> BoolArray:
    """Which windows the models of a fold did not see."""
    if task.fold is None:
        return np.ones(len(layout.ordinals), bool)
    last_times, first_times = times[layout.starts + plan.length - 1], times[layout.starts]
    is_inside = (last_times >= task.fold.first) & (last_times < task.fold.end)
    if plan.score_kind not in ENDING:
        # The events of a window that begins earlier lie in windows of models that saw them.
        is_inside &= first_times >= task.fold.first
    return np.asarray(is_inside)
