"""Figures draw the numbers they are given, with their intervals: artists are compared with data."""

from collections.abc import Iterator

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from test_scaling import GRID, rows

from bench_utils import figures, frames, scaling


@pytest.fixture(autouse=True)
def off_screen() -> Iterator[None]:
    backend = matplotlib.get_backend()
    plt.switch_backend("agg")
    yield
    plt.close("all")
    plt.switch_backend(backend)


def lines(ax: Axes) -> list[tuple[list[float], list[float]]]:
    return [(list(map(float, line.get_xdata())), list(map(float, line.get_ydata()))) for line in ax.lines]


def labels(ax: Axes) -> list[str]:
    return [label.get_text() for label in ax.get_yticklabels()]


def effect(variant: str, ratio: float, outcome: str = "faster", **facts) -> dict:
    return {
        "phase": "decode", "model": "gpt2-25m", "variant": variant, "ratio": ratio, "low": 0.9 * ratio,
        "high": 1.1 * ratio, "outcome": outcome, "floor": 0.02, "baseline": "eager", "dtype": "float32",
        "prompt_tokens": 32, "new_tokens": 16, "batch_size": 1,
    } | facts  # fmt: skip


def test_effects_show_each_ratio_with_its_interval_and_outcome():
    ax = figures.effects(pd.DataFrame([effect("compile", 0.5), effect("llama.cpp", 2.0, "invalid")]))
    assert ([0.45, 0.55], [0, 0]) in [(list(np.round(x, 9)), y) for x, y in lines(ax)]
    marks = {line.get_xdata()[0]: line for line in ax.lines if line.get_marker() == "o"}
    assert marks[0.5].get_markerfacecolor() == figures.colour("compile")
    assert marks[2.0].get_markerfacecolor() == "white", "what does not count is hollow"
    assert [text.get_text() for text in ax.texts] == ["faster", "invalid"]
    band = ax.patches[0].get_extents().transformed(ax.transData.inverted())
    assert (band.x0, band.x1) == pytest.approx((np.exp(-0.02), np.exp(0.02)))


def test_rows_are_told_apart_by_the_sizes_that_differ():
    same = figures.effects(pd.DataFrame([effect("compile", 0.5), effect("vllm", 0.4)]))
    assert labels(same) == ["decode · gpt2-25m · compile", "decode · gpt2-25m · vllm"]
    apart = figures.effects(pd.DataFrame([effect("compile", 0.5), effect("compile", 0.4, batch_size=8)]))
    assert labels(apart) == ["decode · gpt2-25m · compile · 1 a batch", "decode · gpt2-25m · compile · 8 a batch"]


def test_latencies_show_every_round_and_the_interval_of_their_median():
    taken = rows(models=["gpt2-2x64"], noise=0.05)
    (_, ax, _), = figures.latency_by_phase(taken)  # fmt: skip
    cells = frames.medians(taken)
    ci = frames.over_rounds(cells)
    drawn = lines(ax)
    assert (list(cells["latency_ms"]), [0.0] * len(cells)) in drawn
    assert ([ci.low, ci.high], [0.0, 0.0]) in drawn and ([ci.median], [0.0]) in drawn
    assert ax.get_xlim()[0] == 0, "lengths compare as ratios"


def test_engagement_colours_the_steps_that_ran_compiled():
    shares = pd.DataFrame([{"model": "gpt2-25m", "variant": "compile", "compiled": 8, "expected": 16}])
    ax = figures.engagement(shares)
    assert [bar.get_width() for bar in ax.patches] == [16, 8]
    assert [text.get_text() for text in ax.texts] == ["8 of 16"]


def test_a_variant_that_saves_nothing_has_no_break_even():
    costs = pd.DataFrame(
        [
            {"model": "gpt2-25m", "variant": "compile", "tokens_warm": 100.0, "tokens_cold": 5000.0},
            {"model": "tiny-gpt2", "variant": "compile", "tokens_warm": np.nan, "tokens_cold": np.nan},
        ]
    )
    ax = figures.break_even(costs)
    assert ([100.0, 5000.0], [0, 0]) in lines(ax)
    assert [text.get_text() for text in ax.texts] == ["saves nothing in decode"]


def test_published_means_are_crosses_without_an_interval():
    published = pd.DataFrame([{"phase": "prefill", "model": "gpt2-25m", "variant": "compile", "ratio": 0.6}])
    measured = pd.DataFrame([effect("compile", 0.9, phase="prefill")])
    ax = figures.beside_published(published, measured)
    marks = {line.get_marker(): list(line.get_xdata()) for line in ax.lines if line.get_marker() in ("x", "o")}
    assert marks == {"x": [0.6], "o": [0.9]}
    assert sum(len(x) == 2 and x[0] != x[1] for x, _ in lines(ax)) == 1


def test_depth_has_a_line_a_width_and_an_interval_at_every_point():
    grid = scaling.grid(rows(models=[*GRID, "gpt2-25m"], noise=0.05))
    ((ax,),) = figures.latency_by_depth(grid)
    drawn = [line for line in ax.containers if len(line.lines[0].get_xdata()) == 3]
    assert [list(line.lines[0].get_xdata()) for line in drawn] == [[2, 8, 16]] * 3
    bars = ax.containers[0].lines[2][0].get_segments()
    ci = frames.over_rounds(frames.medians(rows(models=[*GRID, "gpt2-25m"], noise=0.05).query("model == 'gpt2-2x64'")))
    assert [y for _, y in bars[0]] == pytest.approx([ci.low / 16, ci.high / 16])
    assert {text.get_text().strip() for text in ax.texts} == {"64 wide", "256 wide", "512 wide", "gpt2-25m"}


def test_a_single_round_is_drawn_without_an_interval():
    ((ax,),) = figures.latency_by_depth(scaling.grid(rows(models=["gpt2-25m"], rounds=1)))
    (label,) = ax.texts
    assert np.isfinite(label.xy).all()
