"""The plan of training, and the dealing of blocks by it.

Steps are equal. Every block has one worker, and nothing is doubled. Any step can be found again.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from foreshock.errors import SettingsError
from foreshock.sequences.split import BlockRole
from foreshock.windows.dataset.block_table import BlockTable, blocks_of
from foreshock.windows.dataset.chunks import TrainingBlock, WindowPool, block_windows, deal
from foreshock.windows.dataset.manifest import Chunk, Manifest, run_lengths
from foreshock.windows.dataset.plan import (
    EpochPlan,
    WorkerShare,
    dataset_identity,
    make_plan,
)
from hypothesis import given, settings
from hypothesis import strategies as st

LENGTH, STRIDE = 3, 2


def blocks(sizes: list[list[int]]) -> BlockTable:
    """BlockTable of chunks: the windows of each."""
    flat = [(chunk, n) for chunk, own in enumerate(sizes) for n in own]
    return BlockTable(
        np.array([c for c, _ in flat]), np.arange(len(flat)), np.array([n for _, n in flat])
    )


@st.composite
def plans(draw: st.DrawFn) -> EpochPlan:
    sizes = draw(
        st.lists(st.lists(st.integers(1, 12), min_size=1, max_size=6), min_size=1, max_size=6)
    )
    own = blocks(sizes)
    workers = draw(st.integers(1, min(4, len(own))))
    total = own.total_windows
    limit = draw(st.one_of(st.none(), st.integers(workers, total + 5)))
    return EpochPlan(
        own,
        draw(st.integers(0, 9)),
        draw(st.integers(workers, workers + 20)),
        workers,
        limit,
        pool=draw(st.integers(1, 30)),
    )


def content(plan: EpochPlan) -> dict[int, TrainingBlock]:
    """The blocks of a plan. Row i of block b is (b, i), so a window tells where it is from.

    A block of one window is padded by one row.
    """
    made = {}
    for block, n in zip(
        plan.blocks.block_id.tolist(), plan.blocks.window_count.tolist(), strict=True
    ):
        rows = STRIDE * (n - 1) + LENGTH
        x = np.stack([np.full(rows, block), np.arange(rows)], axis=1).astype(np.float32)
        made[block] = TrainingBlock(block, x, n, 1 if n == 1 else 0)
    return made


def windows_of(pools: list[WindowPool]) -> list[tuple[int, int] | None]:
    """(block, first row) of each window in order, or None of an empty window."""
    found: list[tuple[int, int] | None] = []
    for pool in pools:
        for start, padding in zip(pool.start.tolist(), pool.padding.tolist(), strict=True):
            rows = pool.rows[start : start + LENGTH]
            assert len(rows) == LENGTH
            if padding == LENGTH:
                found.append(None)
                continue
            assert len(set(rows[:, 0])) == 1, "a window crosses blocks"
            assert np.array_equal(np.diff(rows[:, 1]), [1.0] * (LENGTH - 1))
            found.append((int(rows[0, 0]), int(rows[0, 1])))
    return found


def dealt(plan: EpochPlan, share: WorkerShare, first: int = 0) -> list[tuple[int, int] | None]:
    there = content(plan)
    wanted = share.remaining_blocks(first)
    return windows_of(
        list(deal((there[b] for b in wanted.block_id.tolist()), share, LENGTH, STRIDE, 2, first))
    )


@settings(deadline=None)
@given(plans(), st.integers(1, 5))
def test_every_worker_has_the_same_steps_and_every_block_one_worker(
    plan: EpochPlan, epoch: int
) -> None:
    shares = [plan.share(epoch, w) for w in range(plan.workers)]
    assert len({s.steps for s in shares}) == 1
    assert sum(s.batch for s in shares) == plan.batch
    seen = Counter(b for s in shares for b in s.blocks.block_id.tolist())
    assert set(seen.values()) == {1}
    assert all(s.used for s in shares)
    trained = sum(s.used for s in shares)
    total = int(plan.blocks.window_count.sum())
    assert trained + shares[0].left_out == total
    assert len({s.left_out for s in shares}) == 1
    if plan.limit is None or plan.limit >= total:
        assert set(seen) == set(range(len(plan.blocks)))
        assert trained == total
    else:
        assert trained <= plan.limit


@settings(deadline=None)
@given(plans(), st.integers(1, 3))
def test_windows_are_dealt_once_each_and_counted(plan: EpochPlan, epoch: int) -> None:
    seen: Counter[tuple[int, int]] = Counter()
    for worker in range(plan.workers):
        share = plan.share(epoch, worker)
        found = dealt(plan, share)
        assert len(found) == share.steps * share.batch
        assert found.count(None) == share.empty
        assert None not in found[: share.used]
        seen.update(w for w in found if w is not None)
    assert set(seen.values()) <= {1}
    everything = {
        (b, STRIDE * i) for b, n in enumerate(plan.blocks.window_count.tolist()) for i in range(n)
    }
    assert set(seen) <= everything
    assert len(everything) - len(seen) == plan.share(epoch, 0).left_out


@settings(deadline=None)
@given(plans(), st.integers(1, 3), st.data())
def test_any_step_is_found_again_without_what_comes_before(
    plan: EpochPlan, epoch: int, data: st.DataObject
) -> None:
    share = plan.share(epoch, data.draw(st.integers(0, plan.workers - 1)))
    step = data.draw(st.integers(0, share.steps - 1))
    whole = dealt(plan, share)
    assert dealt(plan, share, step) == whole[step * share.batch :]
    batch = [w for w in whole[step * share.batch : (step + 1) * share.batch] if w is not None]
    assert share.block_ids_of(step) == sorted({b for b, _ in batch})


def test_a_padded_window_keeps_its_weight() -> None:
    plan = EpochPlan(blocks([[1, 1, 1]]), 1, 2, 1, None)
    there = content(plan)
    share = plan.share(1, 0)
    pools = list(
        deal((there[b] for b in share.blocks.block_id.tolist()), share, LENGTH, STRIDE, 2, 0)
    )
    assert np.concatenate([p.padding for p in pools]).tolist() == [1, 1, 1, LENGTH]
    _, weight = block_windows(there[0], LENGTH, STRIDE)
    assert weight.tolist() == [[0.0, 1.0, 1.0]]


def test_epochs_and_seeds_shuffle_otherwise_and_alike_again() -> None:
    plan = EpochPlan(blocks([[5, 5], [5, 5], [5], [5, 5, 5]]), 1, 8, 1, None, pool=12)
    first = dealt(plan, plan.share(1, 0))
    assert dealt(plan, plan.share(1, 0)) == first
    assert dealt(plan, plan.share(2, 0)) != first
    other = replace(plan, seed=2)
    assert dealt(other, other.share(1, 0)) != first
    assert sorted(w for w in dealt(other, other.share(1, 0)) if w) == sorted(w for w in first if w)


def test_with_a_limit_every_block_is_read_in_time() -> None:
    plan = EpochPlan(blocks([[4] * 50]), 1, 8, 1, 20)
    seen = {b for epoch in range(1, 80) for b in plan.share(epoch, 0).blocks.block_id.tolist()}
    assert seen == set(range(50))


def manifest(chunks: list[tuple[BlockRole, list[int]]]) -> Manifest:
    made = [
        Chunk(
            f"part-{i}.parquet", code, len(own), sum(own), 9, 9, 9, "0" * 64, (), run_lengths(own)
        )
        for i, (code, own) in enumerate(chunks)
    ]
    return Manifest("train", ("value",), LENGTH, STRIDE, "0" * 64, "0" * 64, tuple(made))


def test_blocks_of_a_manifest_are_those_of_the_code() -> None:
    own = manifest(
        [(BlockRole.FIT, [3, 3, 2]), (BlockRole.VALIDATION, [4, 1]), (BlockRole.FIT, [5])]
    )
    fit = blocks_of(own, BlockRole.FIT)
    assert fit.chunk_index.tolist() == [0, 0, 0, 2]
    assert fit.window_count.tolist() == [3, 3, 2, 5]
    assert fit.block_id.tolist() == [0, 1, 2, 3]
    assert blocks_of(own, BlockRole.VALIDATION).block_id.tolist() == [4, 5]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"workers": 5}, "training.workers is 5, but the training dataset holds 4 blocks"),
        ({"workers": 3, "batch": 2}, "training.batch is 2, smaller than training.workers"),
        (
            {"workers": 2, "limit": 1},
            "training.windows_per_epoch is 1, fewer than training.workers",
        ),
    ],
)
def test_a_plan_that_cannot_be_is_refused(change: dict[str, int], says: str) -> None:
    given_ = {"seed": 1, "batch": 8, "workers": 1, "limit": None} | change
    with pytest.raises(SettingsError, match=says):
        make_plan(manifest([(BlockRole.FIT, [3, 3, 2, 5])]), **given_)  # type: ignore[arg-type]


def test_a_dataset_is_told_from_another_by_its_files() -> None:
    one, other = (
        manifest([(BlockRole.FIT, [3])]),
        manifest([(BlockRole.FIT, [3]), (BlockRole.FIT, [4])]),
    )
    assert dataset_identity(one) == dataset_identity(manifest([(BlockRole.FIT, [3])]))
    assert dataset_identity(one) != dataset_identity(other)
