"""Metrics equal hand-counted values and scikit-learn's. An undefined metric is null."""

from __future__ import annotations

from typing import cast

import numpy as np
from foreshock.evaluation.metrics import Scored, confusion, evaluate, ranking
from sklearn.metrics import average_precision_score, matthews_corrcoef, roc_auc_score


def scored(
    score: list[float], label: list[int], flagged: list[bool] | None, count: list[int] | None = None
) -> Scored:
    return Scored(
        np.array(score),
        np.array(label),
        None if flagged is None else np.array(flagged),
        np.array(count or [1] * len(score)),
    )


def test_confusion_by_hand() -> None:
    found = confusion(scored([1, 2, 3, 4], [0, 0, 1, 1], [False, True, False, True], [7, 1, 1, 1]))
    assert (found["tn"], found["fp"], found["fn"], found["tp"]) == (7, 1, 1, 1)
    assert found["specificity"] == 7 / 8
    assert found["sensitivity"] == found["precision"] == found["f1"] == 0.5
    assert found["accuracy"] == 0.8
    label, flag = [0] * 8 + [1, 1], [0] * 7 + [1, 0, 1]
    assert abs(found["mcc"] - matthews_corrcoef(label, flag)) < 1e-12


def test_undefined_is_null_and_zero_is_zero() -> None:
    one_class = evaluate(scored([1, 2], [0, 0], [False, False]))
    assert (
        one_class["roc_auc"] is None
        and one_class["sensitivity"] is None
        and one_class["precision"] is None
    )
    assert (
        one_class["prevalence"] == 0.0 and one_class["tp"] == 0 and one_class["specificity"] == 1.0
    )
    assert all(v is None for v in confusion(scored([1], [1], None)).values())


def test_ranking_counts_ties_and_repeats() -> None:
    rng = np.random.default_rng(3)
    score, label = rng.integers(0, 5, 200).astype(float), rng.integers(0, 2, 200)
    whole = cast(dict[str, float], ranking(scored(score.tolist(), label.tolist(), None)))
    assert abs(whole["roc_auc"] - roc_auc_score(label, score)) < 1e-12
    pairs, counts = np.unique(np.stack([score, label]), axis=1, return_counts=True)
    packed = cast(
        dict[str, float],
        ranking(scored(pairs[0].tolist(), pairs[1].astype(int).tolist(), None, counts.tolist())),
    )
    assert abs(packed["roc_auc"] - whole["roc_auc"]) < 1e-12
    assert abs(packed["pr_auc"] - average_precision_score(label, score)) < 1e-12
