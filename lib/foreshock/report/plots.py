"""The report's figures, each a string of inline SVG, or "" where there is nothing to draw.

Text stays text and colours are the page's CSS variables, so a figure follows the page's font and its dark mode. Dense
points are drawn as an embedded picture, which keeps the page small.
"""

from __future__ import annotations

import hashlib
import io
import re
import warnings
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import wraps
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib import dates, ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure

Row = dict[str, Any]
Floats = npt.NDArray[np.float64]
Curves = dict[
    str, tuple[Floats, Floats]
]  # split → (values, share of events at or below each), ascending
INK, MUTED, LINE, CARD = "#1f2934", "#66717f", "#dfe4ea", "#fdfdfe"
ALARM, KNOWN, PLAIN = "#c9304f", "#7a3fc4", "#4f86c6"
SPLITS = {"train": "#7d8896", "out_of_fold": "#2a8f78", "calibration": "#2b78c9", "test": "#d9691e"}
VARIABLES = {
    INK: "ink",
    MUTED: "muted",
    LINE: "line",
    CARD: "card",
    ALARM: "alarm",
    KNOWN: "known",
    PLAIN: "plain",
    **{colour: split for split, colour in SPLITS.items()},
}
STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "foreshock",
    "text.parse_math": False,
    "font.size": 9,
    "text.color": INK,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": MUTED,
    "axes.linewidth": 0.6,
    "axes.titlesize": 9.5,
    "axes.grid": True,
    "axes.titlelocation": "left",
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "figure.constrained_layout.use": True,
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.major.size": 3,
    "ytick.major.size": 0,
    "xtick.minor.visible": False,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "legend.handlelength": 1.4,
}
MOST_POINTS, MOST_MARKED = 20_000, 800


def _inline(draw: Callable[..., Figure | None]) -> Callable[..., str]:
    @wraps(draw)
    def inline(*args: Any, **kwargs: Any) -> str:
        out = io.StringIO()
        with mpl.rc_context(STYLE), warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", UserWarning
            )  # glyphs this machine's font lacks: the reader's has them
            if figure := draw(*args, **kwargs):
                figure.savefig(out, format="svg", dpi=170, metadata={"Date": None})
        return _tidy(out.getvalue()) if figure else ""

    return inline


def _tidy(svg: str) -> str:
    # Ids get a prefix of their own (many figures share one page); fixed sizes, fonts and colours give way to the page's.
    prefix = "f" + hashlib.sha256(svg.encode()).hexdigest()[:8]
    svg = re.sub(
        r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->",
        "",
        svg[svg.index("<svg") :],
        flags=re.S,
    )
    head, body = svg.split(">", 1)
    body = re.sub(r' id="([^"]+)"', rf' id="{prefix}-\1"', body)
    body = re.sub(r'(?:xlink:)?href="#', f'href="#{prefix}-', body).replace("xlink:href=", "href=")
    body = re.sub(r"url\(#", f"url(#{prefix}-", body)
    body = re.sub(r"font: (?:[a-z0-9]+ )*?([\d.]+)px [^;\"]+", r"font-size: \1px", body)
    for colour, variable in VARIABLES.items():
        body = body.replace(colour, f"var(--{variable})")
    return (
        "<svg "
        + "".join(re.findall(r'viewBox="[^"]+"', head))
        + f' aria-hidden="true">{body.strip()}'
    )


def tick(value: float, _: object = None) -> str:
    """A short label of an axis value."""
    size = abs(value)
    if size and (size >= 1e6 or size < 1e-4):
        return f"{value:.3g}".replace("e+0", "e").replace("e-0", "e-").replace("e+", "e")
    return f"{value:,.0f}" if size >= 1000 else f"{value:.4g}"


def moment(text: object) -> datetime | None:
    """A time of day without zone (UTC) from ISO text; null where it is none."""
    try:
        when = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return when.astimezone(UTC).replace(tzinfo=None) if when.tzinfo else when


def _scale(axes: Axes, which: str, values: Any) -> None:
    # Logarithmic where all is positive and spread wide; asinh where a heavy tail has values at or below zero.
    values = np.asarray(values, np.float64)
    values = (
        values[np.isfinite(values)] if np.isfinite(values).any() else np.zeros(1)
    )  # null arrives here as NaN
    low, middle, high = float(values.min()), float(np.median(np.abs(values))), float(values.max())
    axis = axes.xaxis if which == "x" else axes.yaxis
    if low > 0 and high / low > 8:
        axes.set(**{f"{which}scale": "log"})  # type: ignore[arg-type]
        axis.set_major_locator(
            ticker.LogLocator(subs=(1.0,) if high / low > 300 else (1.0, 2.0, 5.0), numticks=9)
        )
    elif low <= 0 < middle and high > 50 * middle:
        (axes.set_xscale if which == "x" else axes.set_yscale)("asinh", linear_width=middle)
    axis.set_minor_locator(ticker.NullLocator())
    axis.set_major_formatter(ticker.FuncFormatter(tick))


def _limit(axes: Axes, limit: Row | None, upright: bool = False) -> None:
    if limit and limit.get("threshold") is not None:
        line, span = (axes.axvline, axes.axvspan) if upright else (axes.axhline, axes.axhspan)
        if limit.get("ci_low") is not None and limit.get("ci_high") is not None:
            span(limit["ci_low"], limit["ci_high"], color=ALARM, alpha=0.14, linewidth=0)
        line(
            limit["threshold"],
            color=ALARM,
            linewidth=1.2,
            ls=(0, (5, 2)),
            label=f"threshold {tick(limit['threshold'])}",
        )


def _scores(figure: Figure, axes: Axes, values: Any) -> Figure:
    _scale(axes, "y", values)
    axes.set_ylabel("score")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside upper left", ncols=5)
    return figure


@_inline
def distribution(
    curves: Curves, limit: Row | None, tail: bool, title: str, small: bool = False
) -> Figure | None:
    """The scores of each split on one axis with the threshold and its interval: where most lie, or how the tail falls."""
    if not curves:
        return None
    # The lowest thousandth is left out: a few events close to 0 would stretch a logarithmic axis for nothing.
    low, middle = (
        min(float(np.interp(at, shares, values)) for values, shares in curves.values())
        for at in (0.001, 0.5)
    )
    high = max(float(values[-1]) for values, _ in curves.values())
    low = max(low, middle * 1e-5) if low >= 0 else low
    figure = Figure(figsize=(3.6, 2.5) if small else (5.3, 3.4))
    axes = figure.add_subplot()
    _scale(axes, "x", [low, middle, high])
    way = axes.xaxis.get_transform()
    first, last = way.transform(
        np.array([low, high] if high > low else [low - 0.5, low + 0.5])
    ).tolist()
    grid = np.asarray(way.inverted().transform(np.linspace(first, last, 281)), np.float64)
    for name, (values, shares) in curves.items():
        if tail:
            at = np.unique(np.concatenate([grid, values[-60:]]))
            above = 1 - np.interp(at, values, shares)
            axes.plot(
                at[above > 0], above[above > 0], color=SPLITS[name], label=name, linewidth=1.5
            )
        else:
            share, edges = np.diff(np.interp(grid[::4], values, shares, left=0.0)), grid[::4]
            axes.stairs(share, edges, color=SPLITS[name], label=name, linewidth=1.3)
            axes.stairs(share, edges, color=SPLITS[name], fill=True, alpha=0.16, linewidth=0)
    _limit(axes, limit, upright=True)
    axes.set(xlabel="score", title=title, yscale="log" if tail else "linear")
    axes.set_ylabel("events above" if tail else "events in each step")
    axes.yaxis.set_minor_locator(ticker.NullLocator())
    axes.yaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{100 * value:g} %"))
    if not small:
        axes.legend(loc="lower left" if tail else "best")
    return figure


@_inline
def timeline(events: Sequence[Row], limits: Sequence[Row]) -> Figure | None:
    """Scores over time: all events as dots, the flagged ones and the known anomalies marked, and the thresholds."""
    rows = [
        (when, row)
        for row in events
        if row.get("score") is not None and (when := moment(row.get("event_time")))
    ]
    rows.sort(key=lambda pair: pair[0])
    if not rows:
        return None
    figure = Figure(figsize=(10, 3.6))
    axes = figure.add_subplot()
    dot: dict[str, Any] = {
        "s": 5,
        "color": PLAIN,
        "alpha": 0.45,
        "linewidths": 0,
        "rasterized": True,
    }
    ring: dict[str, Any] = {"s": 34, "facecolors": "none", "edgecolors": KNOWN, "linewidths": 1}
    others, flagged = (
        [pair for pair in rows if bool(pair[1].get("is_anomaly")) is wanted]
        for wanted in (False, True)
    )
    known = [pair for pair in rows if pair[1].get("label") == 1]
    for name, pairs, most, style in (
        ("not flagged", others, MOST_POINTS, dot),
        ("known anomaly", known, MOST_MARKED, ring),
        ("flagged", flagged, MOST_MARKED, {"s": 13, "color": ALARM, "linewidths": 0}),
    ):
        if kept := pairs[:: max(1, -(-len(pairs) // most))]:
            axes.scatter(
                dates.date2num([when for when, _ in kept]),
                [row["score"] for _, row in kept],
                label=name,
                **style,
            )
    for limit in limits[:4]:
        _limit(axes, limit)
    _calendar(axes)
    return _scores(figure, axes, [row["score"] for _, row in rows])


def _calendar(axes: Axes) -> None:
    locator = dates.AutoDateLocator(maxticks=9)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(dates.ConciseDateFormatter(locator))


@_inline
def by_partition(series: dict[str, Sequence[Row]], limit: Row | None, mark: str) -> Figure | None:
    """A bar from `low` to `high` and a mark at `value` by partition: on a calendar where all are dates without long gaps.

    A series is named for its split (which colours it) or for what its threshold was fitted on; `self` has hollow marks.
    """
    names = sorted({str(row["partition"]) for rows in series.values() for row in rows})
    if not names:
        return None
    axes = (figure := Figure(figsize=(10, 3))).add_subplot()
    days = dates.date2num([time for name in names if (time := moment(name))])
    steps = np.diff(days) if len(days) > 1 else np.ones(1)
    if calendar := len(days) == len(names) and bool(
        np.ptp(days) <= 3 * len(days) * np.median(steps)
    ):
        _calendar(axes)
    else:
        shown = range(0, len(names), -(-len(names) // 12))
        axes.set_xticks(
            list(shown), [names[at][:20] for at in shown], rotation=20 if len(names) > 6 else 0
        )
    places = {name: float(days[at]) if calendar else float(at) for at, name in enumerate(names)}
    for name, rows in series.items():
        x = [places[str(row["partition"])] for row in rows]
        low, high, value = (
            np.array([row.get(key) for row in rows], np.float64) for key in ("low", "high", "value")
        )
        colour = SPLITS.get(name, SPLITS["test"] if name == "self" else SPLITS["calibration"])
        axes.vlines(
            x,
            low,
            high,
            color=colour,
            lw=min(6 if mark == "^" else 2, max(1.2, 400 / len(names))),
            alpha=0.5,
        )
        axes.plot(
            x,
            value,
            mark,
            color=colour,
            mfc=CARD if name == "self" else colour,
            markersize=4,
            ls="none",
            label=name,
        )
    _limit(axes, limit)
    return _scores(
        figure,
        axes,
        [row.get(key) for rows in series.values() for row in rows for key in ("low", "value")],
    )


@_inline
def window(event: Row, shown: Sequence[int]) -> Figure | None:
    """An event's window: the features to be shown with their reconstruction, and the error of each step."""
    if not shown:
        return None
    x, back, errors = (
        np.array(event.get(key) or [], np.float64) for key in ("x", "reconstruction", "errors")
    )
    steps, count = np.arange(1, len(x) + 1), len(shown) + (len(errors) > 0)
    figure = Figure(figsize=(7, 0.5 + 0.7 * count))
    panels = figure.subplots(count, 1, sharex=True, squeeze=False)[:, 0]
    for axes, at in zip(panels, shown, strict=False):
        axes.plot(
            steps,
            x[:, at],
            color=SPLITS["calibration"],
            lw=1.3,
            marker="." * (len(x) <= 60),
            ms=3,
            label="value",
        )
        if len(back):
            axes.plot(
                steps,
                back[:, at],
                color=SPLITS["test"],
                linewidth=1.3,
                ls=(0, (4, 2)),
                label="reconstruction",
            )
        axes.set_title(str(event["features"][at])[:60], fontsize=8.5, pad=2)
    if len(errors):
        panels[-1].bar(steps, errors, color=ALARM, width=0.8)
        panels[-1].set_title("error of the step", fontsize=8.5, pad=2)
    for axes in panels:
        axes.yaxis.set_major_locator(ticker.MaxNLocator(2))
        axes.yaxis.set_major_formatter(ticker.FuncFormatter(tick))
    panels[-1].set_xlabel("step of the window")
    panels[-1].xaxis.set_major_locator(ticker.MaxNLocator(10, integer=True))
    if len(back):
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper right", ncols=2)
    return figure


@_inline
def losses(epochs: Sequence[Row], best: int | None) -> Figure | None:
    """The training and validation loss of each epoch, and the epoch that was kept."""
    figure = Figure(figsize=(5.3, 3))
    axes = figure.add_subplot()
    for key, split, label in (
        ("loss", "train", "training"),
        ("validation_loss", "calibration", "validation"),
    ):
        if points := [(row["epoch"], row[key]) for row in epochs if row.get(key) is not None]:
            axes.plot(*zip(*points, strict=True), color=SPLITS[split], marker=".", label=label)
    if best is not None:
        axes.axvline(best, color=MUTED, linewidth=1, linestyle=":", label="kept")
    _scale(axes, "y", [row.get(key) for row in epochs for key in ("loss", "validation_loss")])
    axes.xaxis.set_major_locator(ticker.MaxNLocator(8, integer=True))
    axes.set(xlabel="epoch", ylabel="loss")
    axes.legend()
    return figure if epochs else None
