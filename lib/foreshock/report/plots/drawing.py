"""How a figure becomes inline SVG that follows the page: its font, its colours, its dark mode.

Text stays text and colours are the page's CSS variables. Dense points are drawn as an embedded
picture, which keeps the page small.
"""

from __future__ import annotations

import hashlib
import io
import re
import warnings
from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec

import matplotlib as mpl
from matplotlib.figure import Figure

Parameters = ParamSpec("Parameters")

INK, MUTED, LINE, CARD = "#1f2934", "#66717f", "#dfe4ea", "#fdfdfe"
ALARM, KNOWN, PLAIN = "#c9304f", "#7a3fc4", "#4f86c6"
SPLIT_COLOURS = {
    "train": "#7d8896",
    "out_of_fold": "#2a8f78",
    "calibration": "#2b78c9",
    "test": "#d9691e",
}
CSS_VARIABLES = {
    INK: "ink",
    MUTED: "muted",
    LINE: "line",
    CARD: "card",
    ALARM: "alarm",
    KNOWN: "known",
    PLAIN: "plain",
    **{colour: split for split, colour in SPLIT_COLOURS.items()},
}
# Any: matplotlib types the keys as one long literal, which no plain dict of ours satisfies.
FIGURE_STYLE: Any = {
    "svg.fonttype": "none",
    # Without a salt ids differ from run to run.
    "svg.hashsalt": "foreshock",
    # A feature's name may hold dollars, which would begin a formula.
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


def inline_svg(draw: Callable[Parameters, Figure | None]) -> Callable[Parameters, str]:
    """The function that draws a figure, made to give it as SVG to stand in the page.

    The result is "" if the function draws nothing.
    """

    @wraps(draw)
    def draw_inline(*args: Parameters.args, **kwargs: Parameters.kwargs) -> str:
        with mpl.rc_context(FIGURE_STYLE), warnings.catch_warnings():
            # This machine's font may lack glyphs that the reader's has.
            warnings.simplefilter("ignore", UserWarning)
            figure = draw(*args, **kwargs)
            if figure is None:
                return ""
            # Without a date the same data give the same bytes, whatever day it is.
            svg_buffer = io.StringIO()
            figure.savefig(svg_buffer, format="svg", dpi=170, metadata={"Date": None})
        return fit_to_page(svg_buffer.getvalue())

    return draw_inline


def fit_to_page(svg: str) -> str:
    """SVG as matplotlib writes it, made to share a page with others.

    Ids get a prefix, for many figures share one page. Fixed sizes, fonts and colours give way to
    the page's.
    """
    # The digest of the drawing: two figures differ, and a figure has the same ids in every run.
    id_prefix = "f" + hashlib.sha256(svg.encode()).hexdigest()[:8]
    drawing = svg[svg.index("<svg") :]
    drawing = re.sub(
        r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", drawing, flags=re.S
    )
    svg_head, svg_body = drawing.split(">", 1)
    svg_body = re.sub(r' id="([^"]+)"', rf' id="{id_prefix}-\1"', svg_body)
    svg_body = re.sub(r'(?:xlink:)?href="#', f'href="#{id_prefix}-', svg_body).replace(
        "xlink:href=", "href="
    )
    svg_body = re.sub(r"url\(#", f"url(#{id_prefix}-", svg_body)
    svg_body = re.sub(r"font: (?:[a-z0-9]+ )*?([\d.]+)px [^;\"]+", r"font-size: \1px", svg_body)
    # Variables, not values: dark mode has colours of its own for the same things.
    for colour, css_variable in CSS_VARIABLES.items():
        svg_body = svg_body.replace(colour, f"var(--{css_variable})")
    view_box = "".join(re.findall(r'viewBox="[^"]+"', svg_head))
    return f'<svg {view_box} aria-hidden="true">{svg_body.strip()}'
