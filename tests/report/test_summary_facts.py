"""Compact facts of a run, by hand."""

from __future__ import annotations

from typing import Any

from foreshock.report.summary import strongest, training_facts


def _moved(
    feature: str | None, trimmed: float | None, to: str = "test", group: str = "all"
) -> dict[str, Any]:
    return {
        "run_id": "r",
        "from_split": "train",
        "to_split": to,
        "group": group,
        "feature": feature,
        "wasserstein": 1.0,
        "psi": 0.0,
        "quantile_ratio": 2.0,
        "trimmed": trimmed,
        "band": 0.1,
        "n_from": 9,
        "n_to": 9,
        "verdict": "stable",
    }


def test_the_strongest_features_of_each_pair() -> None:
    rows = [
        _moved(None, 0.3),
        _moved("a", 0.1),
        _moved("b", 0.5),
        _moved("c", 0.1),
        _moved("d", 0.4),
        _moved("e", None),
        _moved("a", 9.0, group="g"),
        _moved("a", 0.0, "calibration"),
    ]
    found = strongest(rows)
    assert [(f["from"], f["to"], [x["feature"] for x in f["features"]]) for f in found] == [
        ("train", "test", ["b", "d", "a"]),
        ("train", "calibration", ["a"]),
    ]
    assert (
        found[0]["score"]["trimmed"] == 0.3
        and found[1]["score"] is None
        and found[0]["features"][0]["band"] == 0.1
    )
    assert strongest([]) == []


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
    assert training_facts(info) == {
        "train_windows": 100,
        "fitted_on": {"kmeans": 50},
        "explained": {"pca": {"a": 0.5}, "isolation_forest": None},
        "folds": [{"from": None, "to": 7}, {"from": 7, "to": 9}, {"from": 9, "to": None}],
    }
    assert training_facts({}) == {
        "train_windows": None,
        "fitted_on": {},
        "explained": {},
        "folds": [],
    }
