"""Every sample of a cell, drawn: how latencies are spread, and whether they drift."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from ..figures import colour, in_order, style

QUANTILES = np.linspace(0.01, 0.99, 33)  # of a round's samples; a few outliers do not flatten the rest
POINTS = 1500  # drawn in one panel: more are slower to draw and no easier to see
WIDE = 20  # ratio of the largest to the smallest latency from which an axis is logarithmic


def timed(rows: pd.DataFrame) -> pd.DataFrame:
    """The samples that have a latency."""
    return rows[(rows["role"] == "sample") & rows["latency_ms"].notna()]


def step(samples: int) -> int:
    """Every how many-th sample of a round is drawn, so that a panel has about POINTS of them."""
    return max(1, -(-samples // POINTS))


def distribution(rows: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Latencies of one cell: a lane a variant, in it a line a round from top to bottom.

    Ticks are evenly spaced QUANTILES of the round's samples, the bar its middle half, the dot its median; milliseconds.
    """
    samples = timed(rows)
    variants = in_order(samples["variant"].unique())
    with style():
        ax = ax or plt.subplots(figsize=(8, 0.9 + 0.5 * len(variants)))[1]
        for lane, variant in enumerate(variants):
            rounds = samples[samples["variant"] == variant].groupby("round")["latency_ms"]
            _lane(ax, lane, np.array([np.quantile(values, QUANTILES) for _, values in rounds]), colour(variant))
        ax.set_yticks(range(len(variants)), variants)
        ax.set_ylim(len(variants) - 0.4, -0.6)
        _scale(ax, "x", samples["latency_ms"])
    return ax


def _lane(ax: Axes, lane: int, quantiles: np.ndarray, hue: tuple) -> None:
    """One variant: ``quantiles`` are rounds × quantiles."""
    count, size = quantiles.shape
    y = lane + (np.linspace(-0.34, 0.34, count) if count > 1 else np.zeros(1))
    ax.plot(quantiles.ravel(), np.repeat(y, size), "|", color=hue, ms=6, alpha=0.45)
    ax.hlines(y, quantiles[:, size // 4], quantiles[:, -1 - size // 4], color=hue, lw=3.5)
    ax.plot(quantiles[:, size // 2], y, "o", color=hue, ms=5.5, mec="white")


def drift(rows: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Latencies of one cell in the order of time: a dot a sample, a bar a round's median, a dashed line a new round.

    Of more than POINTS samples every ``step``-th of each round is drawn; medians are over all. A control is hollow.
    The dots of a variant carry its name, for a legend.
    """
    samples = timed(rows).sort_values("started_at", kind="stable")
    samples = samples.assign(place=np.arange(len(samples)))
    rounds = samples.groupby(["variant", "round"])
    drawn = samples[rounds.cumcount() % step(len(samples)) == 0]
    bars = rounds.agg(y=("latency_ms", "median"), start=("place", "min"), end=("place", "max"))
    with style():
        ax = ax or plt.subplots(figsize=(8, 2.8))[1]
        for variant in in_order(drawn["variant"].unique()):
            mine, hue = drawn[drawn["variant"] == variant], colour(variant)
            face = "white" if variant.endswith("-again") else hue
            ax.plot(mine["place"], mine["latency_ms"], "o", ms=3, mec=hue, mfc=face, mew=0.7, label=variant)
        ax.hlines(bars["y"], bars["start"], bars["end"], color="0.15", lw=1.8, zorder=3)
        begun = samples["place"][samples["round"].diff().fillna(0) != 0] - 0.5
        ax.vlines(begun, 0, 1, transform=ax.get_xaxis_transform(), color="0.7", lw=0.8, ls="--", zorder=0)
        ax.set_xlabel("samples in order of time (dashed: a new round)")
        _scale(ax, "y", samples["latency_ms"])
    return ax


def _scale(ax: Axes, axis: str, latencies: pd.Series) -> None:
    """Milliseconds on axis ``x`` or ``y``; logarithmic where they differ by more than WIDE, which the label says."""
    if latencies.max() > WIDE * latencies.min():
        ax.set(**{f"{axis}scale": "log", f"{axis}label": "latency, ms, logarithmic"})
    else:
        ax.locator_params(axis=axis, nbins=6)
        ax.set(**{f"{axis}label": "latency, ms"})
    ax.grid(axis=axis, color="0.93")
