"""Where a view ends up: bytes of a picture, and whether anybody is there to move a control."""

from __future__ import annotations

import io
import os

from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ..figures import style

# What makes the same figure the same bytes.
_METADATA = {"svg": {"Date": None, "Creator": None}, "png": {"Software": None}}
_SVG = {"svg.hashsalt": "bench", "svg.fonttype": "path"}


def picture(figure: Figure) -> bytes:
    """The figure as PNG, drawn once: savefig would draw it a second time to lay it out."""
    buffer = io.BytesIO()
    with style():
        FigureCanvasAgg(figure).print_png(buffer, pil_kwargs={"compress_level": 1})
    return buffer.getvalue()


def saved(figure: Figure, kind: str) -> bytes:
    """The figure as ``svg`` or ``png``, to be kept."""
    buffer = io.BytesIO()
    with style(), rc_context(_SVG):
        figure.savefig(buffer, format=kind, facecolor="white", metadata=_METADATA[kind])
    return buffer.getvalue()


def has_front_end() -> bool:
    """Whether somebody can move a control: a kernel whose front end would also answer a question.

    The request that runs a cell says so; papermill and nbconvert say that they would not.
    """
    from IPython import get_ipython

    kernel = getattr(get_ipython(), "kernel", None)
    if kernel is None or os.environ.get("BENCH_EXECUTED"):
        return False
    return bool(kernel.get_parent("shell").get("content", {}).get("allow_stdin"))
