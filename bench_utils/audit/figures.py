"""Figures of the audit: one function a question, each takes a frame and returns the axes."""

from __future__ import annotations

from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from ..figures import style
from ..formatting import count, significant
from .control import LIMIT_PCT
from .verdicts import DIFFERS, NOT_RECOMPUTABLE, REPRODUCES

_PALETTE = sns.color_palette("colorblind", 10)
COLOURS = {REPRODUCES: _PALETTE[0], DIFFERS: _PALETTE[3], NOT_RECOMPUTABLE: (0.85, 0.85, 0.85)}
_ARMS = {
    "ollama": _PALETTE[1], "transformers-gpu": _PALETTE[7], "transformers-gpu-compile": _PALETTE[0],
    "baseline": _PALETTE[3], "padded": _PALETTE[2], "dynamic=True": _PALETTE[4],
}  # fmt: skip


def verdicts_by_report(table: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Published numbers of each report by verdict; `table` comes from ``verdict_counts``."""
    with style():
        ax = ax or plt.subplots(figsize=(8, 0.9 + 0.36 * len(table)))[1]
        left = np.zeros(len(table))
        for verdict, colour in COLOURS.items():
            values = table[verdict].to_numpy()
            ax.barh(range(len(table)), values, left=left, color=colour, height=0.68, label=verdict)
            for y, (start, value) in enumerate(zip(left, values, strict=True)):
                _count_label(ax, start, value, y, verdict)
            left += values
        ax.set_yticks(range(len(table)), table.index)
        ax.invert_yaxis()
        ax.set_xlabel("published numbers")
        ax.legend(frameon=False, ncols=3, loc="lower left", bbox_to_anchor=(0, 1.0), borderaxespad=0.2)
    return ax


def _count_label(ax: Axes, start: float, value: float, y: int, verdict: str) -> None:
    if value >= 4:  # fewer leave no room for a number
        ink = "0.25" if verdict == NOT_RECOMPUTABLE else "white"
        ax.annotate(f"{value:.0f}", (start + value / 2, y), ha="center", va="center", color=ink, fontsize=8)


def like_for_like(table: pd.DataFrame, axes: np.ndarray | None = None) -> np.ndarray:
    """Mean latency of each arm over its own models and over the shared ones, a panel a comparison.

    Lines that cross are rankings that change. Comparisons without a shared model are left out.
    """
    table = table.dropna(subset=["common_ms"])
    names = list(dict.fromkeys(table["comparison"]))
    with style():
        if axes is None:
            rows = -(-len(names) // 3)
            axes = plt.subplots(rows, 3, figsize=(8, 2.5 * rows), squeeze=False)[1]
        for ax, name in zip(axes.flat, names, strict=False):
            _slopes(table[table["comparison"] == name], name, ax)
        for ax in axes.flat[len(names) :]:
            ax.axis("off")
        _arm_legend(axes.flat[-1], table)
    return axes


def _slopes(arms: pd.DataFrame, name: str, ax: Axes) -> None:
    for arm in arms.itertuples():
        ax.plot([0, 1], [arm.published_ms, arm.common_ms], "o-", color=_ARMS[arm.arm], lw=2, ms=6, mec="white")
    for x, column, side in ((0, "published_ms", "right"), (1, "common_ms", "left")):
        _end_labels(ax, arms[column], x, side)
    ax.set_xticks([0, 1], ["own models", "same models"])
    ax.set(xlim=(-0.5, 1.5), yscale="log", yticks=[])
    ax.minorticks_off()
    ax.margins(y=0.12)
    ax.spines["left"].set_visible(False)
    ax.set_title(name, fontsize=9)


def _end_labels(ax: Axes, values: pd.Series, x: int, side: str) -> None:
    """Milliseconds beside the dots; labels of dots that nearly touch are moved apart."""
    values = values.sort_values().to_numpy()
    close = np.diff(np.log(values)) < 0.09 * np.log(values[-1] / values[0])
    shift = np.zeros(len(values))
    shift[:-1] -= 5 * close
    shift[1:] += 5 * close
    for value, points in zip(values, shift, strict=True):
        text = f"{value:.1f}" if value < 100 else f"{value:,.0f}"
        place = (-6 if side == "right" else 6, points)
        ax.annotate(text, (x, value), xytext=place, textcoords="offset points", ha=side, va="center", fontsize=8)


def _arm_legend(ax: Axes, table: pd.DataFrame) -> None:
    marks = [plt.Line2D([], [], color=_ARMS[arm], marker="o", lw=2, label=arm) for arm in dict.fromkeys(table["arm"])]
    ax.legend(handles=marks, frameon=False, loc="center left", fontsize=8)


def control_drift(table: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """How far each control cell moved, a line a group; filled where it moved beyond the limits (grey band: percent)."""
    groups = list(dict.fromkeys(table["group"]))
    with style():
        ax = ax or plt.subplots(figsize=(8, 0.9 + 0.36 * len(groups)))[1]
        ax.axvspan(-LIMIT_PCT, LIMIT_PCT, color="0.92", lw=0, zorder=0)
        ax.axvline(0, color="0.4", lw=1)
        for y, group in enumerate(groups):
            mine = table[table["group"] == group]
            for moved, face in ((True, COLOURS[DIFFERS]), (False, "white")):
                some = mine[mine["moved"] == moved]
                ink = COLOURS[DIFFERS] if moved else "0.45"
                ax.plot(some["drift_pct"], np.full(len(some), y), "o", mfc=face, mec=ink, ms=6, alpha=0.75)
            _furthest(ax, mine, y)
        ax.set_yticks(range(len(groups)), groups)
        ax.set_ylim(len(groups) - 0.5, -0.5)
        ax.set_xlim(right=table["drift_pct"].max() * 1.3)
        ax.set_xlabel("change of the control's mean latency, %")
        ax.grid(axis="x", color="0.93")
    return ax


def _furthest(ax: Axes, cells: pd.DataFrame, y: int) -> None:
    row = cells.loc[cells["drift_pct"].abs().idxmax()]
    words = f"{row['model'].split(' ')[0]}, {row['phase']} {row['drift_pct']:+.0f} %"
    x = max(row["drift_pct"], cells["drift_pct"].max())
    ax.annotate(words, (x, y), xytext=(7, 0), textcoords="offset points", va="center", fontsize=8, color="0.3")


def how_far_off(audit: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Recomputed over published, for numbers that do not reproduce by more than a tenth: left is overstated.

    p values are left out: their ratio means nothing. Beside each, what was published and what its inputs give.
    """
    table = _ratios(audit)
    with style():
        ax = ax or plt.subplots(figsize=(8, 0.8 + 0.22 * len(table)))[1]
        ax.axvline(1, color="0.4", lw=1)
        for y, row in enumerate(table.itertuples()):
            ax.plot([1, row.ratio], [y, y], color="0.8", lw=1.5, zorder=1)
            ax.plot(row.ratio, y, "o", color=COLOURS[DIFFERS], ms=6)
            ax.annotate(_both(row), (1.01, y), xycoords=("axes fraction", "data"), va="center", fontsize=8)
        labels = [f"{row.report}: {_short(row.claim)}" for row in table.itertuples()]
        ax.set_yticks(range(len(table)), labels, fontsize=8)
        ax.set_ylim(len(table) - 0.5, -0.5)
        ax.set_xscale("log")
        ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        ax.xaxis.set_minor_formatter(NullFormatter())
        ax.set_xlabel("recomputed / published")
        ax.grid(axis="x", color="0.93")
    return ax


def _both(row: NamedTuple) -> str:
    value = count(row.recomputed) if float(row.recomputed).is_integer() else significant(row.recomputed)
    return f"{row.published} → {value} {row.unit}".rstrip()


def _ratios(audit: pd.DataFrame) -> pd.DataFrame:
    table = audit[(audit["verdict"] == DIFFERS) & (audit["metric"] != "p_value")]
    table = table.assign(ratio=table["recomputed"] / pd.to_numeric(table["published"]))
    return table[np.log(table["ratio"]).abs() > np.log(1.1)].sort_values("ratio")


def _short(claim: str) -> str:
    return claim if len(claim) < 48 else f"{claim[:46]}…"
