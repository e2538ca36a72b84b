"""Figures of quality: one function a question, each takes a frame and returns the axes."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from ..figures import style
from ..formatting import significant
from .summary import ARM

_PALETTE = sns.color_palette("colorblind", 10)
_HUES = {"float32": 7, "bfloat16": 0, "float16": 9, "int8": 3, "q8_0": 1}
_MARKS = {"eager": "o", "llama.cpp": "D"}
_TICKS = [0.1, 0.2, 0.3, 0.5, 0.7, 1, 1.5, 2, 3, 5, 10]
NOTHING = "No loss is stated: no arm has trained weights here."


def losses(table: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Loss of each arm with its interval over documents, in nats a token; perplexity is written beside it."""
    with style():
        if table.empty:
            return _empty(ax)
        ax = ax or plt.subplots(figsize=(8, 1.0 + 0.3 * len(table)))[1]
        several = table["task"].nunique() > 1
        for y, row in enumerate(table.itertuples()):
            hue = _colour(row.dtype)
            ax.plot([row.loss_low, row.loss_high], [y, y], color=hue, lw=2)
            ax.plot(row.loss, y, _MARKS[row.variant], color=hue, ms=6)
            label = f"perplexity {significant(row.perplexity, 4)}"
            place = {"xycoords": ("axes fraction", "data"), "va": "center", "fontsize": 8, "annotation_clip": False}
            ax.annotate(label, (1.01, y), **place)
        ax.set_yticks(range(len(table)), [_label(row, several) for _, row in table.iterrows()])
        ax.set_ylim(len(table) - 0.4, -0.6)
        ax.xaxis.set_major_locator(MaxNLocator(6))
        ax.grid(axis="x", color="0.93")
        ax.set_xlabel("loss in nats a token, with its interval over documents")
    return ax


def cost(table: pd.DataFrame, axes: np.ndarray | None = None) -> np.ndarray:
    """What a variant's speed costs in loss: latency and loss of each arm side by side, with intervals.

    ``table`` comes from ``beside``; both panels compare with eager float32 of the same model. Where one of the two is
    missing, the panel says so; arms that have neither are left out.
    """
    shown = table[table["latency"].notna() | table["difference"].notna()]
    with style():
        if axes is None:
            _, axes = plt.subplots(1, 2, sharey=True, figsize=(8, 1.2 + 0.3 * max(1, len(shown))))
        _lanes(shown, ("latency", "latency_low", "latency_high"), 1, "not timed", axes[0])
        _lanes(shown, ("difference", "low", "high"), 0, "no loss stated", axes[1])
        several = shown["task"].nunique() > 1
        axes[0].set_yticks(range(len(shown)), [_label(row, several) for _, row in shown.iterrows()])
        axes[0].set_ylim(max(1, len(shown)) - 0.4, -0.6)
        _latency_axis(shown, axes[0])
        axes[0].set_xlabel("decode latency / that of eager float32")
        axes[1].set_xlabel("loss above that of eager float32, nats a token")
        if shown["difference"].isna().all():
            axes[1].set_xticks([])
    return axes


def _lanes(table: pd.DataFrame, columns: tuple[str, str, str], reference: float, missing: str, ax: Axes) -> None:
    """A line an arm: the value with its interval, or the words that it is missing."""
    ax.axvline(reference, color="0.4", lw=1)
    for y, (_, row) in enumerate(table.iterrows()):
        value, low, high = (row[column] for column in columns)
        if pd.isna(value):
            place = {"xycoords": ("axes fraction", "data"), "va": "center", "ha": "center", "fontsize": 8}
            veil = {"facecolor": "white", "edgecolor": "none", "pad": 1}
            ax.annotate(missing, (0.5, y), color="0.45", bbox=veil, **place)
            continue
        ax.plot([low, high], [y, y], color=_colour(row["dtype"]), lw=2)
        ax.plot(value, y, _MARKS[row["variant"]], color=_colour(row["dtype"]), ms=5, mec="none")
    ax.grid(axis="x", color="0.93")
    ax.xaxis.set_major_locator(MaxNLocator(5))


def _latency_axis(table: pd.DataFrame, ax: Axes) -> None:
    """A logarithmic axis with ticks a reader of ratios expects."""
    low, high = table["latency_low"].min(), table["latency_high"].max()
    ax.set_xscale("log")
    ax.set_xlim(*(0.8 * min(0.7, low), 1.25 * max(1.4, high)) if low == low else (0.5, 2))
    ax.xaxis.set_major_locator(FixedLocator(_TICKS))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.xaxis.set_minor_locator(NullLocator())


def _label(row: pd.Series, task: bool) -> str:
    return " · ".join(row[name] for name in ([*ARM, "task"] if task else ARM))


def _colour(dtype: str) -> tuple[float, float, float]:
    return _PALETTE[_HUES[dtype]]


def _empty(ax: Axes | None) -> Axes:
    ax = ax or plt.subplots(figsize=(8, 1.0))[1]
    ax.annotate(NOTHING, (0.5, 0.5), xycoords="axes fraction", ha="center", va="center")
    ax.set_axis_off()
    return ax
