"""Simulated units whose nature is known.

They are exchangeable AR(1) sequences, scored by overlapping windows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from foreshock.statistics.arrays import AnyArray
from foreshock.thresholds.conformal import Cut, fdr_cut, risk_cut, unit_maxima
from scipy.signal import lfilter

ALL, ALTERNATE, ONE = "all units", "every other unit", "one unit a sequence"


@dataclass(frozen=True)
class Setting:
    """How sequences come about.

    calibration, test: the number of sequences.
    units: units in a sequence.
    window: events in a window, and in a unit.
    memory: the AR(1) coefficient.
    shifted: the share of test sequences whose level is shifted.
    shift: their shift, in standard deviations at a scale of 1.
    spread: the standard deviation of the log scale between sequences.
    same: the test sequences have the scales of the first calibration sequences.
    """

    calibration: int = 200
    test: int = 100
    units: int = 6
    window: int = 10
    memory: float = 0.5
    shifted: float = 0.1
    shift: float = 2.0
    spread: float = 0.0
    same: bool = False


@dataclass(frozen=True)
class Outcome:
    """What came of the simulations (S,).

    fdp: false discovery proportions.
    power: the share of shifted units flagged.
    plain_fdp, plain_power: the same of the plain level.
    plain_risk: the share of null units that the plain level flags.
    without: the number of cuts that flag nothing.
    """

    fdp: AnyArray
    power: AnyArray
    plain_fdp: AnyArray
    plain_power: AnyArray
    plain_risk: AnyArray
    without: int

    def figures(self) -> dict[str, float]:
        """Means, and the standard error of the false discovery rate."""
        return {
            "FDR": float(self.fdp.mean()),
            "its standard error": float(self.fdp.std(ddof=1) / np.sqrt(len(self.fdp))),
            "power": float(self.power.mean()),
            "plain level: FDR": float(self.plain_fdp.mean()),
            "plain level: power": float(self.plain_power.mean()),
            "plain level: null units flagged": float(self.plain_risk.mean()),
            "share without a discovery": self.without / len(self.fdp),
        }


def unit_scores(
    scale: AnyArray, shift: AnyArray, setting: Setting, rng: np.random.Generator
) -> AnyArray:
    """Scores of units (sequences, units) from the scale and shift of each sequence (sequences,).

    A unit's score is the highest of its windows' scores. A window's score is the mean square of
    its `window` values.
    """
    window = setting.window
    length = (setting.units + 1) * window
    noise = rng.normal(size=(len(scale), length))
    noise[:, 1:] *= np.sqrt(1 - setting.memory**2)
    x = lfilter([1.0], [1.0, -setting.memory], noise, axis=1) * scale[:, None] + shift[:, None]
    total = np.cumsum(np.square(x), axis=1)
    scores = ((total[:, window:] - total[:, :-window]) / window).ravel()
    return unit_maxima(np.arange(len(scores)) // window, scores)[1].reshape(
        len(scale), setting.units
    )


def kept(calibration: AnyArray, scheme: str, rng: np.random.Generator) -> AnyArray:
    """The calibration scores that a scheme keeps, of (sequences, units)."""
    if scheme == ONE:
        drawn: AnyArray = calibration[
            np.arange(len(calibration)), rng.integers(0, calibration.shape[1], len(calibration))
        ]
        return drawn
    return (calibration[:, ::2] if scheme == ALTERNATE else calibration).ravel()


def _share(cut: Cut | str, test: AnyArray, shifted: AnyArray) -> tuple[float, float, float]:
    """(false discovery proportion, power, share of null units flagged), counted in units.

    A unit is null if its sequence is null.
    """
    flagged = np.zeros(test.shape, bool) if isinstance(cut, str) else test > cut.threshold
    false, true = flagged[~shifted].sum(), flagged[shifted].sum()
    return (
        float(false / max(1, false + true)),
        float(true / max(1, flagged[shifted].size)),
        float(false / max(1, flagged[~shifted].size)),
    )


def simulate(simulations: int, level: float, scheme: str, setting: Setting, seed: int) -> Outcome:
    """FDR cuts and plain ones at a level, each of new calibration and test sequences."""
    found, plain, without = [], [], 0
    for number in range(simulations):
        rng = np.random.default_rng([seed, number])
        shifted = np.arange(setting.test) < round(setting.shifted * setting.test)
        scale = np.exp(setting.spread * rng.normal(size=setting.calibration + setting.test))
        tested = scale[: setting.test] if setting.same else scale[setting.calibration :]
        calibration = kept(
            unit_scores(scale[: setting.calibration], np.zeros(setting.calibration), setting, rng),
            scheme,
            rng,
        )
        test = unit_scores(tested, setting.shift * shifted, setting, rng)
        cut = fdr_cut(calibration, test.ravel(), level)
        without += isinstance(cut, str) or cut.flagged == 0
        found.append(_share(cut, test, shifted))
        plain.append(_share(risk_cut(calibration, level), test, shifted))
    fdp, power, _ = np.array(found).T
    plain_fdp, plain_power, plain_risk = np.array(plain).T
    return Outcome(fdp, power, plain_fdp, plain_power, plain_risk, without)
