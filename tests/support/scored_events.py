"""Shapes and facts of values that a test gives."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from foreshock.diagnosis.drift import Shapes, comparisons
from foreshock.diagnosis.facts import Facts
from foreshock.statistics.arrays import AnyArray
from foreshock.statistics.histogram import Histogram
from foreshock.statistics.sliced import SLICES, SlicedKey

RNG = np.random.default_rng(3)


def shapes(**splits: dict[str | None, AnyArray]) -> Shapes:
    """Each split's values in SLICES equal slices of time, two partitions to the split."""
    parts = {}
    for split, features in splits.items():
        for feature, values in features.items():
            for s, own in enumerate(np.array_split(values, SLICES)):
                parts[SlicedKey(split, "all", f"{split}-{s // 6}", s, feature)] = Histogram.of(own)
    return Shapes(parts)


def scored(
    features: tuple[str, ...] = ("a", "b"),
    changed: dict[str, object] | None = None,
    **scores: AnyArray,
) -> Facts:
    """Healthy facts, but for these scores by split; changed: other fields."""
    base: dict[str, dict[str | None, AnyArray]] = {
        s: {f: RNG.normal(0, 1, 6000) for f in features}
        | {None: scores.get(s, RNG.exponential(1, 6000))}
        for s in ("train", "validation", "calibration", "test")
    }
    made = shapes(**base)
    return facts(shapes=made, comparisons=comparisons(made), **(changed or {}))


def facts(**changed: Any) -> Facts:
    """Healthy facts of a network, but for these fields."""
    base = {
        s: {
            None: RNG.exponential(1, 6000),
            "a": RNG.normal(0, 1, 6000),
            "b": RNG.normal(0, 1, 6000),
        }
        for s in ("train", "validation", "calibration", "test")
    }
    made = shapes(**base)
    known = {
        "windows": 2000,
        "share": {"a": 0.8, "b": 0.7},
        "spread": {"a": 0.9, "b": 0.9},
        "outside": {"a": 0.0, "b": 0.0},
    }
    return replace(
        Facts(
            "lstm_autoencoder", made, comparisons(made), 4.6, "quantile", 0.99, "calibration", known
        ),
        **changed,
    )
