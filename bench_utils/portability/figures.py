"""Figures of portability: one function a question, each takes a frame and returns the axes."""

from __future__ import annotations

import textwrap

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from ..figures import style
from .outcomes import CRASHED, INVALID, SURVIVORS, SUSPECTED
from .pairs import AGREES
from .platforms import MEASURED

_PALETTE = sns.color_palette("colorblind", 10)
_GPU_HUES = {"RTX 4080 Laptop": 1, "RTX 6000 Ada": 0, "A100-SXM4": 4, "A100-SXM4-80GB": 2, "A100-PCIe-80GB": 5}
_LOST, _KEPT = _PALETTE[3], sns.color_palette("Blues", as_cmap=True)
_MODES = {"eager": "0.45", "default": _PALETTE[0], "reduce-overhead": _PALETTE[1]}
_TICKS = [0.1, 0.2, 0.5, 1, 2]
PHASES = ("prefill", "decode")
WIDTH = 6.4  # inches: on a phone's page a figure shrinks by less
_CRASH = "crashed"  # where they are drawn: right of every ratio


def _hue(gpu: str) -> tuple[float, float, float]:
    return _PALETTE[_GPU_HUES.get(gpu, 3)]


def ratios(table: pd.DataFrame, axes: np.ndarray | None = None) -> np.ndarray:
    """Compiled over eager latency of each model and mode (rows) by phase (columns); hollow is published.

    Bars are intervals. A cross is a suspected fallback, drawn where it lies; a crash has no ratio and stands at the
    right. Invalid contrasts and survivors are left out. ``table`` comes from ``outcomes``.
    """
    mine = table[table["phase"].isin(PHASES) & ~table["outcome"].isin([INVALID, SURVIVORS])]
    mine = mine[mine["ratio"].notna() | (mine["outcome"] == CRASHED)]
    lanes = sorted({(row.model, row.mode) for row in mine.itertuples()}, key=lambda lane: (_size(lane[0]), *lane))
    with style():
        if axes is None:
            shape = {"figsize": (WIDTH, 1.7 + 0.34 * len(lanes)), "sharey": True}
            axes = plt.subplots(1, len(PHASES), **shape)[1]
        for ax, phase in zip(axes, PHASES, strict=True):
            _panel(ax, mine[mine["phase"] == phase], lanes)
            ax.set_title(phase)
        axes[0].set_yticks(range(len(lanes)), [f"{model} · {mode}" for model, mode in lanes])
        axes[0].set_ylim(len(lanes) - 0.5, -0.5)
        _legend(axes[0].figure, mine)
    return axes


def _panel(ax: Axes, mine: pd.DataFrame, lanes: list[tuple[str, str]]) -> None:
    edge = _axis(ax, mine) if len(mine) else 1.0
    for y, (model, mode) in enumerate(lanes):
        rows = mine[(mine["model"] == model) & (mine["mode"] == mode)]
        shifts = np.linspace(-0.33, 0.33, len(rows)) if len(rows) > 1 else [0.0] * len(rows)
        for row, shift in zip(rows.itertuples(), shifts, strict=True):
            _mark(ax, row, y + shift, edge)
    for y in range(1, len(lanes)):
        ax.axhline(y - 0.5, color="0.93", lw=0.8, zorder=0)


def _size(model: str) -> float:
    """Orders models by the size that their names carry."""
    digits = "".join(c if c.isdigit() or c == "." else " " for c in model.rpartition("-")[2]).split()
    return float(digits[0]) * (1e3 if model.endswith("b") else 1) if digits else 0.0


def _axis(ax: Axes, mine: pd.DataFrame) -> float:
    """A logarithmic axis with room at the right for what crashed; returns where that is."""
    known = pd.concat([mine["ratio"], mine["low"], mine["high"]]).dropna()
    low, high = max(0.08, known.min() * 0.9), min(4.0, known.max() * 1.15)
    high = max(high, 1.25)
    crashed = (mine["outcome"] == CRASHED).any()
    edge = high * 1.6
    ax.set_xscale("log")
    ax.set_xlim(low, edge * 1.3 if crashed else high)
    ticks = [tick for tick in _TICKS if low <= tick <= high]
    ax.xaxis.set_major_locator(FixedLocator([*ticks, edge] if crashed else ticks))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _CRASH if crashed and value == edge else f"{value:g}"))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.axvline(1, color="0.4", lw=1)
    ax.grid(axis="x", color="0.95")
    ax.set_xlabel("compiled / eager latency")
    return edge


def _mark(ax: Axes, row, y: float, edge: float) -> None:
    hue = _hue(row.gpu)
    if row.outcome == CRASHED:
        ax.plot(edge, y, "s", mfc=hue if row.kind == MEASURED else "white", mec=hue, ms=5, mew=1.4)
        return
    if row.low == row.low:
        ax.plot([row.low, row.high], [y, y], color=hue, lw=1.6)
    if row.outcome == SUSPECTED:
        ax.plot(row.ratio, y, "x", color=hue, ms=6, mew=1.6)
    else:
        ax.plot(row.ratio, y, "o", mfc=hue if row.kind == MEASURED else "white", mec=hue, ms=5.5, mew=1.4)


def _legend(figure: Figure, mine: pd.DataFrame) -> None:
    gpus = list(dict.fromkeys(mine["gpu"]))
    marks = [plt.Line2D([], [], ls="", marker="o", color=_hue(gpu), label=gpu) for gpu in gpus]
    kinds = [("o", "white", "published"), ("o", "0.4", MEASURED), ("x", "0.4", SUSPECTED), ("s", "white", _CRASH)]
    marks += [plt.Line2D([], [], ls="", marker=m, mec="0.4", mfc=f, color="0.4", label=name) for m, f, name in kinds]
    figure.legend(handles=marks, frameon=False, fontsize=8, ncols=3, loc="outside upper center", handletextpad=0.2)


def pair_matrix(table: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Contrasts that keep their outcome, of those compared, for each pair of platforms; orange where one does not.

    The darker the blue, the more of them keep the size too. Grey pairs share contrasts of which none can be compared,
    blank ones share none. ``table`` comes from ``matrix``.
    """
    every, table = dict.fromkeys([*table["a"], *table["b"]]), table[table["shared"] > 0]
    numbers = {name: number for number, name in enumerate(every, start=1)}
    names = [name for name in every if name in {*table["a"], *table["b"]}]
    with style():
        ax = ax or plt.subplots(figsize=(WIDTH + 0.8, 0.8 + 0.4 * len(names)))[1]
        for row in table.to_dict("records"):
            x, y = sorted((names.index(row["a"]), names.index(row["b"])))
            _cell(ax, x, y, row)
        labels = [f"{_wrapped(name)}  {numbers[name]}" for name in names]
        ax.set_yticks(range(len(names)), labels, fontsize=8)
        ax.set_xticks(range(len(names)), [numbers[name] for name in names])
        ax.set_xlim(-0.5, len(names) - 1.5)
        ax.set_ylim(len(names) - 0.5, -0.5)
        ax.tick_params(length=0)
        for side in ("left", "bottom"):
            ax.spines[side].set_visible(False)
        ax.set_xlabel("outcomes kept / contrasts compared\n(grey: shared, none comparable)")
    return ax


def _wrapped(platform: str) -> str:
    """A platform's name on lines that keep a version beside what it is of."""
    return textwrap.fill(platform.replace("Triton ", "Triton\xa0").replace("torch ", "torch\xa0"), 38)


def _cell(ax: Axes, x: int, y: int, row: dict) -> None:
    size = row[AGREES] / row["compared"] if row["compared"] else 0.0
    lost = row["kept"] < row["compared"]
    face = "0.9" if not row["compared"] else _LOST if lost else _KEPT(0.15 + 0.7 * size)
    ax.add_patch(plt.Rectangle((x - 0.47, y - 0.47), 0.94, 0.94, color=face, lw=0))
    if row["compared"]:
        ink = "white" if lost or size > 0.5 else "0.2"
        text = f"{row['kept']}/{row['compared']}"
        ax.annotate(text, (x, y), ha="center", va="center", fontsize=8, color=ink)


def triton(table: pd.DataFrame, axes: np.ndarray | None = None) -> np.ndarray:
    """The control and the compiled arms over Triton versions, a panel a phase and cache; milliseconds.

    ``table`` comes from ``triton_comparison``. A cross is a suspected fallback, a square a crash, drawn on the axis: no
    latency is its own.
    """
    panels = list(dict.fromkeys(zip(table["phase"], table["cache"], strict=True)))
    versions = sorted(set(table["triton"]))
    with style():
        if axes is None:
            axes = plt.subplots(1, len(panels), figsize=(WIDTH, 2.9), squeeze=False)[1]
        for ax, (phase, cache) in zip(axes.flat, panels, strict=True):
            mine = table[(table["phase"] == phase) & (table["cache"] == cache)]
            _arms(ax, mine, versions)
            ax.set_title(f"{phase}, {cache}", fontsize=9)
            ax.set_xticks(range(len(versions)), versions)
            ax.set_xlim(-0.35, len(versions) - 0.65)
            ax.set_ylim(bottom=0, top=1.18 * mine[["eager_ms", "compiled_ms"]].max().max())
            ax.set_xlabel("Triton")
        axes.flat[0].set_ylabel("mean latency, ms")
        marks = [plt.Line2D([], [], color=hue, marker="o", mfc="white", label=mode) for mode, hue in _MODES.items()]
        marks += [plt.Line2D([], [], ls="", color="0.4", marker="x", label=SUSPECTED)]
        marks += [plt.Line2D([], [], ls="", color="0.4", marker="s", mfc="white", label=_CRASH)]
        axes.flat[0].figure.legend(
            handles=marks, frameon=False, fontsize=8, ncols=5, loc="outside upper center", columnspacing=1.0
        )
    return axes


def _arms(ax: Axes, mine: pd.DataFrame, versions: list[str]) -> None:
    control = mine.drop_duplicates("triton").set_index("triton")["eager_ms"].reindex(versions)
    if control.notna().any():
        ax.plot(range(len(versions)), control, "o-", color=_MODES["eager"], mfc="white", lw=1.4, ms=6)
    for mode, arm in mine.groupby("mode", sort=False):
        arm = arm.set_index("triton").reindex(versions)
        ax.plot(range(len(versions)), arm["compiled_ms"], "-", color=_MODES[mode], lw=1.2, alpha=0.6)
        for x, row in enumerate(arm.itertuples()):
            crashed = row.outcome == CRASHED
            marker = "x" if row.outcome == SUSPECTED else "s" if crashed else "o"
            place = 0 if crashed else row.compiled_ms
            ax.plot(x, place, marker, mec=_MODES[mode], mfc="white", ms=6, mew=1.5, clip_on=False)
