"""What a verdict says, of facts that are given."""

from __future__ import annotations

import re

import numpy as np
import pytest
from foreshock.diagnosis.facts import ranking
from foreshock.diagnosis.verdict import Ranked, verdict
from support.scored_events import facts, scored


def test_healthy_says_so_alone() -> None:
    assert verdict(facts())["causes"] == ["healthy"]


def test_the_questions_own_causes_with_their_remedies() -> None:
    known = {
        "windows": 2000,
        "share": {"a": 0.01, "b": -0.2},
        "spread": {"a": 0.001, "b": 0.0},
        "outside": {"a": 0.5, "b": 0.31},
    }
    found = verdict(facts(explained=known, output="sigmoid", penalties={"l1": 0.001, "l2": 0.001}))
    assert found["causes"] == ["output_out_of_reach", "under_fitted"] and found["features"] == [
        "a",
        "b",
    ]
    for words in (
        "a (50%), b (31%)",
        "Set model.output: linear",
        "regularised flat",
        "model.l1: 0.001",
    ):
        assert words in found["text"], words


@pytest.mark.parametrize(
    ("share", "causes"),
    [(0.05, ["output_out_of_reach", "under_fitted"]), (0.12, ["output_out_of_reach"])],
)
def test_a_fit_far_below_what_its_output_can_reach_is_to_blame_too(
    share: float, causes: list[str]
) -> None:
    known = {
        "windows": 2000,
        "share": {"a": share, "b": share},
        "spread": {"a": 0.2, "b": 0.2},
        "outside": {"a": 0.5, "b": 0.3},
        "reachable": {"a": 0.4, "b": 0.2},
    }
    found = verdict(facts(explained=known, output="sigmoid", penalties={"l1": 0.001}))
    assert found["causes"] == causes
    assert ("of 30.0% that lie within its output's range" in found["text"]) == (len(causes) == 2)


def test_a_constant_feature_and_no_reconstruction_are_no_cause() -> None:
    known = {
        "windows": 10,
        "share": {"a": None, "b": 0.7},
        "spread": {"a": None, "b": 0.9},
        "outside": {"a": 0.0, "b": 0.0},
    }
    assert verdict(facts(explained=known))["causes"] == ["healthy"]
    assert verdict(facts(explained=None))["causes"] == ["healthy"]


@pytest.mark.parametrize(
    ("threshold", "words"),
    [(1e6, "nothing can be flagged"), (0.01, "nearly everything is flagged")],
)
def test_a_threshold_beyond_the_scores(threshold: float, words: str) -> None:
    found = verdict(facts(threshold=threshold))
    assert found["causes"] == ["threshold_out_of_support"] and words in found["text"]


def test_no_signal_and_better_rivals() -> None:
    low = (Ranked("lstm_autoencoder", 0.57, 0.52, 0.61, 0.51), Ranked("pca", 0.52, 0.49, 0.55, 0.5))
    found = verdict(facts(ranked=low))
    assert (
        found["causes"] == ["no_signal"]
        and "cluster in time: within blocks of time it is 0.51" in found["text"]
    )
    beaten = verdict(
        facts(ranked=(Ranked("lstm_autoencoder", 0.8, 0.78, 0.82), Ranked("pca", 0.95, 0.94, 0.96)))
    )
    assert beaten["causes"] == ["healthy"] and "pca beats lstm_autoencoder" in beaten["text"]
    one_high = (*low, Ranked("zscore", 0.64, 0.6, 0.66))
    assert verdict(facts(ranked=one_high))["causes"] == ["healthy"]


def test_a_rare_risk_that_nothing_reaches_is_no_fault() -> None:
    assert verdict(facts(threshold=1e6, rule="pot", level=0.9999))["causes"] == [
        "healthy"
    ]  # 1.2 of 12,000 events were to be expected
    assert verdict(facts(threshold=1e6, rule="fixed", level=None))["causes"] == [
        "threshold_out_of_support"
    ]


def test_scores_apart_from_trains_are_said_where_no_feature_moved() -> None:
    rng = np.random.default_rng(4)
    score = rng.exponential(1, 6000)
    score[rng.random(6000) < 0.22] += 8
    found = verdict(scored(test=score))
    assert found["causes"] == ["healthy"] and "distributed like train" not in found["text"]
    (apart,) = re.findall(
        r"lie apart from train's \(by ([\d.]+) of their train spread in test\)", found["text"]
    )
    levels = np.linspace(0.05, 0.95, 181)
    expected = np.abs(np.quantile(score, levels) + np.log(1 - levels)).mean() / np.log(
        3
    )  # from the exponential law, in quartile ranges
    assert float(apart) == pytest.approx(expected, rel=0.1)
    assert (
        "true anomalies explain that, or a relation between features that changed" in found["text"]
    )
    assert "distributed like train" in verdict(scored())["text"]


KNOWN = {
    "windows": 2000,
    "share": {"a": 0.8, "b": 0.7},
    "spread": {"a": 0.9, "b": 0.9},
    "outside": {"a": 0.0, "b": 0.0},
}


@pytest.mark.parametrize(("share", "spread"), [(0.004, 0.01), (-0.3, 0.6)])
def test_a_feature_that_is_never_reconstructed_is_named_but_no_cause(
    share: float, spread: float
) -> None:
    known = KNOWN | {"share": {"a": 0.8, "b": share}, "spread": {"a": 0.9, "b": spread}}
    found = verdict(facts(explained=known))
    assert found["causes"] == ["healthy"] and f"never reconstructs b ({share:.0%})" in found["text"]
    assert "never reconstructs" not in verdict(facts(explained=known, model="last_value"))["text"]
    far = known | {"outside": {"a": 0.0, "b": 0.5}}
    assert (
        "never reconstructs" not in verdict(facts(explained=far, output="sigmoid"))["text"]
    )  # its cause is named


@pytest.mark.parametrize(("share", "spread"), [(0.004, 0.3), (0.2, 0.01), (None, None)])
def test_a_feature_that_is_hardly_reconstructed_is_not_called_lost(
    share: float | None, spread: float | None
) -> None:
    known = KNOWN | {"share": {"a": 0.8, "b": share}, "spread": {"a": 0.9, "b": spread}}
    assert "never reconstructs" not in verdict(facts(explained=known))["text"]


def test_no_signal_is_not_said_of_a_handful_nor_without_an_interval() -> None:
    low = (Ranked("lstm_autoencoder", 0.57, 0.52, 0.61),)
    assert verdict(facts(ranked=low, positive=9))["causes"] == ["healthy"]
    assert verdict(facts(ranked=low, positive=10))["causes"] == ["no_signal"]
    assert verdict(facts(ranked=(*low, Ranked("pca", 0.5, None, None)), positive=500))[
        "causes"
    ] == ["healthy"]


def test_a_single_detector_is_named_beside_an_ensemble_that_beats_the_model() -> None:
    ranked = (
        Ranked("lstm_autoencoder", 0.8, 0.78, 0.82),
        Ranked("ensemble", 0.96, 0.95, 0.97),
        Ranked("zscore", 0.81, 0.79, 0.83),
        Ranked("pca", 0.95, 0.94, 0.96),
    )
    assert verdict(facts(ranked=ranked))["text"].endswith(
        "ensemble beats lstm_autoencoder on the labelled test events (ROC AUC 0.960 against "
        "0.800), and pca alone beats it too (0.950)."
    )
    assert verdict(facts(ranked=ranked[:3]))["text"].endswith(
        "and zscore alone is no worse than it too (0.810)."
    )
    assert verdict(facts(ranked=ranked[:2]))["text"].endswith("(ROC AUC 0.960 against 0.800).")


def test_rankings_and_positives_are_those_of_all_labelled_test_events() -> None:
    def row(metric: str, value: float | None, **more: object) -> dict[str, object]:
        return {
            "detector": "pca",
            "split": "test",
            "group": "all",
            "kind": None,
            "metric": metric,
            "value": value,
            "ci_low": 0.6,
            "ci_high": 0.8,
            "n": 2000,
            **more,
        }

    rows = [
        row("roc_auc", 0.7),
        row("roc_auc_within_blocks", 0.65),
        row("prevalence", 0.0035),
        row("prevalence", 0.5, split="calibration"),
        row("roc_auc", 0.9, kind="burst"),
        row("prevalence", 0.0005, kind="burst"),
        row("roc_auc", 0.5, detector="random"),
    ]
    assert ranking(rows, ("pca",)) == ((Ranked("pca", 0.7, 0.6, 0.8, 0.65),), 7)
    assert ranking([], ("pca",)) == ((), None)
    assert ranking([row("roc_auc", None), row("prevalence", None)], ("pca",))[1] is None
