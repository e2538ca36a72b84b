"""What model cards state, decided: each claim gets a verdict and the computation that led to it.

`verdicts` decides every claim of ``reference/cards.csv``; how a kind of claim is decided is one short function, from
the configuration (`arithmetic`), from constants that are named with their source (`outside`), from published reports
(`reported`) or from committed runs (`measured`, `speed`, `compatible`). Nothing is measured.
"""

from .evidence import Evidence, gather
from .outside import constants
from .reported import models_by_report
from .shapes import sizes
from .verdicts import by_card, verdict_counts, verdicts

__all__ = [
    "Evidence",
    "by_card",
    "constants",
    "gather",
    "models_by_report",
    "sizes",
    "verdict_counts",
    "verdicts",
]
