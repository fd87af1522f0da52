"""Metrics against labels, of scores as (value, count) pairs so that equal scores need no copy. Undefined is null, never 0."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sklearn.metrics import average_precision_score, roc_auc_score

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Scored:
    """Judged, labelled events: score, label (0 or 1), flagged (null where no threshold), and how many events each row stands for."""

    score: Floats
    label: Ints
    flagged: npt.NDArray[np.bool_] | None
    count: Ints

    def take(self, chosen: npt.NDArray[np.bool_]) -> Scored:
        return Scored(self.score[chosen], self.label[chosen], None if self.flagged is None else self.flagged[chosen], self.count[chosen])


def _ratio(top: float, bottom: float) -> float | None:
    return top / bottom if bottom else None


def confusion(s: Scored) -> dict[str, float | None]:
    """tn, fp, fn, tp and the ratios from them; all null where no threshold judged."""
    names = ("tn", "fp", "fn", "tp", "specificity", "sensitivity", "precision", "f1", "accuracy", "mcc")
    if s.flagged is None:
        return dict.fromkeys(names)
    cells = [int(s.count[(s.label == label) & (s.flagged == flag)].sum()) for label in (0, 1) for flag in (False, True)]
    tn, fp, fn, tp = cells
    root = math.sqrt(float(tp + fp) * float(tp + fn) * float(tn + fp) * float(tn + fn))
    values: list[float | None] = [
        tn, fp, fn, tp, _ratio(tn, tn + fp), _ratio(tp, tp + fn), _ratio(tp, tp + fp), _ratio(2 * tp, 2 * tp + fp + fn),
        _ratio(tp + tn, sum(cells)), _ratio(float(tp) * tn - float(fp) * fn, root)]
    return dict(zip(names, values, strict=True))


def ranking(s: Scored) -> dict[str, float | None]:
    """prevalence, ROC AUC (ties count half) and PR AUC (average precision); null where only one class is there."""
    positive, total = int(s.count[s.label == 1].sum()), int(s.count.sum())
    both = 0 < positive < total
    return {
        "prevalence": _ratio(positive, total),
        "roc_auc": float(roc_auc_score(s.label, s.score, sample_weight=s.count)) if both else None,
        "pr_auc": float(average_precision_score(s.label, s.score, sample_weight=s.count)) if both else None,
    }


def evaluate(s: Scored) -> dict[str, float | None]:
    """All metrics by name."""
    return confusion(s) | ranking(s)
