"""The page holds everything itself, escapes what it shows, and tells null from 0."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import numpy.typing as npt
import pytest
from foreshock.report.page import render_page
from foreshock.report.records.data import ReportData
from foreshock.report.records.events import TimelineEvent
from foreshock.report.records.fit import FitFacts, Fold
from foreshock.report.records.run import RunSummary
from foreshock.report.sections.events import build_card
from foreshock.statistics.histogram import Histogram
from support.report_data import (
    COUNTS,
    DETECTORS,
    MODEL,
    settings,
    threshold,
    top_event,
    whole,
    words,
)

EMPTY = ReportData(RunSummary("run-0", "pca", ("pca",)))


class Page(HTMLParser):
    """The tags of a page. An element that is left open fails the test."""

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


def section(page: str, name: str) -> str:
    return page.split(f'<section id="{name}"')[1].split("</section>")[0]


def rendered_section(data: ReportData, name: str) -> str:
    return section(render_page(data), name)


@pytest.mark.parametrize("data", [whole(), EMPTY], ids=["whole", "empty"])
def test_nothing_is_fetched_and_the_markup_is_sound(data: ReportData) -> None:
    page = render_page(data)
    parsed = Page(page)
    links = [
        value or ""
        for _, attributes in parsed.tags
        for key, value in attributes.items()
        if key in ("src", "href", "xlink:href")
    ]
    assert links and all(link.startswith(("#", "data:image/png;base64,")) for link in links)
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in parsed.tags}
    assert not re.search(r"https?://|@import|url\((?!#)", page)
    ids = {attributes["id"] for _, attributes in parsed.tags if "id" in attributes}
    assert {link[1:] for link in links if link.startswith("#")} <= ids
    assert len(page.encode()) < 2_000_000


def test_the_navigation_leads_to_every_section() -> None:
    page = render_page(EMPTY)
    navigation = page.split("<nav")[1].split("</nav>")[0]
    sections = [attributes["id"] for tag, attributes in Page(page).tags if tag == "section"]
    assert re.findall(r'href="#(\w+)"', navigation) == sections
    assert len(sections) == 10 and "shift" not in sections  # no splits were compared


def test_figures_are_there_with_a_name_and_ids_of_their_own() -> None:
    page = render_page(replace(whole(), top_events=(top_event(),)))
    plots = [attributes for _, attributes in Page(page).tags if attributes.get("role") == "img"]
    # bodies, tails, two other detectors, timeline, bands, fits, one event, losses
    assert len(plots) == 9
    assert all(attributes.get("aria-label") for attributes in plots)
    ids = re.findall(r' id="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    for svg in re.findall(r"<svg.*?</svg>", page, re.S):
        ET.fromstring(svg)


def test_an_empty_run_still_has_a_page() -> None:
    page = render_page(EMPTY)
    assert "nothing to draw" in page and "not known" in page and "No event has a label" in page
    assert "cannot be checked" in section(page, "read")


def test_names_from_the_data_are_escaped() -> None:
    page = render_page(whole())
    assert "<script" not in page and "&lt;script&gt;alert(1)" in page
    markup = "note <b>x</b>"
    data = words()
    changed = replace(data, summary=replace(data.summary, gates=(markup,), run_id=markup))
    assert "<b>x</b>" not in render_page(changed)


def test_null_is_a_dash_and_zero_is_shown() -> None:
    page = render_page(words())
    rows = dict(re.findall(r'<tr><th scope="row">([^<]+)</th>(.*?)</tr>', section(page, "metrics")))
    assert re.findall(r">([^<>]+)</td>", rows["tp"])[:3] == ["0", "–", "–"]
    assert re.findall(r">([^<>]+)</td>", rows["precision"])[:3] == ["–", "–", "–"]
    assert "<strong>0</strong> of 270 judged test events (0 %)" in " ".join(page.split())


def test_the_counts_are_added_up() -> None:
    data = words()
    assert "They add up: 1,000 = 10 + 5 + 0 + 500 + 470 + 15." in rendered_section(data, "read")
    lost = replace(data.summary, counts=replace(COUNTS, train=497))
    text = rendered_section(replace(data, summary=lost), "read")
    assert "They do not add up" in text and "3 fewer than the 1,000 rows read" in text
    unknown = replace(data, summary=replace(data.summary, counts=None))
    assert "cannot be checked" in rendered_section(unknown, "read")


def test_a_model_that_loses_says_so() -> None:
    data = words()
    assert "does not beat a simple detector" in rendered_section(data, "metrics")
    won = tuple(replace(row, value=0.99) if row.detector == MODEL else row for row in data.metrics)
    text = rendered_section(replace(data, metrics=won), "metrics")
    assert "does not beat" not in text and "guessing reaches" not in text
    assert "0.99, is above that of pca (0.92) and isolation_forest (0.5)" in text


@pytest.mark.parametrize(
    ("where", "said"), [("not is_bad", True), ("amount > 0", False), (None, False)]
)
def test_training_that_saw_the_label_is_named(where: str | None, said: bool) -> None:
    changed = settings(label="cast(is_bad as int)", train_where=where)
    assert ("semi-supervised" in render_page(replace(words(), settings=changed))) is said


def test_gates_and_thresholds_of_test_partitions_stand_out() -> None:
    data = whole()
    page = render_page(replace(data, summary=replace(data.summary, gates=("too many flagged",))))
    assert "Quality gate not met.</strong> too many flagged" in page
    assert '<tr class="self">' in section(page, "thresholds")


def test_scores_out_of_fold_stand_beside_the_others() -> None:
    data = whole()
    spread = data.distributions[MODEL]
    both = {
        "train": spread["train"],
        "out_of_fold": spread["test"],
        "calibration": spread["calibration"],
    }
    plain = rendered_section(data, "scores")
    assert "by heart" not in plain and "by score for train, calibration, test of" in plain
    text = rendered_section(replace(data, distributions={MODEL: both}), "scores")
    assert "by heart" in text and "by score for train, out of fold, calibration of" in text
    assert '<th scope="row">out of fold</th>' in text and "var(--out_of_fold)" in text


def test_how_many_windows_detectors_and_folds_rest_on_is_told() -> None:
    data = words()
    noon = "2024-01-05T00:00:00+00:00"
    fit = FitFacts(
        train_windows=50_000,
        fitted_on={"pca": 50_000, "kmeans": 16_667},
        folds=(Fold(None, noon), Fold(noon, None)),
    )
    fitted = replace(data, summary=replace(data.summary, fit=fit))
    text = rendered_section(fitted, "training")
    assert '<th scope="row">kmeans</th><td class="n">16,667</td><td class="n">33.3 %</td>' in text
    assert "2 folds of training time" in text and "they meet at 2024-01-05." in text
    assert "fitted on</h3>" not in rendered_section(data, "training")


def test_features_that_carry_an_event_are_those_of_its_score() -> None:
    event = top_event(
        features=["a", "b", "c", "d"],
        x=[[9.0, 0.0, 0.0, 0.0]] * 5,
        reconstruction=None,
        feature_errors={"a": 0.03, "b": 0.9, "c": 0.07, "d": 0.0},
        top_feature="b",
        top_step=-3,
        top_value=1234.5,
    )
    assert build_card(event).carriers == [("b", 0.9), ("c", 0.07), ("a", 0.03)]
    data = words()
    text = rendered_section(replace(data, top_events=(event,)), "events")
    assert "b 90 %, c 7 %, a 3 %" in text and "b 3 events before: 1,234, expected –" in text
    now = rendered_section(replace(data, top_events=(replace(event, top_step=0),)), "events")
    assert "b at the event: 1,234" in now
    unknown = replace(event, feature_errors=None, top_feature=None, top_step=None, top_value=None)
    assert build_card(unknown).carriers == []
    assert "Carried by" not in rendered_section(replace(data, top_events=(unknown,)), "events")


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
def test_odd_distributions_are_drawn(values: npt.ArrayLike) -> None:
    data = whole()
    odd = {MODEL: {"test": Histogram.of(values)}, "pca": {"test": Histogram()}}
    partitions = tuple(
        replace(row, partition=f"region {number}", p99=None)
        for number, row in enumerate(data.partitions)
    )
    drawn = replace(words(), distributions=odd, partitions=partitions)
    assert 'role="img"' in rendered_section(drawn, "scores")


@pytest.mark.slow
def test_a_large_run_stays_small() -> None:
    data = whole()
    times = [
        f"2024-01-{1 + number % 28:02d}T00:{number % 60:02d}:00+00:00" for number in range(60_000)
    ]
    timeline = tuple(
        TimelineEvent(time, 1 + abs(float(np.sin(number))), number % 9 == 0, number % 2)
        for number, time in enumerate(times)
    )
    values = np.random.default_rng(7).normal(size=(300, 40)).tolist()
    event = top_event(
        features=[f"f{number}" for number in range(40)],
        x=values,
        reconstruction=values[::-1],
        errors=[1.0] * 300,
    )
    partitions = tuple(
        replace(data.partitions[0], partition=f"region {number}") for number in range(400)
    )
    events = tuple(replace(event, event_id=str(number)) for number in range(9))
    large = replace(data, timeline=timeline, partitions=partitions, top_events=events)
    page = render_page(large)
    assert len(page.encode()) < 2_000_000
    assert page.count('<article class="event">') == 5 and "the 5 of 40 features" in page


def test_two_rules_of_one_name_are_told_apart() -> None:
    """The rule that judges is quantile 0.99.

    quantile 0.999 stands only in the table of all rules.
    """
    data = words()
    strict = tuple(threshold(detector, level=0.999, value=5.0) for detector in DETECTORS)
    both = replace(
        data,
        thresholds=(
            *strict,
            *data.thresholds,
            threshold(partition="2024-01-02"),
            threshold(partition="2024-01-02", level=0.999, value=5.0),
        ),
    )
    page = render_page(both)
    assert "lies above its threshold, 2." in page and "for the group" not in page
    text = section(page, "thresholds")
    assert "judged by the rule <code>quantile 0.99</code>" in text
    assert "Table of the 1 thresholds by partition" in text
    pooled = text.split("<h3>")[0]
    assert '<td class="n">0.99</td>' in pooled and '<td class="n">0.999</td>' in pooled
    assert "threshold 2" in text and "threshold 5" not in text  # the line of the figure


def test_each_group_that_has_a_threshold_is_counted_once() -> None:
    data = words()
    grouped = [
        threshold(group=group, level=level, value=value)
        for level, value in ((0.99, 2.0), (0.999, 5.0))
        for group in ("all", "small", "large")
    ]
    page = render_page(replace(data, thresholds=tuple(grouped)))
    assert "(for the group all, 2)" in page
    assert "There are 3 groups, each with its own threshold" in page
