"""Rows of scored events from blocks in memory.

Every event of a window is judged, whatever the values.
"""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pyarrow as pa
import pytest
from foreshock.detectors import REGISTRY, DetectorEntry, detector_names
from foreshock.scored.schema import score_column, scored_schema
from foreshock.sequences.split import BlockRole
from foreshock.statistics.arrays import AnyArray
from foreshock.windows.dataset.schema import BlockRow
from foreshock.windows.models.bundle import Bundle
from foreshock.windows.models.fitting import fit_sample
from foreshock.windows.scoring.blocks import open_block
from foreshock.windows.scoring.plan import ScoringPlan, ScoringTask
from foreshock.windows.scoring.scorer import score_blocks
from support.small_detectors import NO_FACTS

L, F, N = 5, 2, 400
NAMES = detector_names(lambda entry: entry.reads_windows and not entry.is_trainable)
KINDS = ("window", "last", "cover", "mean", "median", "max", "min")


def block(x: AnyArray, block_id: int = 0) -> BlockRow:
    """A dataset's row of test events x (n, F)."""
    n = len(x)
    columns = {
        "entity": "e",
        "block_id": block_id,
        "n_windows": n - L + 1,
        "first_padding": 0,
        "x": x.astype(np.float32),
        "event_time": np.arange(n, dtype=np.int64),
        "event_id": np.array([f"{i:05d}" for i in range(n)]),
        **{name: np.array([name] * n) for name in ("event_partition", "event_group", "kind")},
        **{
            name: np.full(n, value, np.int8)
            for name, value in (("label", 0), ("split", 3), ("calibrate", 1))
        },
    }
    return cast(BlockRow, columns)


def windows(x: AnyArray) -> AnyArray:
    return np.ascontiguousarray(
        np.lib.stride_tricks.sliding_window_view(x.astype(np.float32), L, axis=0).transpose(0, 2, 1)
    )


def scored(models: dict[str, Any], kind: str, x: AnyArray) -> pa.Table:
    plan = ScoringPlan("", "", tuple(models), kind, L, 1)
    task = ScoringTask("file", "", BlockRole.TEST, None)
    bundle = Bundle(models, ("a", "b"), L, "", NO_FACTS)
    opened = [open_block(plan, task, block(x))]
    return pa.Table.from_batches(
        score_blocks(plan, task, bundle, opened), schema=scored_schema(plan.detectors)
    )


@pytest.fixture(scope="module")
def ordinary() -> AnyArray:
    return np.random.default_rng(3).normal(size=(N, F)).astype(np.float32)


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """The detector of these tests is in the registry too."""
    monkeypatch.setitem(REGISTRY, "overflows", DetectorEntry("overflows", ""))


class Overflows:
    """Expects infinity of the first feature, and no number where the window itself is past 1e19."""

    blind_events = 0

    def reconstruct(self, x: AnyArray) -> AnyArray:
        return np.stack(
            [
                np.full(x.shape[:2], np.inf, np.float32),
                np.where(np.abs(x[..., 1]) > 1e19, np.nan, x[..., 1]),
            ],
            axis=-1,
        )

    def errors_of(self, x: AnyArray, expected: AnyArray) -> AnyArray:
        squares: AnyArray = np.square(x - expected)
        return squares

    def errors(self, x: AnyArray) -> AnyArray:
        return self.errors_of(x, self.reconstruct(x))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("first", [*NAMES, "overflows"])
def test_a_row_scaled_to_1e20_is_judged_and_flagged(
    first: str, kind: str, ordinary: AnyArray
) -> None:
    fitted = {
        name: fit_sample(name, windows(ordinary), np.ones((N - L + 1, L), np.float32), 1)
        for name in NAMES
    }
    models: dict[str, Any] = {
        first: fitted.get(first, Overflows())
    } | fitted  # the first is explained, the others are not
    x = ordinary[:60].copy()
    x[30, 1] = -1e20
    found, usual = scored(models, kind, x), scored(models, kind, ordinary[:60])
    for name in models:
        score = found[score_column(name)].to_numpy()
        assert np.isfinite(score).all() and np.isfinite(score.astype(np.float32)).all(), name
        at = found["block_row"].to_numpy()
        hit = (at >= 30) & (at < 30 + L) if kind == "window" else at == 30
        if name in fitted and kind != "min":  # a window's least error need not be the event's
            assert (
                score[hit].min() > usual[score_column(name)].to_numpy().max()
                or name == "isolation_forest"
            )
    if first != "isolation_forest":
        explained = {
            name: np.stack(found[name].to_pylist())
            for name in ("errors_by_feature", "values_by_feature", "expected_values")
        }
        assert all(np.isfinite(values).all() for values in explained.values())


@pytest.mark.parametrize("kind", ["window", "last"])
@pytest.mark.parametrize("name", ["pca", "kmeans", "last_value", "zscore"])
def test_its_top_feature_is_that_of_a_value_within_reach(
    name: str, kind: str, ordinary: AnyArray
) -> None:
    model = {name: fit_sample(name, windows(ordinary), np.ones((N - L + 1, L), np.float32), 1)}
    x = ordinary[:60].copy()
    top = []
    for value in (-1e8, -1e20):
        x[30, 1] = value
        found = scored(model, kind, x)
        at = found["block_row"].to_numpy()
        top.append(
            np.stack(found["errors_by_feature"].to_pylist())[
                (at >= 30) & (at < (31 if kind == "last" else 30 + L))
            ]
            .argmax(axis=1)
            .tolist()
        )
    assert top[0] == top[1]
