"""Moments equal those of all windows in memory, however the windows are cut.

A model fitted on them equals scikit-learn's on the windows.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from foreshock.errors import DataError
from foreshock.windows.models import moment_sums as module
from foreshock.windows.models.moments import WindowMoments, middle
from foreshock.windows.models.pca import PCA
from foreshock.windows.models.ridge_forecast import PENALTY, RidgeForecast, ridge_from_moments
from sklearn import decomposition, linear_model

Array = npt.NDArray[Any]


def events(n: int, features: int, seed: int = 0) -> Array:
    """Features that follow one another in time and between them, (n, F) float32."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, features))
    for t in range(1, n):
        x[t] += 0.6 * x[t - 1] + 0.3 * np.roll(x[t - 1], 1)
    moved: Array = x * np.geomspace(0.5, 3, features) + rng.normal(size=features)
    return moved.astype(np.float32)


def windows(x: Array, starts: Array, length: int) -> Array:
    """(N, L, F)."""
    return np.lib.stride_tricks.sliding_window_view(x, length, axis=0).swapaxes(1, 2)[starts]


def check(found: WindowMoments, wanted: Array, origin: Any = 0.0) -> None:
    flat = (wanted.astype(np.float64) - origin).reshape(len(wanted), np.prod(wanted.shape[1:]))
    assert found.n == len(flat)
    size = np.sqrt(np.square(flat).sum(axis=0))
    assert (np.abs(found.products - flat.T @ flat) <= 1e-12 * np.outer(size, size)).all()
    assert (
        np.abs(found.total - flat.sum(axis=0)) <= 1e-12 * np.abs(flat).sum(axis=0) + 1e-300
    ).all()


GAPS = np.concatenate([np.arange(3, 60), np.arange(61, 64), [70], np.arange(80, 191)])
STARTS = {
    "all": np.arange(0, 200),
    "offset": np.arange(17, 160),
    "stride": np.arange(1, 190, 7),
    "gaps": GAPS,
    "one": np.array([5]),
    "none": np.array([], np.int64),
    "two": np.repeat(np.arange(0, 198, 3), 2) + np.tile([0, 1], 66),
}


@pytest.mark.parametrize(
    ("length", "features"), [(1, 1), (1, 3), (2, 1), (5, 2), (16, 3), (17, 2), (50, 4)]
)
@pytest.mark.parametrize("starts", STARTS.values(), ids=STARTS)
def test_moments_are_those_of_all_windows(length: int, features: int, starts: Array) -> None:
    x = events(199 + length, features)
    check(WindowMoments.of(x, starts, length), windows(x, starts, length))
    origin = np.linspace(-1, 2, features)
    check(WindowMoments.of(x, starts, length, origin), windows(x, starts, length), origin)
    check(
        WindowMoments.of_windows(windows(x, starts, length), origin),
        windows(x, starts, length),
        origin,
    )


def test_long_runs_and_many_blocks_are_cut_to_no_effect(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"RUN": 60, "CHUNK": 300, "EDGES": 3}.items():
        monkeypatch.setattr(module, name, value)
    x = events(1200, 3)
    starts = np.concatenate([np.arange(0, 700), np.arange(702, 1100, 3)])
    check(WindowMoments.of(x, starts, 20), windows(x, starts, 20))


def test_a_great_value_at_an_edge_leaves_no_trace_in_other_products() -> None:
    x = events(400, 2)
    x[[0, -1]] = 3e7
    check(WindowMoments.of(x, np.arange(391), 10), windows(x, np.arange(391), 10))


@pytest.mark.parametrize("seed", range(4))
def test_merging_at_any_partition_equals_all_at_once(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = events(500, 3, seed)
    starts = np.sort(rng.choice(481, 430, replace=False)) if seed % 2 else np.arange(481)
    cuts = np.sort(rng.integers(0, len(starts), 6))
    parts = np.split(starts, cuts)
    merged = WindowMoments.empty(20, 3)
    for part in rng.permutation(len(parts)):
        merged = WindowMoments.from_bytes(
            (merged + WindowMoments.of(x, parts[part], 20)).to_bytes()
        )
    check(merged, windows(x, starts, 20))
    check(WindowMoments.of_blocks(((x, part) for part in parts), 20, 3), windows(x, starts, 20))


def test_a_fold_taken_away_equals_a_fit_without_it() -> None:
    x = events(900, 2)
    starts = np.arange(880)
    rest = WindowMoments.of(x, starts, 12) - WindowMoments.of(x, starts[200:500], 12)
    check(rest, windows(x, np.delete(starts, np.s_[200:500]), 12))


def test_mean_and_covariance_do_not_depend_on_the_origin() -> None:
    x = events(600, 3) + np.float32(100)
    flat = windows(x, np.arange(590), 6).reshape(590, -1).astype(np.float64)
    for origin in (None, x.mean(axis=0)):
        found = WindowMoments.of(x, np.arange(590), 6, origin)
        assert np.allclose(found.mean, flat.mean(axis=0), rtol=1e-11)
        assert np.allclose(found.covariance, np.cov(flat, rowvar=False), rtol=0, atol=1e-8)


def test_far_from_zero_about_the_middle() -> None:
    rng = np.random.default_rng(8)
    x = np.zeros((4000, 1))
    for t in range(1, 4000):
        x[t] = 0.9 * x[t - 1] + rng.normal()
    far = (x + 5e6).astype(np.float32)  # whose steps are 0.5 there
    starts = np.arange(3980)
    assert not RidgeForecast.from_moments(
        WindowMoments.of(far, starts, 2)
    ).coefficients.any()  # about 0, nothing varies but rounding
    origin = middle(windows(far, starts[::40], 2))
    halves = [WindowMoments.of(far, part, 2, origin) for part in np.array_split(starts, 3)]
    found = RidgeForecast.from_moments(halves[0] + halves[1] + halves[2])
    last = windows(far, starts, 2)[..., 0].astype(np.float64) - 5e6
    wanted = linear_model.Ridge(alpha=PENALTY * 3980 * last[:, 0].var()).fit(
        last[:, :1], last[:, 1]
    )
    assert (
        found.coefficients[0, 0] == pytest.approx(wanted.coef_[0], rel=1e-6)
        and wanted.coef_[0] > 0.85
    )
    assert found.mean == pytest.approx(far[:, 0].astype(np.float64).mean(), rel=1e-6)
    assert middle(windows(far, starts[:0], 2)) is None


def test_what_does_not_fit_is_refused() -> None:
    x = events(50, 2)
    one = WindowMoments.of(x, np.arange(10), 5)
    for starts in ([-1, 0], [40, 46], [3, 3], [4, 2]):
        with pytest.raises(ValueError, match="ascending or leave"):
            WindowMoments.of(x, np.array(starts), 5)
    for other in (
        WindowMoments.empty(4, 2),
        WindowMoments.empty(5, 1),
        WindowMoments.empty(5, 2, [0, 1]),
    ):
        with pytest.raises(ValueError, match="do not combine"):
            one + other
    with pytest.raises(ValueError, match="cannot be taken"):
        WindowMoments.empty(5, 2) - one
    with pytest.raises(ValueError, match="origin"):
        WindowMoments.empty(5, 2, [1])
    for data in (b"", b"damaged", one.to_bytes()[:-80]):
        with pytest.raises(DataError, match="do not load"):
            WindowMoments.from_bytes(data)


@pytest.mark.parametrize("length", [1, 8])
def test_pca_equals_scikit_learn(length: int) -> None:
    x = events(700, 3)
    starts = np.concatenate([np.arange(300), np.arange(330, 690)])
    whole = windows(x, starts, length)
    flat = whole.reshape(len(whole), -1).astype(np.float64)
    wanted = decomposition.PCA(n_components=0.9, svd_solver="full").fit(flat)
    moments = WindowMoments.of(x, starts, length)
    for model in (PCA.from_moments(moments), PCA.fit(whole, np.ones(whole.shape[:2], np.float32))):
        assert len(model.components) == wanted.n_components_
        assert np.allclose(model.mean, wanted.mean_, rtol=1e-10)
        explained = np.einsum(
            "ki,ij,kj->k", model.components, np.cov(flat, rowvar=False), model.components
        )
        assert np.allclose(explained, wanted.explained_variance_, rtol=1e-6)
        residual = np.square(flat - wanted.inverse_transform(wanted.transform(flat))).mean(axis=1)
        assert np.allclose(
            model.errors(whole).reshape(len(flat), -1).mean(axis=1, dtype=np.float64),
            residual,
            rtol=1e-5,
            atol=1e-9,
        )
        projected = (flat - model.mean) @ model.components.T @ model.components + model.mean
        assert np.allclose(np.square(flat - projected).mean(axis=1), residual, rtol=1e-6)


def test_pca_of_too_few_windows_is_a_data_error() -> None:
    with pytest.raises(DataError, match="1 whole training windows"):
        PCA.from_moments(WindowMoments.of(events(20, 2), np.array([0]), 5))
    with pytest.raises(DataError, match="0 whole training windows"):
        PCA.fit(np.ones((3, 4, 2), np.float32), np.zeros((3, 4), np.float32))


@pytest.mark.parametrize("penalty", [0.0, 3.0, 500.0])
@pytest.mark.parametrize("order", [1, 4, 7])
def test_ridge_equals_scikit_learn(order: int, penalty: float) -> None:
    x = events(900, 3)
    last = windows(x, np.arange(880), 8)[:, -order - 1 :].astype(np.float64)
    wanted = linear_model.Ridge(alpha=penalty).fit(last[:, :-1].reshape(880, -1), last[:, -1])
    coefficients, intercept = ridge_from_moments(
        WindowMoments.of(x, np.arange(880), 8), order, penalty
    )
    assert np.allclose(coefficients, wanted.coef_.T, rtol=1e-6, atol=1e-9)
    assert np.allclose(intercept, wanted.intercept_, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("length", [2, 6, 12])
def test_the_forecast_is_a_ridge_on_inputs_of_unit_variance(length: int) -> None:
    x = events(800, 2)
    x[:, 1] *= 1e4
    whole = windows(x, np.arange(780), length)
    order = min(length - 1, 8)
    last = whole[:, -order - 1 :].astype(np.float64)
    inputs, targets = last[:, :-1].reshape(780, -1), last[:, -1]
    ridge = linear_model.Ridge(alpha=PENALTY * 780).fit(inputs / inputs.std(axis=0), targets)
    square = np.square(targets - ridge.predict(inputs / inputs.std(axis=0))).mean(axis=0)
    wanted = np.stack(
        [
            ridge.predict(whole[:, t - order : t].reshape(780, -1) / inputs.std(axis=0))
            for t in range(order, length)
        ],
        axis=1,
    )
    errors = np.square(whole[:, order:] - wanted) / square
    weight = np.ones((790, length), np.float32)
    weight[780:, 0] = 0
    padded = np.concatenate([whole, np.full((10, length, 2), 9.0, np.float32)])
    for model in (
        RidgeForecast.from_moments(WindowMoments.of(x, np.arange(780), length)),
        RidgeForecast.fit(padded, weight),
    ):
        assert model.windows == 780
        assert np.allclose(model.reconstruct(whole)[:, order:], wanted, rtol=1e-5, atol=1e-6)
        assert np.allclose(model.reconstruct(whole)[:, :order], targets.mean(axis=0), rtol=1e-4)
        found = model.errors(whole)
        assert found.dtype == np.float32
        assert np.allclose(found[:, order:], errors, rtol=1e-4, atol=1e-6)
        assert np.allclose(
            found[:, :order], errors.mean(axis=1, keepdims=True), rtol=1e-4, atol=1e-6
        )
        assert np.allclose(found[:, -1].mean(axis=0), 1, rtol=1e-4)


def test_the_batch_does_not_matter_and_a_forecast_loads_equal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = windows(events(500, 3), np.arange(480), 12)
    model = RidgeForecast.fit(whole, np.ones((480, 12), np.float32))
    errors = model.errors(whole)
    assert (
        np.abs(np.concatenate([model.errors(whole[i : i + 1]) for i in range(480)]) - errors).max()
        <= 1e-5
    )
    assert np.array_equal(RidgeForecast.load(model.spec(), model.arrays()).errors(whole), errors)
    monkeypatch.setattr("foreshock.windows.models.ridge_forecast.CHUNK", 100)
    assert np.abs(model.errors(whole) - errors).max() <= 1e-5
    assert model.errors(whole[:0]).shape == (0, 12, 3)


def bad(kind: str) -> Array:
    x = events(400, 4)
    if kind == "constant":
        x[:, 1] = 0.1
    elif kind == "all constant":
        x[:] = 7.3
    elif kind == "zero":
        x[:] = 0
    elif kind == "duplicate":
        x[:, 2] = x[:, 0]
        x[:, 3] = 3 * x[:, 0]
    elif kind == "scales":
        x *= np.array([1e-12, 1, 1e6, 1e12], np.float32)
    elif kind == "ramp":
        x[:] = np.arange(400)[:, None]
    elif kind == "few":
        x = x[:14]
    return x


@pytest.mark.parametrize(
    "kind", ["constant", "all constant", "zero", "duplicate", "scales", "ramp", "few"]
)
def test_bad_conditioning_gives_finite_forecasts(kind: str) -> None:
    x = bad(kind)
    starts = np.arange(len(x) - 11)
    whole = windows(x, starts, 12)
    found = WindowMoments.of(x, starts, 12)
    for penalty in (0.0, 1e-9, 1.0):
        assert all(np.isfinite(part).all() for part in ridge_from_moments(found, 8, penalty))
    for model in (
        RidgeForecast.from_moments(found),
        RidgeForecast.fit(whole, np.ones(whole.shape[:2], np.float32)),
    ):
        errors = model.errors(whole)
        assert np.isfinite(errors).all()
        assert errors[:, -1].mean(axis=0).max() <= 1.01  # 0 or 1: less, where all is forecast right
        assert np.isfinite(model.errors(whole + np.float32(1))).all()
    if kind in ("constant", "all constant", "zero"):
        assert model.mean_square[1] == 1
        assert errors[..., 1].max() < 1e-9
        assert model.errors(whole + np.float32(2))[..., 1].min() > 0.5
    assert np.isfinite(PCA.from_moments(found).errors(whole)).all()


def test_copies_of_an_input_share_its_coefficient() -> None:
    x = events(400, 1)
    alone, _ = ridge_from_moments(WindowMoments.of(x, np.arange(390), 3), 2, 0.0)
    twice, _ = ridge_from_moments(
        WindowMoments.of(np.repeat(x, 2, axis=1), np.arange(390), 3), 2, 0.0
    )
    assert np.allclose(twice.reshape(2, 2, 2), alone[:, :, None] / 2, atol=1e-7)


def test_a_window_too_short_or_too_few_is_a_data_error() -> None:
    x = events(40, 2)
    with pytest.raises(DataError, match=r"window\.length of 2"):
        RidgeForecast.from_moments(WindowMoments.of(x, np.arange(40), 1))
    with pytest.raises(DataError, match="1 whole training windows"):
        RidgeForecast.from_moments(WindowMoments.of(x, np.array([3]), 6))
    with pytest.raises(DataError, match="0 whole training windows"):
        RidgeForecast.fit(np.ones((3, 4, 2), np.float32), np.zeros((3, 4), np.float32))
    with pytest.raises(DataError, match="6 rows before"):
        ridge_from_moments(WindowMoments.of(x, np.arange(30), 6), 6, 1.0)
