"""The page holds everything itself, escapes what it shows, and tells null from 0."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from foreshock.report.page import ReportData, card, number, render_page, share, size, when
from foreshock.statistics.histogram import Histogram

EVIL = "<script>alert(1)</script>$x_{"
EMPTY = ReportData({}, {}, {}, {}, [], [], [], [], [], {}, {})
DETECTORS = ("lstm_autoencoder", "pca", "isolation_forest")
COUNTS = {
    "rows_read": 1000,
    "filtered": 10,
    "quarantined": {"null": 4, "not_numeric": 1},
    "outside_splits": 0,
    "train": 500,
    "judged": 470,
    "unjudged": {"warm_up": 15},
}


def _threshold(detector: str, partition: str | None, fitted_on: str = "calibration") -> dict:
    return {
        "detector": detector,
        "group": "all",
        "partition": partition,
        "rule": "quantile",
        "level": 0.99,
        "threshold": 2.0,
        "n": 200,
        "fallback": None,
        "ci_low": 1.8,
        "ci_high": None if partition else 2.5,
        "fitted_on": fitted_on,
    }


def _metric(detector: str, metric: str, value: float | None, kind: str | None = None) -> dict:
    return {
        "detector": detector,
        "split": "test",
        "group": "all",
        "kind": kind,
        "metric": metric,
        "value": value,
        "ci_low": None,
        "ci_high": None,
        "n": 270,
        "seed": 7,
    }


@pytest.fixture
def data() -> ReportData:
    rng = np.random.default_rng(7)
    spread = {
        split: Histogram.of(rng.lognormal(at, 0.5, 300)).to_mapping()
        for split, at in (("train", 0), ("calibration", 0), ("test", 1))
    }
    days = [("train", "2024-01-01"), ("calibration", "2024-01-02"), ("test", "2024-01-03")]
    event = {
        "entity": EVIL,
        "event_id": "e1",
        "event_time": "2024-01-03T04:05:06+00:00",
        "partition": "2024-01-03",
        "group": "all",
        "score": 9.0,
        "threshold": 2.0,
        "label": 1,
        "kind": "spike",
        "features": [EVIL, "gas"],
        "times": [f"2024-01-03T04:0{i}:06+00:00" for i in range(5)],
        "x": rng.normal(size=(5, 2)).tolist(),
        "reconstruction": rng.normal(size=(5, 2)).tolist(),
        "errors": [0.1, 0.2, 0.3, 0.4, 9.0],
    }
    return ReportData(
        summary={
            "run_id": "run-1",
            "status": "done",
            "verdict": None,
            "model": DETECTORS[0],
            "detectors": list(DETECTORS),
            "thresholds": [],
            "metrics": [],
            "settings_sha256": "ab" * 32,
            "counts": COUNTS,
            "gates": [],
            "flagged": {
                "calibration": {"flagged": 2, "judged": 200},
                "test": {"flagged": 0, "judged": 270},
            },
        },
        settings={
            "run": {"name": "demo", "seed": 7},
            "events": {"label": "is_bad", "train_where": None},
            "thresholds": {"rules": [{"name": "quantile", "level": 0.99}], "use": None},
        },
        scaler={
            "method": "robust",
            "transform": "none",
            "clip": 5.0,
            "kept": [EVIL],
            "dropped": ["flat"],
            "features": [
                {
                    "name": "flat",
                    "n": 500,
                    "nulls": 0,
                    "center": 3.0,
                    "scale": None,
                    "policy": "dropped",
                    "why": "constant: 3",
                    "median": 3.0,
                    "q1": 3.0,
                    "q3": 3.0,
                    "minimum": 3.0,
                    "maximum": 3.0,
                    "mean": 3.0,
                    "std": 0.0,
                }
            ],
        },
        distributions={name: spread for name in DETECTORS},
        thresholds=[_threshold(name, None) for name in DETECTORS]
        + [_threshold(DETECTORS[0], "2024-01-02"), _threshold(DETECTORS[0], "2024-01-03", "self")],
        partitions=[
            {
                "detector": DETECTORS[0],
                "split": split,
                "partition": day,
                "group": "all",
                "n": 300,
                "n_unjudged": 0,
                "mean": 1.0,
                "std": 1.0,
                "min": 0.1,
                "p50": 1.0,
                "p90": 2.0,
                "p95": 2.2,
                "p99": 3.0,
                "p999": 4.0,
                "max": 5.0,
            }
            for split, day in days
        ],
        metrics=[
            _metric(DETECTORS[0], "roc_auc", 0.81),
            _metric("pca", "roc_auc", 0.92),
            _metric("pca", "precision", None),
            _metric(DETECTORS[0], "tp", 0.0),
            _metric("isolation_forest", "roc_auc", 0.5),
            _metric("pca", "roc_auc", 0.9, "spike"),
        ],
        top_events=[
            event,
            event | {"entity": "plain", "reconstruction": None, "label": None, "threshold": None},
        ],
        timeline=[
            {
                "event_time": f"2024-01-03T0{i}:00:00+00:00",
                "score": float(i),
                "threshold": 2.0,
                "is_anomaly": i > 2,
                "label": int(i == 4),
                "split": "test",
            }
            for i in range(5)
        ],
        training={
            "epochs": [
                {"epoch": 1, "loss": 0.5, "validation_loss": 0.6, "seconds": 1.0},
                {"epoch": 2, "loss": 0.4, "validation_loss": None, "seconds": 1.0},
            ],
            "best_epoch": 1,
            "windows_per_second": 900.0,
            "windows": 1800,
            "note": "",
        },
        dataset={"train": {"blocks": 1, "windows": 451, "events": 500, "bytes": 12_345}},
    )


@pytest.fixture
def words(data: ReportData) -> ReportData:
    """The same without figures, which take a second to draw."""
    return replace(
        data,
        distributions={},
        partitions=[],
        timeline=[],
        training={},
        top_events=[],
        thresholds=[_threshold(name, None) for name in DETECTORS],
    )


class _Page(HTMLParser):
    VOID = ("meta", "br", "hr", "img", "link", "input")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)
        assert self.open == [], "an element is left open"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def _section(page: str, name: str) -> str:
    return page.split(f'<section id="{name}"')[1].split("</section>")[0]


@pytest.mark.parametrize("full", [True, False])
def test_nothing_is_fetched_and_the_markup_is_sound(data: ReportData, full: bool) -> None:
    page = render_page(data if full else EMPTY)
    parsed = _Page(page)
    links = [
        value or ""
        for _, attrs in parsed.tags
        for key, value in attrs.items()
        if key in ("src", "href", "xlink:href")
    ]
    assert links and all(link.startswith(("#", "data:image/png;base64,")) for link in links)
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in parsed.tags}
    assert not re.search(r"https?://|@import|url\((?!#)", page)
    ids = [attrs["id"] for tag, attrs in parsed.tags if tag == "section" or attrs.get("id", "")]
    assert {link[1:] for link in links if link.startswith("#")} <= set(ids)
    assert len(page.encode()) < 2_000_000


def test_figures_are_there_with_a_name_and_ids_of_their_own(data: ReportData) -> None:
    page = render_page(replace(data, top_events=data.top_events[:1]))
    plots = [attrs for tag, attrs in _Page(page).tags if attrs.get("role") == "img"]
    assert (
        len(plots) == 9
    )  # bodies, tails, two other detectors, timeline, bands, fits, one event, losses
    assert all(attrs.get("aria-label") for attrs in plots)
    found = re.findall(r' id="([^"]+)"', page)
    assert len(found) == len(set(found))
    for svg in re.findall(r"<svg.*?</svg>", page, re.S):
        ET.fromstring(svg)


def test_an_empty_run_still_has_a_page() -> None:
    page = render_page(EMPTY)
    assert "nothing to draw" in page and "not known" in page and "No event has a label" in page
    assert "cannot be checked" in _section(page, "read")


def test_names_from_the_data_are_escaped(data: ReportData) -> None:
    page = render_page(data)
    assert "<script" not in page and "&lt;script&gt;alert(1)" in page
    where = "note <b>x</b>"
    assert "<b>x</b>" not in render_page(
        replace(data, summary=data.summary | {"gates": [where], "run_id": where})
    )


def test_null_is_a_dash_and_zero_is_shown(words: ReportData) -> None:
    assert [number(v) for v in (None, float("nan"), 0, 0.0, 12345, 1.23456, 2e-9, "x")] == [
        "–",
        "–",
        "0",
        "0",
        "12,345",
        "1.235",
        "2e-09",
        "x",
    ]
    assert [share(*v) for v in ((0, 10), (None, 10), (1, 0), (1, 8), (1, 10**6))] == [
        "0 %",
        "–",
        "–",
        "12.5 %",
        "0.0001 %",
    ]
    assert (size(0), size(None), size(12_345), size(10**12)) == ("0 B", "–", "12.3 kB", "1 TB")
    assert (when(None), when("2024-01-01"), when("x")) == ("–", "2024-01-01", "x")
    metrics = _section(render_page(words), "metrics")
    rows = dict(re.findall(r'<tr><th scope="row">([^<]+)</th>(.*?)</tr>', metrics))
    assert re.findall(r">([^<>]+)</td>", rows["tp"])[:3] == ["0", "–", "–"]
    assert re.findall(r">([^<>]+)</td>", rows["precision"])[:3] == ["–", "–", "–"]
    assert "<strong>0</strong> of 270 judged test events (0 %)" in " ".join(
        render_page(words).split()
    )


def test_the_counts_are_added_up(words: ReportData) -> None:
    assert "They add up: 1,000 = 10 + 5 + 0 + 500 + 470 + 15." in _section(
        render_page(words), "read"
    )
    lost = render_page(replace(words, summary=words.summary | {"counts": COUNTS | {"train": 497}}))
    assert "They do not add up" in lost and "3 fewer than the 1,000 rows read" in lost
    unknown = render_page(
        replace(words, summary=words.summary | {"counts": COUNTS | {"train": None}})
    )
    assert "cannot be checked" in unknown


def test_a_model_that_loses_says_so(words: ReportData) -> None:
    assert "does not beat a simple detector" in _section(render_page(words), "metrics")
    won = [
        row | {"value": 0.99} if row["detector"] == DETECTORS[0] else row for row in words.metrics
    ]
    text = _section(render_page(replace(words, metrics=won)), "metrics")
    assert "does not beat" not in text and "guessing reaches" not in text
    assert "0.99, is above that of pca (0.92) and isolation_forest (0.5)" in text


@pytest.mark.parametrize(
    ("where", "said"), [("not is_bad", True), ("amount > 0", False), (None, False)]
)
def test_training_that_saw_the_label_is_named(
    words: ReportData, where: str | None, said: bool
) -> None:
    settings = words.settings | {"events": {"label": "cast(is_bad as int)", "train_where": where}}
    assert ("semi-supervised" in render_page(replace(words, settings=settings))) is said


def test_gates_and_thresholds_of_test_partitions_stand_out(data: ReportData) -> None:
    page = render_page(replace(data, summary=data.summary | {"gates": ["too many flagged"]}))
    assert "Quality gate not met.</strong> too many flagged" in page
    assert '<tr class="self">' in _section(page, "thresholds")


def test_scores_out_of_fold_stand_beside_the_others(data: ReportData) -> None:
    spread = data.distributions[DETECTORS[0]]
    both = {
        "train": spread["train"],
        "out_of_fold": spread["test"],
        "calibration": spread["calibration"],
    }
    plain = _section(render_page(data), "scores")
    assert "by heart" not in plain and "by score for train, calibration, test of" in plain
    text = _section(render_page(replace(data, distributions={DETECTORS[0]: both})), "scores")
    assert "by heart" in text and "by score for train, out of fold, calibration of" in text
    assert '<th scope="row">out of fold</th>' in text and "var(--out_of_fold)" in text


def test_how_many_windows_detectors_and_folds_rest_on_is_told(words: ReportData) -> None:
    facts = {
        "train_windows": 50_000,
        "fitted_on": {"pca": 50_000, "kmeans": 16_667},
        "folds": [
            {"from": None, "to": "2024-01-05T00:00:00+00:00"},
            {"from": "2024-01-05T00:00:00+00:00", "to": None},
        ],
    }
    text = _section(render_page(replace(words, summary=words.summary | facts)), "training")
    assert '<th scope="row">kmeans</th><td class="n">16,667</td><td class="n">33.3 %</td>' in text
    assert "2 folds of training time" in text and "they meet at 2024-01-05." in text
    assert "fitted on</h3>" not in _section(render_page(words), "training")


def test_features_that_carry_an_event_are_those_of_its_score(data: ReportData) -> None:
    event = data.top_events[1] | {
        "features": ["a", "b", "c", "d"],
        "x": [[9.0, 0.0, 0.0, 0.0]] * 5,
        "feature_errors": {"a": 0.03, "b": 0.9, "c": 0.07, "d": 0.0},
        "top_feature": "b",
        "top_step": -3,
        "top_value": 1234.5,
        "top_expected": None,
    }
    assert card(event)["parts"] == [("b", 0.9), ("c", 0.07), ("a", 0.03)]
    text = _section(render_page(replace(data, top_events=[event])), "events")
    assert "b 90 %, c 7 %, a 3 %" in text and "b 3 events before: 1,234, expected –" in text
    now = _section(render_page(replace(data, top_events=[event | {"top_step": 0}])), "events")
    assert "b at the event: 1,234" in now
    unknown = event | dict.fromkeys(
        ("feature_errors", "top_feature", "top_step", "top_value", "top_expected")
    )
    assert card(unknown)["parts"] == [] and "Carried by" not in _section(
        render_page(replace(data, top_events=[unknown])), "events"
    )


@pytest.mark.parametrize(
    "values",
    [
        np.zeros(50),
        -np.ones(50),
        np.r_[np.zeros(40), 1e6],
        np.r_[-5.0, np.ones(40), 900.0],
        [1e-30],
    ],
)
def test_odd_distributions_are_drawn(data: ReportData, values: object) -> None:
    odd = {
        DETECTORS[0]: {"test": Histogram.of(values).to_mapping()},
        "pca": {"test": Histogram().to_mapping()},
    }
    partitions = [
        row | {"partition": f"region {i}", "p99": None} for i, row in enumerate(data.partitions)
    ]
    assert 'role="img"' in _section(
        render_page(replace(data, distributions=odd, partitions=partitions)), "scores"
    )


def test_a_large_run_stays_small(data: ReportData) -> None:
    times = [f"2024-01-{1 + i % 28:02d}T00:{i % 60:02d}:00+00:00" for i in range(60_000)]
    timeline = [
        {
            "event_time": at,
            "score": 1 + abs(float(np.sin(i))),
            "threshold": 2.0,
            "is_anomaly": i % 9 == 0,
            "label": i % 2,
            "split": "test",
        }
        for i, at in enumerate(times)
    ]
    values = np.random.default_rng(7).normal(size=(300, 40)).tolist()
    event = data.top_events[0] | {
        "features": [f"f{i}" for i in range(40)],
        "x": values,
        "reconstruction": values[::-1],
        "errors": [1.0] * 300,
    }
    partitions = [data.partitions[0] | {"partition": f"region {i}"} for i in range(400)]
    events = [event | {"event_id": str(i)} for i in range(9)]
    page = render_page(replace(data, timeline=timeline, partitions=partitions, top_events=events))
    assert len(page.encode()) < 2_000_000
    assert page.count('<article class="event">') == 5 and "the 5 of 40 features" in page
