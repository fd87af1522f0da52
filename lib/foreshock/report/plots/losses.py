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
    known_points = [
        (epoch_row.epoch, loss)
        for epoch_row, loss in zip(epochs, losses, strict=True)
        if loss is not None
    ]
    if known_points:
        epoch_numbers, known_losses = zip(*known_points, strict=True)
        axes.plot(epoch_numbers, known_losses, color=SPLIT_COLOURS[split], marker=".", label=label)


@inline_svg
def loss_curves(epochs: Sequence[EpochRow], best_epoch: int | None) -> Figure | None:
    """Losses by epoch; nothing if there was no epoch.

    best_epoch: the one whose weights were kept, drawn as a line; None: not known.
    """
    if not epochs:
        return None
    figure = Figure(figsize=(5.3, 3))
    axes = figure.add_subplot()
    training_losses = [epoch_row.loss for epoch_row in epochs]
    validation_losses = [epoch_row.validation_loss for epoch_row in epochs]
    _draw_loss(axes, epochs, training_losses, "train", "training")
    _draw_loss(axes, epochs, validation_losses, "calibration", "validation")
    if best_epoch is not None:
        axes.axvline(best_epoch, color=MUTED, linewidth=1, linestyle=":", label="kept")
    set_scale(axes, "y", np.array([*training_losses, *validation_losses], np.float64))
    axes.xaxis.set_major_locator(ticker.MaxNLocator(8, integer=True))
    axes.set(xlabel="epoch", ylabel="loss")
    axes.legend()
    return figure
