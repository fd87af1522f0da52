"""Isolation forest on rows: fitted by scikit-learn, kept and scored as plain arrays so that no pickle is needed.

Liu, Ting & Zhou, "Isolation Forest", ICDM 2008: the score is 2^(−E[path length] / c(sample size)).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.ensemble import IsolationForest as Forest

from foreshock.errors import DataError

Floats = npt.NDArray[np.float32]
TREES = 100
SAMPLE = 256
MOST_ROWS = 200_000


def average_path(n: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """c(n): the mean path length of an unsuccessful search in a binary tree of n points (the paper's equation 1)."""
    n = np.asarray(n, np.float64)
    harmonic = np.log(np.maximum(n - 1, 1)) + np.euler_gamma
    return np.where(
        n > 2, 2 * harmonic - 2 * (n - 1) / np.maximum(n, 1), np.where(n == 2, 1.0, 0.0)
    )


class IsolationForest:
    """Trees as arrays (T, nodes): feature (−1 at a leaf), threshold, left, right, and the path length that a leaf stands for."""

    def __init__(self, arrays: dict[str, npt.NDArray[Any]], sample: int, rows: int) -> None:
        self._arrays, self.sample, self.rows = arrays, sample, rows

    @classmethod
    def fit(cls, x: Floats, weight: Floats, seed: int) -> IsolationForest:
        """Fit on the last event of each window (N, L, F). Raises DataError for fewer than two rows."""
        rows = x[:, -1][:MOST_ROWS]
        if len(rows) < 2:
            raise DataError(
                f"detector isolation_forest: {len(rows)} training rows; at least 2 are wanted."
            )
        forest = Forest(
            n_estimators=TREES, max_samples=min(SAMPLE, len(rows)), random_state=seed
        ).fit(rows)
        nodes = max(e.tree_.node_count for e in forest.estimators_)
        out: dict[str, npt.NDArray[Any]] = {
            "feature": np.full((TREES, nodes), -1, np.int32),
            "threshold": np.zeros((TREES, nodes)),
            "left": np.zeros((TREES, nodes), np.int32),
            "right": np.zeros((TREES, nodes), np.int32),
            "path": np.zeros((TREES, nodes)),
        }
        for t, (estimator, columns) in enumerate(
            zip(forest.estimators_, forest.estimators_features_, strict=True)
        ):
            tree, n = estimator.tree_, estimator.tree_.node_count
            leaf = tree.children_left < 0
            out["feature"][t, :n] = np.where(leaf, -1, columns[np.maximum(tree.feature, 0)])
            out["threshold"][t, :n] = tree.threshold
            out["left"][t, :n], out["right"][t, :n] = (
                np.maximum(tree.children_left, 0),
                np.maximum(tree.children_right, 0),
            )
            depth = np.zeros(n)
            for node in np.flatnonzero(~leaf):
                depth[tree.children_left[node]] = depth[tree.children_right[node]] = depth[node] + 1
            out["path"][t, :n] = np.where(leaf, depth + average_path(tree.n_node_samples), 0)
        return cls(out, int(forest.max_samples_), len(rows))

    def score_rows(self, rows: Floats) -> npt.NDArray[np.float64]:
        """The anomaly score of rows (N, F), in (0, 1]; equals minus scikit-learn's `score_samples`."""
        a = self._arrays
        total = np.zeros(len(rows))
        every = np.arange(len(rows))
        for t in range(len(a["feature"])):
            node = np.zeros(len(rows), np.int32)
            active = every
            while len(active):
                feature = a["feature"][t, node[active]]
                active, feature = active[feature >= 0], feature[feature >= 0]
                at = node[active]
                below = rows[active, feature] <= a["threshold"][t, at]
                node[active] = np.where(below, a["left"][t, at], a["right"][t, at])
            total += a["path"][t, node]
        return 2.0 ** (-total / (len(a["feature"]) * average_path(self.sample)))

    def errors(self, x: Floats) -> Floats:
        return (
            self.score_rows(x.reshape(-1, x.shape[-1])).reshape(*x.shape[:2], 1).astype(np.float32)
        )

    def reconstruct(self, x: Floats) -> None:
        return None

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        return self._arrays

    def spec(self) -> dict[str, Any]:
        return {"sample": self.sample, "rows": self.rows}

    @classmethod
    def load(cls, spec: dict[str, Any], arrays: dict[str, npt.NDArray[Any]]) -> IsolationForest:
        return cls(
            {k: arrays[k] for k in ("feature", "threshold", "left", "right", "path")},
            spec["sample"],
            spec["rows"],
        )
