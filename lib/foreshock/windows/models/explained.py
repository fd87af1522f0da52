"""How much of its training windows a model explains, and whether its output can reach them at all."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

WINDOWS = 2000
RANGES: dict[str, tuple[float | None, float | None]] = {
    "linear": (None, None),
    "sigmoid": (0.0, 1.0),
    "tanh": (-1.0, 1.0),
    "relu": (0.0, None),
    "softplus": (0.0, None),
}
MARGIN = 0.05  # of a value beyond the range that is still called reached
Floats = npt.NDArray[np.float32]


class Rebuilds(Protocol):
    """A model that says what it expected."""

    def reconstruct(self, x: Floats) -> Floats | None:
        """What the model expected, (N, L, F), or None."""


@dataclass(frozen=True)
class Explained:
    """Of a sample of training windows, per feature: `share`, 1 − squared error / squared distance from the median; `spread`, the standard
    deviation of what the model expects, as a share of the data's; `outside`, the share of values that its output cannot reach;
    `reachable`, the share that the best output within its range would explain. Null for a feature that does not vary."""

    windows: int
    share: dict[str, float | None]
    spread: dict[str, float | None]
    outside: dict[str, float]
    reachable: dict[str, float | None]

    def to_mapping(self) -> dict[str, Any]:
        return asdict(self)


def explained(
    model: Rebuilds, x: Floats, weight: Floats, features: tuple[str, ...], output: str = "linear"
) -> Explained | None:
    """The facts of a model on windows x (N, L, F), weight (N, L) 0 where padded, evenly thinned to WINDOWS; None where it rebuilds nothing.

    output: the activation of the output (RANGES).
    """
    step = max(1, -(-len(x) // WINDOWS))
    x, inside = x[::step], weight[::step] > 0
    if not len(x) or (rebuilt := model.reconstruct(x)) is None:
        return None
    data, expected = x[inside].astype(np.float64), np.asarray(rebuilt, np.float64)[inside]  # (n, F)
    low, high = RANGES.get(output, (None, None))
    beyond = np.zeros(data.shape, bool)
    if low is not None:
        beyond |= data < low - MARGIN
    if high is not None:
        beyond |= data > high + MARGIN
    error = np.square(data - expected).sum(axis=0)
    apart = np.square(data - np.median(data, axis=0)).sum(axis=0)
    std, std_expected = data.std(axis=0), expected.std(axis=0)
    least = (
        np.square(data - np.clip(data, low, high)).sum(axis=0)
        if (low, high) != (None, None)
        else np.zeros(len(features))
    )
    share, spread, reachable = (
        {f: float(v) if ok else None for f, v, ok in zip(features, values, varies, strict=True)}
        for values, varies in (
            (1 - error / np.where(apart > 0, apart, 1), apart > 0),
            (std_expected / np.where(std > 0, std, 1), std > 0),
            (1 - least / np.where(apart > 0, apart, 1), apart > 0),
        )
    )
    return Explained(
        len(x),
        share,
        spread,
        dict(zip(features, beyond.mean(axis=0).tolist(), strict=True)),
        reachable,
    )
