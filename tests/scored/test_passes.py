"""Passes over one read of scored files.

The result is the same here, in Spark, and for any assignment of rows to files.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from foreshock.diagnosis.score_shapes import ScoreShapes
from foreshock.scored import passes_spark
from foreshock.scored.events import ScoredEvents
from foreshock.scored.highlights import EventSample, HighestEvents, every_kth
from foreshock.scored.passes import Pass, run_here
from foreshock.scored.passes_spark import run_passes
from foreshock.scored.spans import EventSpans
from foreshock.sequences.split import BlockRole
from foreshock.statistics.arrays import AnyArray
from foreshock.thresholds.distribution import ADMITTED, Key, locate
from foreshock.thresholds.passes import ExactQuantiles, ScoreHistograms
from foreshock.thresholds.tail_passes import RunMaxima, Tails
from support.scored_files import scored_files

DETECTORS = ("pca", "zscore")
N = 600


def events(seed: int) -> list[dict[str, Any]]:
    """Events of calibration and test, of two groups and three partitions, some not judged."""
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(N):
        is_test = number >= N // 2
        score = float(np.float32(rng.exponential()))
        rows.append(
            {
                "split": 3 if is_test else 2,
                "block_role": 4,  # a block of test may hold events of calibration
                "group": f"group-{number % 2}",
                "partition": f"day-{number * 6 // N}",
                "entity": f"entity-{number % 7}",
                "calibrate": int(number % 3 > 0),
                "score__pca": None if number % 10 == 0 else score,
                "score__zscore": 2 * score,
            }
        )
    return rows


def scores(split: int, detector: str = "pca", *, admitted: bool = False) -> AnyArray:
    return np.array(
        [
            row[f"score__{detector}"]
            for row in events(1)
            if row["split"] == split
            and row[f"score__{detector}"] is not None
            and (row["calibrate"] or not admitted)
        ]
    )


@pytest.fixture(scope="module", params=[1, 5])
def scored(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> ScoredEvents:
    return scored_files(tmp_path_factory.mktemp("scored"), events(1), DETECTORS, request.param)


def test_histograms_count_judged_events_alone(scored: ScoredEvents) -> None:
    histograms = ScoreHistograms(DETECTORS, "calibration")
    found = run_here(scored, [histograms]).of(histograms)
    for split, code in (("calibration", 2), ("test", 3)):
        for detector in DETECTORS:
            pooled = found.of(Key(detector, split, None, "all"))
            assert pooled.n == len(scores(code, detector))
            assert pooled.maximum == scores(code, detector).max()
    assert found.of(Key("pca", ADMITTED, None, "all")).n == len(scores(2, admitted=True))
    assert found.judged("pca", ("calibration", "test")) == N - N // 10
    unjudged = [n for key, n in found.unjudged.items() if key.split in ("calibration", "test")]
    assert sum(unjudged) == N // 10 and {key.detector for key in found.unjudged} == {"pca"}


def test_quantiles_tails_and_maxima_are_exact(scored: ScoredEvents) -> None:
    histograms = ScoreHistograms(DETECTORS, None)
    distributions = run_here(scored, [histograms]).of(histograms)
    keys = [Key("pca", "calibration", None, "all"), Key("zscore", "test", None, "all")]
    wanted = tuple(locate(distributions, keys, [0.5, 0.9, 0.999]))
    exact = ExactQuantiles(wanted, None)
    tails = Tails(tuple((want.key, want.lowest) for want in wanted if want.level == 0.9), None)
    maxima = RunMaxima(tuple(keys), None)
    results = run_here(scored, [exact, tails, maxima])
    quantiles = exact.resolved(results.of(exact))
    for key, values in zip(keys, (scores(2), scores(3, "zscore")), strict=True):
        for level in (0.5, 0.9, 0.999):
            assert quantiles[key, level] == np.quantile(values, level, method="inverted_cdf")
        start = next(tail for tail in tails.asked if tail[0] == key)
        tail = tails.tails(results.of(tails))[start].from_value(quantiles[key, 0.9])
        assert tail.values.tolist() == sorted(values[values >= quantiles[key, 0.9]])
        assert tail.sizes.sum() == len(values)
        assert maxima.maxima(results.of(maxima))[key].max() == values.max()


def test_spans_are_of_the_events_split_not_of_their_block(scored: ScoredEvents) -> None:
    spans = EventSpans()
    assert run_here(scored, [spans]).of(spans) == {
        BlockRole.CALIBRATION: (0, N // 2 - 1),
        BlockRole.TEST: (N // 2, N - 1),
    }


def test_the_highest_event_of_each_of_the_highest_entities(scored: ScoredEvents) -> None:
    highest = HighestEvents("zscore", 3)
    found = highest.first_of_each_entity(run_here(scored, [highest]).of(highest))
    best: dict[str, float] = {}
    for row in events(1):
        if row["split"] == 3:
            best[row["entity"]] = max(best.get(row["entity"], 0.0), row["score__zscore"])
    wanted = sorted(best.items(), key=lambda item: -item[1])[:3]
    assert found is not None
    assert [(row["entity"], row["score__zscore"]) for row in found.to_pylist()] == wanted


def test_a_sample_is_drawn_by_what_events_are(scored: ScoredEvents, tmp_path: Path) -> None:
    sample = EventSample("pca", 0.3)
    dealt = scored_files(tmp_path, events(1), DETECTORS, 3)
    drawn = [
        pa.concat_tables(run_here(files, [sample]).of(sample)).sort_by("event_id").to_pylist()
        for files in (scored, dealt)
    ]
    assert drawn[0] == drawn[1]
    assert 0.2 * N < len(drawn[0]) < 0.4 * N
    assert all(row["score__pca"] is not None for row in drawn[0])
    half = [row["event_time"] for row in drawn[0] if row["event_time"] < N // 2]
    assert 0.35 < len(half) / len(drawn[0]) < 0.65


def test_every_kth_takes_all_of_a_few_and_bounds_many() -> None:
    few = pa.table({"event_time": [5, 1, 3], "event_id": ["a", "b", "c"]})
    assert every_kth(few, 2)["event_time"].to_pylist() == [1, 3, 5]
    many = pa.table({"event_time": np.arange(1000), "event_id": ["x"] * 1000})
    assert every_kth(many, 100)["event_time"].to_pylist() == list(range(0, 1000, 10))


def test_spark_gives_what_this_process_gives(
    scored: ScoredEvents, spark: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passes_spark, "FEW_ROWS", 0)
    key = Key("pca", "calibration", None, "all")
    shapes = ScoreShapes("pca", {3: (0, N // 2 - 1), 4: (N // 2, N - 1)})
    passes: list[Pass[Any]] = [
        ScoreHistograms(DETECTORS, "calibration"),
        EventSpans(),
        shapes,
        Tails(((key, 1.0),), None),
        HighestEvents("pca", 2),
    ]
    here, there = run_here(scored, passes), run_passes(spark, scored, passes)
    for one, other in zip(here.totals, there.totals, strict=True):
        assert repr(one) == repr(other)
    counts = {part: histogram.n for part, histogram in there.of(shapes).items()}
    assert sum(counts.values()) == N - N // 10
    assert {part.slice for part in counts} == set(range(12))
