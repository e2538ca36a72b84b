"""One function a question: each takes a frame and optional axes, draws with seaborn, and returns the axes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullLocator

from . import frames
from .catalog import VARIANTS
from .statistics import median_over_processes

STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "figure.constrained_layout.use": True,
    "figure.dpi": 120,
}
PHASES = ("prefill", "decode", "e2e")
# One colour a variant across all reports, from seaborn's colour-blind palette; a control shares its twin's hue.
_PALETTE = sns.color_palette("colorblind", 10)
_HUES = {
    "eager": 7, "eager-again": 7, "eager-static": 9, "eager-all-logits": 6, "compile": 0, "compile-static": 2,
    "compile-dynamic-false": 3, "compile-padded": 1, "compile-dynamic-true": 4, "compile-reduce-overhead": 5,
    "compile-static-reduce-overhead": 8, "compile-static-max-autotune": 6, "onnxruntime": 1, "llama.cpp": 4,
    "llama.cpp-server": 4, "vllm": 3, "ollama": 5, "transformers-serve": 9, "onnxruntime-tensorrt": 8, "openai": 6,
}  # fmt: skip
_RATIO_TICKS = (
    [0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1, 1.5, 2, 3, 5, 10, 20, 50],
    [0.5, 0.6, 0.7, 0.8, 0.9, 1, 1.1, 1.2, 1.3, 1.4, 1.5],
    [0.9, 0.92, 0.94, 0.96, 0.98, 1, 1.02, 1.04, 1.06, 1.08, 1.1],
    [0.98, 0.985, 0.99, 0.995, 1, 1.005, 1.01, 1.015, 1.02],
)


def colour(variant: str) -> tuple[float, float, float]:
    """The colour of a variant, the same in every figure."""
    return _PALETTE[_HUES.get(variant, hash_index(variant))]


def hash_index(name: str) -> int:
    """A stable palette index for a name that has no colour of its own."""
    return sum(name.encode()) % len(_PALETTE)


@contextlib.contextmanager
def style() -> Iterator[None]:
    """The one figure style."""
    with sns.axes_style("ticks"), plt.rc_context(STYLE):
        yield


def in_order(variants) -> list[str]:
    """Variants in the catalog's order; those that it no longer has come last."""
    place = {name: number for number, name in enumerate(VARIANTS)}
    return sorted(set(variants), key=lambda name: (place.get(name, len(place)), name))


def _ratio_axis(ax: Axes, ratios: pd.Series) -> None:
    """A logarithmic axis with ticks a reader of ratios expects, finer ones where fewer than three would show.

    Intervals of two rounds may span many decades: they are cut at factors of ten beyond all ratios.
    """
    ax.set_xscale("log")
    low, high = ax.get_xlim()
    low, high = max(low, min(0.1, ratios.min() / 10)), min(high, max(10, ratios.max() * 10))
    ax.set_xlim(low, high)
    ticks = next((t for t in _RATIO_TICKS if sum(low <= tick <= high for tick in t) >= 3), _RATIO_TICKS[-1])
    ax.xaxis.set_major_locator(FixedLocator(ticks))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.grid(axis="x", color="0.93")


def latency_by_phase(rows: pd.DataFrame, axes: np.ndarray | None = None) -> np.ndarray:
    """Latency per phase (columns) and model (rows): a dot a round's median, a bar the 95 % interval of their median.

    Latency in milliseconds from zero, so that lengths compare as ratios; each panel has a scale of its own.
    """
    cells = frames.medians(rows)
    cells = cells[cells["phase"].isin(PHASES) & ~cells["exhibit"]]
    variants = {m: in_order(g["variant"]) for m, g in cells.groupby("model", sort=False)}
    with style():
        if axes is None:
            heights = [0.9 + 0.3 * len(v) for v in variants.values()]
            shape = {"figsize": (8, sum(heights)), "height_ratios": heights, "squeeze": False}
            _, axes = plt.subplots(len(variants), len(PHASES), sharey="row", **shape)
        for row, model in enumerate(variants):
            for ax, phase in zip(axes[row], PHASES, strict=True):
                _dots(cells[(cells["model"] == model) & (cells["phase"] == phase)], variants[model], ax)
                ax.set_title(f"{model}: {phase}" if ax is axes[row, 0] else phase)
                ax.set_xlabel("ms" if row == len(variants) - 1 else "")
    return axes


def _dots(cells: pd.DataFrame, variants: list[str], ax: Axes) -> None:
    for y, variant in enumerate(variants):
        mine = cells[cells["variant"] == variant]
        if len(mine):
            values, ci = mine["latency_ms"].to_numpy(), frames.over_rounds(mine)
            ax.plot([0, ci.median], [y, y], color=colour(variant), lw=1, alpha=0.35)
            ax.plot(values, np.full(len(values), y), "o", color=colour(variant), alpha=0.4, ms=4, mew=0)
            ax.plot([ci.low, ci.high], [y, y], color=colour(variant), lw=3)
            ax.plot(ci.median, y, "o", color=colour(variant), ms=7, mec="white")
    ax.set_yticks(range(len(variants)), variants)
    ax.set_ylim(len(variants) - 0.4, -0.6)
    ax.set_xlim(left=0)
    ax.xaxis.set_major_locator(MaxNLocator(5))
    ax.grid(axis="x", color="0.93")


def effects(table: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Latency ratios to the baseline with 95 % intervals, beside the band in which identical code differs (A/A).

    ``table`` comes from ``contrast``. Hollow marks are contrasts that do not count; left of one is faster. Labels
    name the sizes and the dtype where rows differ in them.
    """
    table = table.sort_values(
        ["phase", "model"],
        key=lambda c: c.map({p: i for i, p in enumerate(PHASES)}) if c.name == "phase" else c,
    )
    with style():
        ax = ax or plt.subplots(figsize=(8, 1.1 + 0.27 * len(table)))[1]
        floor = table["floor"].max()
        if floor == floor:
            ax.axvspan(np.exp(-floor), np.exp(floor), color="0.9", lw=0, zorder=0)
        ax.axvline(1, color="0.4", lw=1)
        for y, row in enumerate(table.itertuples()):
            counts = row.outcome != "invalid"
            ax.plot([row.low, row.high], [y, y], color=colour(row.variant), lw=2, alpha=1 if counts else 0.4)
            face = colour(row.variant) if counts else "white"
            ax.plot(row.ratio, y, "o", ms=6, mec=colour(row.variant), mfc=face)
            ax.annotate(
                row.outcome,
                (1.01, y),
                xycoords=("axes fraction", "data"),
                va="center",
                fontsize=8,
                annotation_clip=False,
            )
        ax.set_yticks(range(len(table)), _contrast_labels(table))
        ax.set_ylim(len(table) - 0.4, -0.6)
        _ratio_axis(ax, table["ratio"])
        ax.set_xlabel(f"latency / that of {table['baseline'].iloc[0]} (grey: identical code under two labels)")
    return ax


def _contrast_labels(table: pd.DataFrame) -> list[str]:
    """What tells the rows apart: phase, model, variant, and the sizes and dtype that are not the same for all."""
    decoding = table[table["phase"] != "prefill"]  # a prefill has no new tokens, which tells it from nothing
    units = {"prompt_tokens": " prompt", "new_tokens": " new", "batch_size": " a batch", "dtype": ""}
    differ = {c: u for c, u in units.items() if (decoding if c == "new_tokens" else table)[c].nunique() > 1}
    return [
        " · ".join([row.phase, row.model, row.variant, *(f"{getattr(row, c)}{unit}" for c, unit in differ.items())])
        for row in table.itertuples()
    ]


def engagement(shares: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Decode steps that ran compiled code, of the steps that were labelled compiled."""
    with style():
        ax = ax or plt.subplots(figsize=(8, 0.8 + 0.36 * len(shares)))[1]
        for y, row in enumerate(shares.itertuples()):
            ax.barh(y, row.expected, color="0.93", height=0.62)
            ax.barh(y, row.compiled, color=colour(row.variant), height=0.62)
            ax.annotate(
                f"{row.compiled:.0f} of {row.expected:.0f}",
                (row.expected, y),
                xytext=(4, 0),
                textcoords="offset points",
                va="center",
                fontsize=8,
            )
        ax.set_yticks(range(len(shares)), [f"{r.model} · {r.variant}" for r in shares.itertuples()])
        ax.invert_yaxis()
        ax.set_xlim(0, shares["expected"].max() * 1.12)
        ax.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        ax.set_xlabel("decode steps of one call: coloured ran compiled, grey ran eager")
    return ax


def break_even(costs: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Tokens after which compiling has paid: hollow with a warm compile cache, filled with a cold one."""
    with style():
        ax = ax or plt.subplots(figsize=(8, 0.9 + 0.36 * len(costs)))[1]
        for y, row in enumerate(costs.itertuples()):
            hue = colour(row.variant)
            if row.tokens_cold != row.tokens_cold:
                ax.annotate(
                    "saves nothing in decode", (0.02, y), xycoords=("axes fraction", "data"), va="center", fontsize=8
                )
                continue
            ax.plot([row.tokens_warm, row.tokens_cold], [y, y], color=hue, lw=2)
            ax.plot(row.tokens_warm, y, "o", mfc="white", mec=hue, mew=2, ms=7)
            ax.plot(row.tokens_cold, y, "o", color=hue, ms=8)
        ax.set_yticks(range(len(costs)), [f"{r.model} · {r.variant}" for r in costs.itertuples()])
        ax.set_ylim(len(costs) - 0.4, -0.6)
        ax.set_xscale("log")
        ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        ax.set_xlabel("decoded tokens until compiling has paid (hollow: warm cache, filled: cold)")
        ax.grid(axis="x", color="0.93")
    return ax


def beside_published(published: pd.DataFrame, measured: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Published compile effects (crosses, no interval) beside those measured here (dots with intervals), by phase."""
    both = pd.concat([published.assign(cross=True), measured.assign(cross=False)], ignore_index=True)
    lanes = [
        (p, m)
        for p in PHASES
        for m in dict.fromkeys(both["model"])
        if ((both["phase"] == p) & (both["model"] == m)).any()
    ]
    with style():
        ax = ax or plt.subplots(figsize=(8, 1 + 0.36 * len(lanes)))[1]
        ax.axvline(1, color="0.4", lw=1)
        for row in both.itertuples():
            y = lanes.index((row.phase, row.model)) + (-0.16 if row.cross else 0.16)
            if not row.cross:
                ax.plot([row.low, row.high], [y, y], color=colour(row.variant), lw=2)
            ax.plot(
                row.ratio, y, "x" if row.cross else "o", color=colour(row.variant), ms=6, mew=1.8 if row.cross else 0
            )
        ax.set_yticks(range(len(lanes)), [f"{phase} · {model}" for phase, model in lanes])
        ax.set_ylim(len(lanes) - 0.4, -0.6)
        _ratio_axis(ax, both["ratio"])
        ax.set_xlabel("compiled / eager latency (× published mean, ● measured here)")
        for variant in in_order(both["variant"]):
            ax.plot([], [], "s", color=colour(variant), label=variant)
        ax.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return ax


def latency_by_depth(grid: pd.DataFrame, axes: np.ndarray | None = None) -> np.ndarray:
    """Latency of a step against the number of layers, a line a width and a panel a variant and phase.

    ``grid`` comes from ``scaling.grid``; bars are 95 % intervals over the rounds, crosses models whose width no line
    has. Both axes logarithmic.
    """
    cells = _over_rounds(grid)
    on_a_line = cells["model"].str.fullmatch(r"gpt2-\d+x\d+")
    widths = sorted(set(cells.loc[on_a_line, "width"]))
    shades = dict(zip(widths, sns.color_palette("crest", len(widths)), strict=True))
    panels = list(cells.groupby(["variant", "phase"], sort=False))
    with style():
        if axes is None:
            _, axes = plt.subplots(1, len(panels), figsize=(4 * len(panels), 3.6), squeeze=False)
        for ax, ((variant, phase), here) in zip(np.ravel(axes), panels, strict=True):
            for width, line in here[on_a_line].groupby("width"):
                _depth_line(line.sort_values("layers"), shades[width], ax)
            for row in here[~on_a_line].itertuples():
                _depth_cross(row, ax)
            ax.set_xscale("log", base=2)
            ax.set_yscale("log")
            ax.margins(x=0.2)
            ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            ax.yaxis.set_minor_locator(NullLocator())
            for axis in (ax.xaxis, ax.yaxis):
                axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            ax.set(title=f"{variant}: {phase}", xlabel="layers", ylabel="ms a step")
    return axes


def _over_rounds(grid: pd.DataFrame) -> pd.DataFrame:
    """A row a variant, phase and model: ``step_ms`` over the rounds, with what its interval reaches ``below`` and
    ``above`` it."""
    found = []
    keys = ["variant", "phase", "model", "layers", "width"]
    for key, cells in grid.groupby(keys, sort=False):
        ci = median_over_processes(cells["step_ms"].to_numpy(), cells["round"].to_numpy())
        found.append((*key, ci.median, ci.median - ci.low, ci.high - ci.median))
    return pd.DataFrame(found, columns=[*keys, "step_ms", "below", "above"])


def _depth_line(line: pd.DataFrame, shade: tuple[float, float, float], ax: Axes) -> None:
    bars = line[["below", "above"]].to_numpy().T
    ax.errorbar(line["layers"], line["step_ms"], yerr=bars, fmt="o-", color=shade, ms=4, lw=1.5, elinewidth=3)
    last = line.iloc[-1]
    ax.annotate(f"  {last['width']:.0f} wide", (last["layers"], last["step_ms"]), va="center", fontsize=8)


def _depth_cross(row, ax: Axes) -> None:
    ax.errorbar(row.layers, row.step_ms, yerr=[[row.below], [row.above]], fmt="x", color="0.25", mew=1.6, elinewidth=3)
    label = {"xytext": (0, -6), "textcoords": "offset points", "ha": "center", "va": "top", "fontsize": 7}
    veil = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0.6}
    lowest = np.nanmin([row.step_ms, row.step_ms - row.below])  # one round has no interval
    ax.annotate(row.model, (row.layers, lowest), color="0.25", bbox=veil, **label)
