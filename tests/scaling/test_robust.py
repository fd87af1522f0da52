"""The scaler: policies per feature, nulls, clip, transform, and back."""

import json
import math
from collections.abc import Callable
from typing import Any, cast

import numpy as np
import pytest
from foreshock.errors import DataError
from foreshock.scaling.robust import FeatureScale, Scaler, fit_feature, transform
from foreshock.statistics.histogram import Histogram
from hypothesis import given, settings
from hypothesis import strategies as st

LARGEST = float(np.finfo(np.float32).max)
SPREAD = [1.0, 2.0, 3.0, 4.0, 100.0]  # quartiles 2, 3, 4; range 99


def fit(values: list[float], nulls: int = 0, **kwargs: object) -> FeatureScale:
    options: dict[str, Any] = {
        "method": "robust",
        "floor": 0.0,
        "constant": "zero",
        "null_policy": "quarantine",
        **kwargs,
    }
    array = np.array(values, np.float32)
    quartiles = (
        tuple(float(np.quantile(array, q, method="inverted_cdf")) for q in (0.25, 0.5, 0.75))
        if values
        else (0.0,) * 3
    )
    return fit_feature(
        "fee", Histogram.of(array), cast(tuple[float, float, float], quartiles), nulls, **options
    )


def scaler(*features: FeatureScale, how: str = "none", clip: float | None = None) -> Scaler:
    return Scaler("robust", how, clip, tuple(features))


@pytest.mark.parametrize(
    ("method", "center", "scale"),
    [("robust", 3, 2), ("standard", 22, math.sqrt(1522)), ("minmax", 1, 99), ("none", 0, 1)],
)
def test_center_and_scale_of_each_method(method: str, center: float, scale: float) -> None:
    found = fit(SPREAD, method=method)
    assert (found.policy, found.center) == ("scaled", center)
    assert found.scale == pytest.approx(scale, rel=1e-12)
    x = scaler(found).apply(np.array([[1.0], [100.0]]))
    assert x.dtype == np.float32
    assert x.ravel() == pytest.approx([(1 - center) / scale, (100 - center) / scale], rel=1e-6)


def test_statistics_are_recorded() -> None:
    found = fit(SPREAD, nulls=4)
    assert (found.name, found.n, found.nulls, found.q1, found.median, found.q3) == (
        "fee",
        5,
        4,
        2,
        3,
        4,
    )
    assert (found.minimum, found.maximum, found.mean, found.why) == (1, 100, 22, "")


# --- features without spread ----------------------------------------------------------------------


@pytest.mark.parametrize("method", ["robust", "standard", "minmax"])
@pytest.mark.parametrize(("constant", "policy"), [("zero", "zero"), ("drop", "dropped")])
def test_a_constant_feature_follows_the_setting(method: str, constant: str, policy: str) -> None:
    found = fit([5.0] * 7, method=method, constant=constant)
    assert found.policy == policy
    assert "constant" in found.why
    assert "5" in found.why
    assert "7" in found.why


def test_a_constant_feature_can_fail_the_run() -> None:
    with pytest.raises(DataError, match=r"`fee`.*constant.*scaling\.constant is fail"):
        fit([5.0] * 7, constant="fail")


@pytest.mark.parametrize(("constant", "policy"), [("zero", "zero"), ("drop", "dropped")])
def test_zero_interquartile_range_follows_the_setting(constant: str, policy: str) -> None:
    found = fit([0.0] * 9 + [8.0], constant=constant)
    assert found.policy == policy
    assert "interquartile range is 0" in found.why
    assert "8" in found.why
    with pytest.raises(DataError, match=r"`fee`.*interquartile range.*scaling\.constant is fail"):
        fit([0.0] * 9 + [8.0], constant="fail")


@pytest.mark.parametrize("method", ["standard", "minmax", "none"])
def test_zero_interquartile_range_matters_to_robust_only(method: str) -> None:
    assert fit([0.0] * 9 + [8.0], method=method).policy == "scaled"


def test_none_scales_nothing_not_even_a_constant() -> None:
    found = fit([5.0] * 7, method="none", constant="fail")
    assert (found.policy, scaler(found).apply([[5.0]]).tolist()) == ("scaled", [[5.0]])


def test_a_floor_raises_the_scale_to_a_share_of_the_range() -> None:
    found = fit(SPREAD, floor=0.1)
    wanted: tuple[Any, ...] = ("floored", pytest.approx(9.9), 3)
    assert (found.policy, found.scale, found.center) == wanted
    assert "9" in found.why
    assert fit([0.0] * 9 + [8.0], floor=0.01).policy == "floored"
    assert fit([0.0] * 9 + [8.0], floor=0.01, constant="fail").scale == pytest.approx(0.08)
    assert (
        fit(SPREAD, floor=0.02).policy == "scaled"
    )  # 2 % of the range is less than the interquartile range
    assert fit([5.0] * 7, floor=0.5).policy == "zero"


def test_a_feature_null_in_every_training_row_names_itself() -> None:
    with pytest.raises(
        DataError, match=r"`fee` is null in every training row \(12 rows\).*events.features.fee"
    ):
        fit([], nulls=12)


def test_zeroed_features_stay_and_dropped_ones_go() -> None:
    flat, gone, good = fit([5.0] * 3), fit([5.0] * 3, constant="drop"), fit(SPREAD)
    both = scaler(flat, gone, good)
    assert both.kept == ("fee", "fee")
    raw = np.array([[5.0, 5.0, 5.0], [9.0, 9.0, 1.0], [np.nan, np.nan, 3.0]])
    assert both.apply(raw).tolist() == [[0, 1], [0, -1], [0, 0]]
    assert both.to_mapping()["dropped"] == ["fee"]


# --- nulls, clip, extremes ------------------------------------------------------------------------


@pytest.mark.parametrize(("policy", "scaled"), [("zero", -1.5), ("median", 0.0)])
def test_nulls_become_zero_or_the_median(policy: str, scaled: float) -> None:
    found = fit(SPREAD, nulls=1, null_policy=policy)
    assert scaler(found).apply([[np.nan], [3.0]]).ravel().tolist() == [scaled, 0.0]


@pytest.mark.parametrize("how", ["none", "asinh", "log1p"])
def test_nulls_become_the_median_of_the_transformed_values(how: str) -> None:
    values = transform([1.0, 10.0, 1000.0], how)
    found = fit(values.tolist(), null_policy="median")
    x = scaler(found, how=how).apply([[np.nan], [10.0]])
    assert x[0] == x[1] == 0


def test_clip_bounds_both_sides_after_scaling() -> None:
    found = fit(SPREAD)
    assert scaler(found, clip=2).apply([[-50.0], [3.0], [6.0], [1e30]]).ravel().tolist() == [
        -2,
        0,
        1.5,
        2,
    ]


def test_values_beyond_float32_stay_finite() -> None:
    tiny_scale = fit([0.0, 1e-30, 2e-30, 3e-30])
    x = scaler(tiny_scale).apply([[1e300], [-1e300], [np.inf], [-np.inf]])
    assert np.isfinite(x).all()
    assert x.ravel().tolist() == [LARGEST, -LARGEST, LARGEST, -LARGEST]


def test_rows_are_scaled_alone_and_the_input_stays_as_it_was() -> None:
    found = scaler(fit(SPREAD), fit([5.0] * 3))
    raw = np.random.default_rng(1).normal(size=(50, 2))
    raw[3, 0] = np.nan
    before = raw.copy()
    whole = found.apply(raw)
    assert np.array_equal(whole, np.concatenate([found.apply(raw[i : i + 1]) for i in range(50)]))
    assert np.array_equal(raw, before, equal_nan=True)
    assert found.apply(np.zeros((0, 2))).shape == (0, 2)


# --- transform and back ---------------------------------------------------------------------------


def test_transforms_by_hand() -> None:
    values = [-(math.e - 1), 0.0, math.e - 1]
    assert transform(values, "log1p").tolist() == [-1, 0, 1]
    assert transform([math.sinh(2), -math.sinh(2)], "asinh").tolist() == [2, -2]
    assert transform([1.5, -2], "none").tolist() == [1.5, -2]
    assert transform([1e300, np.inf, -np.inf], "none").tolist() == [LARGEST, LARGEST, -LARGEST]
    assert transform([1e26], "asinh") == pytest.approx(math.log(2e26), rel=1e-6)
    assert np.isnan(transform([np.nan], "log1p")).all()


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    st.lists(st.floats(-1e12, 1e12), min_size=2, max_size=30),
    st.sampled_from(["asinh", "log1p", "none"]),
)
def test_transforms_keep_order_and_sign(values: list[float], how: str) -> None:
    ordered = np.sort(np.array(values))
    out = transform(ordered, how)
    assert (np.diff(out) >= 0).all()
    assert (np.sign(out) * np.sign(ordered) >= 0).all()


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=20),
    st.sampled_from(["none", "asinh", "log1p"]),
    st.sampled_from(["robust", "standard", "minmax", "none"]),
)
def test_invert_gives_the_values_back(values: list[float], how: str, method: str) -> None:
    found = fit(transform(SPREAD, how).tolist(), method=method)
    one = Scaler(method, how, None, (found,))
    raw = np.array(values)[:, None]
    assert one.invert(one.apply(raw)) == pytest.approx(raw, rel=1e-3, abs=1e-2)


def test_invert_of_zeroed_and_clipped_values() -> None:
    flat, gone, good = fit([5.0] * 3), fit([5.0] * 3, constant="drop"), fit(SPREAD)
    found = scaler(flat, gone, good, clip=1)
    assert found.invert(found.apply([[7.0, 7.0, 1000.0]])).tolist() == [[5, 5]]
    for how in ("asinh", "log1p"):
        assert np.isfinite(scaler(good, how=how).invert([[1e30], [-1e30]])).all()


# --- stored ---------------------------------------------------------------------------------------


def test_a_scaler_is_stored_as_json_and_read_back() -> None:
    found = scaler(
        fit(SPREAD, nulls=2),
        fit([5.0] * 3),
        fit([0.0] * 9 + [8.0], floor=0.1),
        how="asinh",
        clip=5.0,
    )
    raw = json.loads(json.dumps(found.to_mapping()))
    again = Scaler.from_mapping(raw)
    assert again == found
    values = np.random.default_rng(1).normal(size=(20, 3))
    assert np.array_equal(again.apply(values), found.apply(values))
    assert [f["policy"] for f in raw["features"]] == ["scaled", "zero", "floored"]


@pytest.mark.parametrize(
    "alter",
    [
        lambda m: m.pop("features"),
        lambda m: m.pop("method"),
        lambda m: m["features"][0].pop("scale"),
        lambda m: m["features"][0].update(extra=1),
        lambda m: m.update(features=[5]),
    ],
)
def test_what_is_not_a_scaler_is_refused(alter: Callable[[dict[str, Any]], object]) -> None:
    raw = scaler(fit(SPREAD)).to_mapping()
    alter(raw)
    with pytest.raises(DataError, match=r"scaler\.json"):
        Scaler.from_mapping(raw)
