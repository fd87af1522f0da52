"""Metrics against labels, of scores as (value, count) pairs so that equal scores need no copy.

Whatever is undefined is null, never 0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from foreshock.evaluation.bootstrap import Ranking, intervals
from foreshock.statistics.arrays import BoolArray, Float64Array, Int64Array

CELLS = ("tn", "fp", "fn", "tp")
RATIOS = ("specificity", "sensitivity", "precision", "f1", "accuracy", "mcc")


@dataclass(frozen=True)
class Scored:
    """Judged, labelled events, each row of so many equal ones.

    score (n,); label (n,), 0 or 1; flagged (n,), null if no threshold judged; count (n,), how many
    events a row stands for; block (n,), the block of time that a row is of, null if it is not
    known.
    """

    score: Float64Array
    label: Int64Array
    flagged: BoolArray | None
    count: Int64Array
    block: Int64Array | None = None

    def take(self, mask: BoolArray) -> Scored:
        """The rows of a mask (n,).

        What is null (flags, blocks) stays null.
        """
        return Scored(
            self.score[mask],
            self.label[mask],
            None if self.flagged is None else self.flagged[mask],
            self.count[mask],
            None if self.block is None else self.block[mask],
        )


def _ratio(numerator: float, denominator: float) -> float | None:
    return numerator / denominator if denominator else None


def confusion(events: Scored) -> dict[str, float | None]:
    """tn, fp, fn, tp and the ratios made of them; all null if no threshold judged.

    A ratio whose denominator is 0 is null.

    >>> flagged = np.array([False, True])
    >>> events = Scored(np.array([0.1, 0.9]), np.array([0, 1]), flagged, np.array([9, 1]))
    >>> [confusion(events)[name] for name in ("tn", "fp", "fn", "tp", "mcc")]
    [9, 0, 0, 1, 1.0]
    """
    names = (*CELLS, *RATIOS)
    if events.flagged is None:
        return dict.fromkeys(names)
    cells = [
        int(events.count[(events.label == label) & (events.flagged == flag)].sum())
        for label in (0, 1)
        for flag in (False, True)
    ]
    return dict(zip(names, [*cells, *_ratios(*cells)], strict=True))


def _ratios(tn: float, fp: float, fn: float, tp: float) -> list[float | None]:
    """RATIOS of a confusion matrix.

    mcc = (tp tn − fp fn) / √((tp + fp)(tp + fn)(tn + fp)(tn + fn)), Matthews (1975).
    """
    root = math.sqrt(float(tp + fp) * float(tp + fn) * float(tn + fp) * float(tn + fn))
    return [
        _ratio(tn, tn + fp),
        _ratio(tp, tp + fn),
        _ratio(tp, tp + fp),
        _ratio(2 * tp, 2 * tp + fp + fn),
        _ratio(tp + tn, tn + fp + fn + tp),
        _ratio(float(tp) * tn - float(fp) * fn, root),
    ]


def ranking(events: Scored) -> dict[str, float | None]:
    """prevalence, ROC AUC (ties count half) and PR AUC (average precision).

    The AUCs are null if one class is missing.
    """
    # Here, because scikit-learn is slow to load and most of a run does without it.
    from sklearn.metrics import average_precision_score, roc_auc_score

    positive, total = int(events.count[events.label == 1].sum()), int(events.count.sum())
    roc_auc = pr_auc = None
    if 0 < positive < total:
        labels, scores, weights = events.label, events.score, events.count
        roc_auc = float(roc_auc_score(labels, scores, sample_weight=weights))
        pr_auc = float(average_precision_score(labels, scores, sample_weight=weights))
    return {"prevalence": _ratio(positive, total), "roc_auc": roc_auc, "pr_auc": pr_auc}


def evaluate(events: Scored) -> dict[str, float | None]:
    """All metrics by name: those of `confusion` and of `ranking`.

    >>> flagged = np.array([False, True])
    >>> events = Scored(np.array([0.1, 0.9]), np.array([0, 1]), flagged, np.array([9, 1]))
    >>> metrics = evaluate(events)
    >>> metrics["sensitivity"], metrics["roc_auc"], metrics["prevalence"]
    (1.0, 1.0, 0.1)
    """
    return confusion(events) | ranking(events)


def with_intervals(events: Scored, seed: int) -> dict[str, tuple[float | None, float | None]]:
    """The 95 % interval of every ratio and ranking metric, by bootstrap over blocks of time.

    Empty if the blocks are not known.
    """
    if events.block is None:
        return {}
    # Sorted once: scikit-learn would sort again in each of the replicates.
    ranking_of_weights = Ranking(events.score, events.label)
    cell = None
    if events.flagged is not None:
        # 0 to 3 in the order of CELLS, so that bincount gives the confusion matrix.
        cell = (2 * events.label + events.flagged).astype(np.int64)

    def metrics_of_weights(draws: Float64Array) -> dict[str, float | None]:
        weight = draws * events.count
        ratios: list[float | None] = [None] * len(RATIOS)
        if cell is not None:
            ratios = _ratios(*np.bincount(cell, weights=weight, minlength=4).tolist())
        return dict(zip(RATIOS, ratios, strict=True)) | {
            "roc_auc": ranking_of_weights.roc_auc(weight),
            "pr_auc": ranking_of_weights.pr_auc(weight),
        }

    return intervals(metrics_of_weights, events.block, seed)


def within_blocks(events: Scored) -> float | None:
    """ROC AUC of pairs in the same block of time alone.

    It is what remains if anomalies that cluster in time no longer help.
    """
    if events.block is None:
        return None
    pairs_won = pairs = 0.0
    for block in np.unique(events.block):
        part = events.take(events.block == block)
        positives = float(part.count[part.label == 1].sum())
        negatives = float(part.count[part.label == 0].sum())
        block_pairs = positives * negatives
        if not block_pairs:
            continue
        auc = Ranking(part.score, part.label).roc_auc(part.count)
        if auc is not None:
            pairs_won, pairs = pairs_won + block_pairs * auc, pairs + block_pairs
    return _ratio(pairs_won, pairs)


def baselines(events: Scored, seed: int) -> dict[str, Scored]:
    """The same events judged by nothing, by everything, and by chance.

    Chance flags as many at random as the detector flags.
    """
    # Sorted, so that the order in which events came in does not matter.
    order = np.lexsort([events.label, events.score])
    every_event = np.repeat(order, events.count[order])
    # Every event is drawn for: equal events must not share a random score.
    drawn = np.random.default_rng([seed, len(every_event)]).random(len(every_event))
    ones = np.ones(len(every_event), np.int64)
    nothing = np.zeros(len(events.score), np.bool_)
    flagged_by_chance = None
    if events.flagged is not None:
        share = float(events.count[events.flagged].sum() / max(events.count.sum(), 1))
        flagged_by_chance = drawn > 1 - share
    return {
        "flag_none": Scored(np.zeros(len(events.score)), events.label, nothing, events.count),
        "flag_all": Scored(np.ones(len(events.score)), events.label, ~nothing, events.count),
        "random": Scored(drawn, events.label[every_event], flagged_by_chance, ones),
    }
