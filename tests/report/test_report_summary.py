"""The summary of a run: what it says, in which words, and that it reads back as it was written."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from foreshock.errors import ForeshockError
from foreshock.report.page import render_page
from foreshock.report.records.fit import FitFacts, Fold
from foreshock.report.records.rows import DriftRow, JudgingRule
from foreshock.report.records.run import (
    FlaggedCount,
    RunSummary,
    ShiftMeasures,
    SplitShift,
    Verdict,
)
from foreshock.report.summary import (
    headline,
    missed_gates,
    reconcile,
    strongest_shifts,
    with_flagged_events,
)
from foreshock.settings.quality import QualitySettings
from support.report_data import COUNTS, MODEL, metric, summary, threshold, words


def moved(
    feature: str | None, trimmed: float | None, to_split: str = "test", group: str = "all"
) -> DriftRow:
    return DriftRow(
        from_split="train",
        to_split=to_split,
        group=group,
        feature=feature,
        wasserstein=1.0,
        psi=0.0,
        quantile_ratio=2.0,
        verdict="stable",
        trimmed=trimmed,
        band=0.1,
    )


def test_the_strongest_features_of_each_pair() -> None:
    rows = [
        moved(None, 0.3),
        moved("a", 0.1),
        moved("b", 0.5),
        moved("c", 0.1),
        moved("d", 0.4),
        moved("e", None),
        moved("a", 9.0, group="g"),
        moved("a", 0.0, "calibration"),
    ]
    shifts = strongest_shifts(rows)
    assert [(shift.from_split, shift.to_split, list(shift.features)) for shift in shifts] == [
        ("train", "test", ["b", "d", "a"]),
        ("train", "calibration", ["a"]),
    ]
    assert shifts[0].score is not None and shifts[0].score.trimmed == 0.3
    assert shifts[0].features["b"].band == 0.1 and shifts[1].score is None
    assert strongest_shifts([]) == []


def test_what_a_bundle_says_of_its_fit() -> None:
    end = 2**63 - 1
    info = {
        "train_windows": 100,
        "fitted_on": {"kmeans": 50},
        "folds": [[-end, 7], [7, 9], [9, end]],
        "explained": {
            "pca": {"windows": 5, "share": {"a": 0.5}, "spread": {}, "outside": {}},
            "isolation_forest": None,
        },
    }
    first, second = "1970-01-01T00:00:00.000007+00:00", "1970-01-01T00:00:00.000009+00:00"
    assert FitFacts.from_bundle_info(info).to_mapping() == {
        "train_windows": 100,
        "fitted_on": {"kmeans": 50},
        "explained": {"pca": {"a": 0.5}, "isolation_forest": None},
        "folds": [
            {"from": None, "to": first},
            {"from": first, "to": second},
            {"from": second, "to": None},
        ],
    }
    assert FitFacts.from_bundle_info({}).to_mapping() == {
        "train_windows": None,
        "fitted_on": {},
        "explained": {},
        "folds": [],
    }


def test_rows_that_are_not_accounted_for_are_a_defect() -> None:
    reconcile(COUNTS)
    with pytest.raises(ForeshockError, match="do not reconcile"):
        reconcile(replace(COUNTS, train=499))


def test_gates_are_missed_in_words() -> None:
    quality = QualitySettings(max_quarantined=0.004, max_unjudged=0.5, max_flagged=0.0)
    assert missed_gates(quality, COUNTS, flagged=2) == [
        "quality.max_quarantined is 0.004, but 5 of 1000 rows quarantined (0.005)",
        "quality.max_flagged is 0, but 2 of 470 judged events flagged (0.004255)",
    ]
    assert missed_gates(quality, replace(COUNTS, quarantined={}), flagged=0) == []


def rich_summary() -> RunSummary:
    measures = ShiftMeasures(0.5, 0.4, 0.1, 1.5, "shifted")
    return replace(
        summary(),
        verdict=Verdict(("drifted",), ("gas",), "The data drifted."),
        thresholds=(threshold(),),
        metrics=(metric(MODEL, "roc_auc", 0.81),),
        gates=("too many",),
        report="report.html",
        drift=(SplitShift("train", "test", None, {"gas": measures}),),
        fit=FitFacts(100, {"pca": 50}, {"pca": {"gas": 0.5}}, (Fold(None, None),)),
    )


@pytest.mark.parametrize("written", [rich_summary(), summary()])
def test_a_summary_is_read_as_it_was_written(written: RunSummary) -> None:
    assert RunSummary.from_mapping(json.loads(json.dumps(written.to_mapping()))) == written


def test_the_keys_of_the_summary_are_those_that_other_programs_read() -> None:
    mapping = rich_summary().to_mapping()
    assert set(mapping) == {
        "counts", "detectors", "drift", "explained", "fitted_on", "flagged", "folds", "gates",
        "metrics", "model", "report", "rule", "run_id", "settings_sha256", "status", "thresholds",
        "train_windows", "verdict",
    }  # fmt: skip
    assert mapping["rule"] == {"name": "quantile", "level": 0.99}
    assert mapping["flagged"] == {
        "calibration": {"flagged": 2, "judged": 200},
        "test": {"flagged": 0, "judged": 270},
    }
    assert mapping["drift"] == [
        {
            "from": "train",
            "to": "test",
            "score": None,
            "features": [
                {
                    "feature": "gas",
                    "wasserstein": 0.5,
                    "trimmed": 0.4,
                    "band": 0.1,
                    "quantile_ratio": 1.5,
                    "verdict": "shifted",
                }
            ],
        }
    ]


def test_a_summary_of_an_early_version_is_read() -> None:
    early = json.loads(json.dumps(rich_summary().to_mapping()))
    for key in ("rule", "drift", "explained", "fitted_on", "folds", "train_windows", "verdict"):
        del early[key]
    del early["thresholds"][0]["goodness"]
    lines = headline(RunSummary.from_mapping(early))
    assert any(line.startswith("threshold    2 (95 % interval 1.8 to 2.5)") for line in lines)


def test_the_result_names_the_threshold_that_judges_and_no_other() -> None:
    rows = (threshold(level=0.999, value=5.0), threshold(), threshold("pca", value=7.0))
    lines = headline(replace(summary(), thresholds=rows, rule=JudgingRule("quantile", 0.99)))
    assert [line for line in lines if line.startswith("threshold")] == [
        "threshold    2 (95 % interval 1.8 to 2.5), quantile 0.99 of n = 200, group all"
    ]
    assert lines[:4] == [
        "run          run-1",
        "rows read    1000 (filtered 10, quarantined: 1 not_numeric, 4 null, outside the splits 0)",
        "train        500 events",
        "judged       470 events of calibration and test (not judged: 15 warm_up)",
    ]
    assert "flagged      2 of 200 judged events of calibration" in lines


def test_a_verdict_speaks_of_the_run_and_says_what_was_flagged() -> None:
    healthy = Verdict(("healthy",), (), "The run is healthy.")
    flagged = {"calibration": FlaggedCount(700, 10_000), "test": FlaggedCount(1063, 13_256)}
    told = with_flagged_events(healthy, flagged)
    sentence = (
        "Of its 23,256 judged events, 1,763 were flagged as anomalous: they are the rows of the "
        "table scores where is_anomaly."
    )
    assert told.text == f"The run is healthy. {sentence}" and told.causes == ("healthy",)
    judged = replace(summary(), verdict=told)
    assert f"verdict      healthy: The run is healthy. {sentence}" in headline(judged)
    page = render_page(replace(words(), summary=judged))
    assert f"<strong>Verdict on the run: healthy.</strong> The run is healthy. {sentence}" in page


@pytest.mark.parametrize(
    ("flagged", "said"),
    [
        (0, "Of its 270 judged events, none was flagged as anomalous."),
        (1, "1 was flagged as anomalous: it is a row of the table scores where is_anomaly."),
    ],
)
def test_few_flagged_events_are_counted_in_plain_words(flagged: int, said: str) -> None:
    verdict = Verdict(("healthy",), (), "The run is healthy.")
    text = with_flagged_events(verdict, {"test": FlaggedCount(flagged, 270)}).text
    assert text.endswith(said)
