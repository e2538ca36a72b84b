"""A matplotlib figure as bytes: the same figure gives the same SVG and PNG, whenever and wherever drawn."""

import io
from typing import NamedTuple

from .pictures import SVG_LIMIT, compact_svg, slim_svg

PNG_DPI = 160  # sharp on dense screens; a report's figure stays below 100 KB
CSS_DPI = 96  # pixels an inch, by definition of CSS

_STYLE = {"svg.hashsalt": "bench", "svg.fonttype": "path", "svg.image_inline": True}


class Drawing(NamedTuple):
    """A drawn figure: SVG (None above the size limit), PNG bytes, and its size in CSS pixels."""

    svg: str | None
    png: bytes
    width: int
    height: int


def draw(figure: object) -> Drawing:
    """Draw a figure, or the figure of axes or of a seaborn grid, and close it.

    Raises TypeError for anything else.
    """
    import matplotlib

    canvas = _figure_of(figure)
    with matplotlib.rc_context(_STYLE):
        svg = compact_svg(slim_svg(_saved(canvas, "svg", metadata={"Date": None, "Creator": None}).decode("utf-8")))
        png = _saved(canvas, "png", dpi=PNG_DPI, metadata={"Software": None})
    width, height = (round(inches * CSS_DPI) for inches in canvas.get_size_inches())
    _close(canvas)
    return Drawing(svg if len(svg.encode()) <= SVG_LIMIT else None, png, width, height)


def _figure_of(thing: object) -> object:
    while hasattr(thing, "flat"):  # an array of axes
        thing = thing.flat[0]
    if not hasattr(thing, "savefig") or hasattr(thing, "figure"):
        thing = getattr(thing, "figure", thing)
    if not hasattr(thing, "savefig"):
        raise TypeError(f"a figure or axes is needed, not {type(thing).__name__}")
    return thing


def _saved(figure: object, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind, facecolor="white", edgecolor="none", **options)
    return buffer.getvalue()


def _close(figure: object) -> None:
    """Forget the figure, so that a notebook does not show it a second time."""
    from matplotlib import pyplot

    pyplot.close(figure)
