"""The training and validation loss of each epoch, and the epoch that was kept."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from foreshock.report.plots.axes import set_scale
from foreshock.report.plots.drawing import MUTED, SPLIT_COLOURS, inline_svg
from foreshock.report.records.fit import EpochRow


def _draw_loss(
    axes: Axes, epochs: Sequence[EpochRow], losses: Sequence[float | None], split: str, label: str
) -> None:
    points = [
        (row.epoch, loss) for row, loss in zip(epochs, losses, strict=True) if loss is not None
    ]
    if points:
        numbers, known = zip(*points, strict=True)
        axes.plot(numbers, known, color=SPLIT_COLOURS[split], marker=".", label=label)


@inline_svg
def loss_curves(epochs: Sequence[EpochRow], best_epoch: int | None) -> Figure | None:
    """Losses by epoch; nothing if there was no epoch."""
    if not epochs:
        return None
    figure = Figure(figsize=(5.3, 3))
    axes = figure.add_subplot()
    losses = [row.loss for row in epochs]
    validation_losses = [row.validation_loss for row in epochs]
    _draw_loss(axes, epochs, losses, "train", "training")
    _draw_loss(axes, epochs, validation_losses, "calibration", "validation")
    if best_epoch is not None:
        axes.axvline(best_epoch, color=MUTED, linewidth=1, linestyle=":", label="kept")
    set_scale(axes, "y", np.array([*losses, *validation_losses], np.float64))
    axes.xaxis.set_major_locator(ticker.MaxNLocator(8, integer=True))
    axes.set(xlabel="epoch", ylabel="loss")
    axes.legend()
    return figure
