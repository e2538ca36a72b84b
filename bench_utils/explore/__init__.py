"""Exploring: every run under ``results/``, chosen by hand, drawn at once; for looking, never for a verdict."""

from .explorer import Explorer
from .selection import Selection

__all__ = ["Explorer", "Selection"]
