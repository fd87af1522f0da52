"""Isolation forest on single events: how few random cuts set an event apart from train's.

The score of an event is 2^(−E[h] / c(n)): E[h] is its mean path length over the trees, c(n) that of
an unsuccessful search in a binary tree of n points, with n the sample of a tree.
Source: Liu, Ting & Zhou, "Isolation Forest", ICDM 2008. scikit-learn fits the trees; they are kept
and scored as plain arrays, so that no pickle is needed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from foreshock.detectors import Spec
from foreshock.errors import DataError
from foreshock.statistics.arrays import AnyArray, Float32Array, Float64Array

if TYPE_CHECKING:
    from sklearn.ensemble import IsolationForest as Forest

TREES = 100
# Events that a tree is grown on.
SAMPLE = 256
# Training events.
MOST_ROWS = 200_000
MEMBERS = ("feature", "threshold", "left", "right", "path")


def average_path(points: npt.ArrayLike) -> Float64Array:
    """c(n): the mean path length of an unsuccessful search in a binary tree (equation 1).

    >>> average_path([1, 2, 256]).round(3).tolist()
    [0.0, 1.0, 10.245]
    """
    points = np.asarray(points, np.float64)
    harmonic = np.log(np.maximum(points - 1, 1)) + np.euler_gamma
    long_path = 2 * harmonic - 2 * (points - 1) / np.maximum(points, 1)
    short_path = np.where(points == 2, 1.0, 0.0)
    return np.where(points > 2, long_path, short_path)


class IsolationForest:
    """Trees as arrays (T, nodes).

    `feature` is −1 at a leaf; `threshold`, `left` and `right` are those of an inner node; `path` is
    the path length that a leaf stands for.

    >>> events = np.linspace(0, 1, 300, dtype=np.float32).reshape(300, 1, 1)
    >>> detector = IsolationForest.fit(events, np.ones((300, 1), np.float32), seed=1)
    >>> middle, far = detector.score_rows(np.array([[0.5], [9.0]], np.float32))
    >>> bool(middle < 0.5 < far)
    True
    """

    blind_events = 0

    def __init__(self, trees: Mapping[str, AnyArray], sample: int, rows: int) -> None:
        """Take the trees' arrays, the sample of a tree and the number of training events."""
        self._trees = trees
        self.sample = sample
        self.rows = rows

    @property
    def fitted_on(self) -> int:
        """How many training events it was fitted on: the last one of each window."""
        return self.rows

    @classmethod
    def fit(cls, windows: Float32Array, weights: Float32Array, seed: int = 0) -> IsolationForest:
        """Fit on the last event of each window (N, L, F), at most 200,000.

        Weights do not matter: the last event of a window is no padding. Raises DataError for fewer
        than two windows.
        """
        # Imported here: scoring needs no scikit-learn.
        from sklearn.ensemble import IsolationForest as Forest

        rows = windows[:, -1][:MOST_ROWS]
        if len(rows) < 2:
            raise DataError(
                f"detector isolation_forest: {len(rows)} training rows; at least 2 are wanted."
            )
        sample = min(SAMPLE, len(rows))
        forest = Forest(n_estimators=TREES, max_samples=sample, random_state=seed).fit(rows)
        return cls(_tree_arrays(forest), int(forest.max_samples_), len(rows))

    def score_rows(self, rows: Float32Array) -> Float64Array:
        """The anomaly score (N,) of events (N, F), in (0, 1]; greater is more unusual.

        It is minus scikit-learn's `score_samples`.
        """
        trees = self._trees
        n_trees = len(trees["feature"])
        total_path = np.zeros(len(rows))
        all_rows = np.arange(len(rows))
        for tree in range(n_trees):
            node_of_row = np.zeros(len(rows), np.int32)
            active_rows = all_rows
            # All events go down a tree together, a level at a time, until they are at a leaf.
            while len(active_rows):
                cut_feature = trees["feature"][tree, node_of_row[active_rows]]
                is_inner = cut_feature >= 0
                active_rows, cut_feature = active_rows[is_inner], cut_feature[is_inner]
                active_nodes = node_of_row[active_rows]
                goes_left = rows[active_rows, cut_feature] <= trees["threshold"][tree, active_nodes]
                node_of_row[active_rows] = np.where(
                    goes_left, trees["left"][tree, active_nodes], trees["right"][tree, active_nodes]
                )
            total_path += trees["path"][tree, node_of_row]
        anomaly_scores: Float64Array = 2.0 ** (-total_path / (n_trees * average_path(self.sample)))
        return anomaly_scores

    def errors(self, windows: Float32Array) -> Float32Array:
        """The scores (N, L, 1) of the events of windows (N, L, F).

        The last axis is 1 and not F, for the score is of the whole event.
        """
        scores = self.score_rows(windows.reshape(-1, windows.shape[-1]))
        return scores.reshape(*windows.shape[:2], 1).astype(np.float32)

    def errors_of(self, windows: Float32Array, expected: Float32Array) -> Float32Array:
        """The scores (N, L, 1) of the events of windows (N, L, F).

        `expected` does not matter: nothing is expected.
        """
        return self.errors(windows)

    def reconstruct(self, windows: Float32Array) -> None:
        """None: it expects no values."""

    def arrays(self) -> Mapping[str, AnyArray]:
        """The trees.

        Named as in the bundle's npz file; `load` takes them back, nothing is pickled.
        """
        return self._trees

    def spec(self) -> Spec:
        """The sample of a tree and the number of training events.

        It stands in bundle.json as JSON; `load` takes it back.
        """
        return {"sample": self.sample, "rows": self.rows}

    @classmethod
    def load(cls, spec: Spec, arrays: Mapping[str, AnyArray]) -> IsolationForest:
        """The detector of `spec()` and `arrays()`.

        Raises KeyError if a member of one of them is missing.
        """
        trees = {member: arrays[member] for member in MEMBERS}
        return cls(trees, spec["sample"], spec["rows"])


def _tree_arrays(forest: Forest) -> dict[str, AnyArray]:
    """The trees of scikit-learn's forest, padded to the largest."""
    most_nodes = max(estimator.tree_.node_count for estimator in forest.estimators_)
    shape = (TREES, most_nodes)
    cut_feature = np.full(shape, -1, np.int32)
    left_child, right_child = np.zeros(shape, np.int32), np.zeros(shape, np.int32)
    cut_threshold, leaf_path = np.zeros(shape), np.zeros(shape)
    fitted = zip(forest.estimators_, forest.estimators_features_, strict=True)
    for tree_number, (estimator, columns) in enumerate(fitted):
        tree = estimator.tree_
        tree_nodes = (tree_number, slice(tree.node_count))
        is_leaf = tree.children_left < 0
        cut_feature[tree_nodes] = np.where(is_leaf, -1, columns[np.maximum(tree.feature, 0)])
        cut_threshold[tree_nodes] = tree.threshold
        left_child[tree_nodes] = np.maximum(tree.children_left, 0)
        right_child[tree_nodes] = np.maximum(tree.children_right, 0)
        # scikit-learn numbers a parent before its children, so one pass gives every depth.
        node_depth = np.zeros(tree.node_count)
        for node in np.flatnonzero(~is_leaf):
            children = [tree.children_left[node], tree.children_right[node]]
            node_depth[children] = node_depth[node] + 1
        leaf_path[tree_nodes] = np.where(is_leaf, node_depth + average_path(tree.n_node_samples), 0)
    return {
        "feature": cut_feature,
        "threshold": cut_threshold,
        "left": left_child,
        "right": right_child,
        "path": leaf_path,
    }
