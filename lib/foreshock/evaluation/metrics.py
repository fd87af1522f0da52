"""Metrics against labels, of scores as (value, count) pairs so that equal scores need no copy. Undefined is null, never 0."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sklearn.metrics import average_precision_score, roc_auc_score

from foreshock.evaluation.bootstrap import Ranking, intervals

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Scored:
    """Judged, labelled events: score, label (0 or 1), flagged (null where no threshold), how many events each row stands for, and the
    block of time that it is of (null: not known)."""

    score: Floats
    label: Ints
    flagged: npt.NDArray[np.bool_] | None
    count: Ints
    block: Ints | None = None

    def take(self, chosen: npt.NDArray[np.bool_]) -> Scored:
        return Scored(
            self.score[chosen],
            self.label[chosen],
            None if self.flagged is None else self.flagged[chosen],
            self.count[chosen],
            None if self.block is None else self.block[chosen],
        )


def _ratio(top: float, bottom: float) -> float | None:
    return top / bottom if bottom else None


def confusion(s: Scored) -> dict[str, float | None]:
    """tn, fp, fn, tp and the ratios from them; all null where no threshold judged."""
    names = (
        "tn",
        "fp",
        "fn",
        "tp",
        "specificity",
        "sensitivity",
        "precision",
        "f1",
        "accuracy",
        "mcc",
    )
    if s.flagged is None:
        return dict.fromkeys(names)
    cells = [
        int(s.count[(s.label == label) & (s.flagged == flag)].sum())
        for label in (0, 1)
        for flag in (False, True)
    ]
    return dict(zip(names, [*cells, *_ratios(*cells)], strict=True))


def _ratios(tn: float, fp: float, fn: float, tp: float) -> list[float | None]:
    root = math.sqrt(float(tp + fp) * float(tp + fn) * float(tn + fp) * float(tn + fn))
    return [
        _ratio(tn, tn + fp),
        _ratio(tp, tp + fn),
        _ratio(tp, tp + fp),
        _ratio(2 * tp, 2 * tp + fp + fn),
        _ratio(tp + tn, tn + fp + fn + tp),
        _ratio(float(tp) * tn - float(fp) * fn, root),
    ]


def ranking(s: Scored) -> dict[str, float | None]:
    """prevalence, ROC AUC (ties count half) and PR AUC (average precision); null where only one class is there."""
    positive, total = int(s.count[s.label == 1].sum()), int(s.count.sum())
    both = 0 < positive < total
    return {
        "prevalence": _ratio(positive, total),
        "roc_auc": float(roc_auc_score(s.label, s.score, sample_weight=s.count)) if both else None,
        "pr_auc": float(average_precision_score(s.label, s.score, sample_weight=s.count))
        if both
        else None,
    }


def evaluate(s: Scored) -> dict[str, float | None]:
    """All metrics by name."""
    return confusion(s) | ranking(s)


RATIOS = ("specificity", "sensitivity", "precision", "f1", "accuracy", "mcc")


def with_intervals(s: Scored, seed: int) -> dict[str, tuple[float | None, float | None]]:
    """The 95 % interval of every ratio and ranking metric, by `bootstrap` over blocks of time; none where they are not known."""
    if s.block is None:
        return {}
    ranking_of = Ranking(s.score, s.label)
    cell = None if s.flagged is None else (2 * s.label + s.flagged).astype(np.int64)

    def values(weight: Floats) -> dict[str, float | None]:
        w = weight * s.count
        ratios = (
            [None] * len(RATIOS)
            if cell is None
            else _ratios(*np.bincount(cell, weights=w, minlength=4).tolist())
        )
        return dict(zip(RATIOS, ratios, strict=True)) | {
            "roc_auc": ranking_of.roc_auc(w),
            "pr_auc": ranking_of.pr_auc(w),
        }

    return intervals(values, s.block, seed)


def within_blocks(s: Scored) -> float | None:
    """ROC AUC of pairs in the same block of time alone: what remains when anomalies that cluster in time no longer help."""
    if s.block is None:
        return None
    won = pairs = 0.0
    for block in np.unique(s.block):
        part = s.take(s.block == block)
        own = float(part.count[part.label == 1].sum()) * float(part.count[part.label == 0].sum())
        if own and (auc := Ranking(part.score, part.label).roc_auc(part.count)) is not None:
            won, pairs = won + own * auc, pairs + own
    return _ratio(won, pairs)


def baselines(s: Scored, seed: int) -> dict[str, Scored]:
    """The same events judged by nothing, by everything, and by chance: as many flagged at random as the detector flags."""
    order = np.lexsort(
        [s.label, s.score]
    )  # so that the order in which events came in does not matter
    every = np.repeat(order, s.count[order])
    drawn = np.random.default_rng([seed, len(every)]).random(len(every))
    share = 0.0 if s.flagged is None else float(s.count[s.flagged].sum() / max(s.count.sum(), 1))
    ones = np.ones(len(every), np.int64)
    none = np.zeros(len(s.score), np.bool_)
    return {
        "flag_none": Scored(np.zeros(len(s.score)), s.label, none, s.count),
        "flag_all": Scored(np.ones(len(s.score)), s.label, ~none, s.count),
        "random": Scored(
            drawn, s.label[every], None if s.flagged is None else drawn > 1 - share, ones
        ),
    }
