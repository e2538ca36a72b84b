"""Figures of the cards' claims: one function a question, each takes a frame and returns the axes."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from ..claims import INCONCLUSIVE, NOT_TESTABLE, REFUTED, SUPPORTED
from ..figures import style

_PALETTE = sns.color_palette("colorblind", 10)
COLOURS = {
    SUPPORTED: _PALETTE[0], REFUTED: _PALETTE[3], INCONCLUSIVE: _PALETTE[1], NOT_TESTABLE: (0.85, 0.85, 0.85),
}  # fmt: skip
_ROOM = 1  # claims that a number fits into


def verdicts_by_card(table: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Claims of each card by verdict; `table` comes from ``verdict_counts``."""
    with style():
        ax = ax or plt.subplots(figsize=(8, 1.0 + 0.4 * len(table)))[1]
        left = np.zeros(len(table))
        for verdict, colour in COLOURS.items():
            values = table[verdict].to_numpy()
            ax.barh(range(len(table)), values, left=left, color=colour, height=0.68, label=verdict)
            ink = "0.25" if verdict in (NOT_TESTABLE, INCONCLUSIVE) else "white"
            for y, (start, value) in enumerate(zip(left, values, strict=True)):
                if value >= _ROOM:
                    place = (start + value / 2, y)
                    ax.annotate(f"{value:.0f}", place, ha="center", va="center", color=ink, fontsize=8)
            left += values
        ax.set_yticks(range(len(table)), table.index)
        ax.invert_yaxis()
        ax.set_xlabel("claims")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.legend(frameon=False, ncols=4, loc="lower left", bbox_to_anchor=(0, 1.0), borderaxespad=0.2)
    return ax
