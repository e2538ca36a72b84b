"""Figures as a browser draws them: a page's small SVG looks like the one matplotlib wrote."""

import io
from urllib.parse import quote

import matplotlib
import numpy as np
import pytest
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from PIL import Image
from playwright.sync_api import Browser

from bench_utils.reporting.drawing import draw
from bench_utils.reporting.pictures import safe_svg

plt.switch_backend("agg")


def figure() -> Figure:
    """A figure of everything that ours are made of, and of what they might be."""
    made, (left, middle, right) = plt.subplots(1, 3, figsize=(9, 3), layout="constrained")
    x = np.linspace(0.01, 9.87654321, 40)
    left.errorbar(x, np.sin(x), yerr=0.1234567, fmt="o", capsize=3, label="a 'name' & <another>")
    left.fill_between(x, -1, np.cos(x), alpha=0.25, hatch="//")
    left.legend(frameon=False)
    left.set_title(r"$\mu$s per token, gpt2-25m", rotation=3)
    middle.loglog(x, x**-1.5, lw=3, ls="--", color="#d55e00")
    middle.annotate("steady", (1, 1), (3, 3), arrowprops={"arrowstyle": "->"})
    middle.axhspan(0.1, 0.3, color="0.9")
    right.imshow(np.outer(x, x), aspect="auto", cmap="viridis")
    right.tick_params(axis="x", labelrotation=45)
    for place in range(4):  # neighbours that are clipped alike, each a group of its own
        right.plot(10 * place, 10 * place, "o", color="white")
    return made


@pytest.fixture(scope="module")
def raw() -> str:
    """The figure as matplotlib writes it, with paths for letters as in ours."""
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "path", "svg.image_inline": True}):
        figure().savefig(buffer, format="svg", facecolor="white", edgecolor="none")
    return buffer.getvalue()


def seen(browser: Browser, svg: str) -> np.ndarray:
    page = browser.new_page(viewport={"width": 900, "height": 320}, device_scale_factor=2)
    page.set_content(f'<style>*{{margin:0}}</style><img src="data:image/svg+xml,{quote(svg)}">')
    page.wait_for_function("document.images[0].complete && document.images[0].naturalWidth > 0")
    shot = Image.open(io.BytesIO(page.screenshot())).convert("L")
    page.close()
    return np.asarray(shot, dtype=int)


def test_a_small_drawing_looks_like_the_large_one(browser: Browser, raw: str) -> None:
    small = draw(figure()).svg
    assert len(small) < 0.7 * len(raw)
    before, after = seen(browser, raw), seen(browser, small)
    assert before.std() > 20
    difference = np.abs(before - after)
    assert difference.max() < 90 and (difference > 16).mean() < 0.002  # edges of letters, by a hundredth of a point


def test_what_a_page_keeps_of_a_drawing_looks_the_same(browser: Browser) -> None:
    small = draw(figure()).svg
    assert np.array_equal(seen(browser, small), seen(browser, safe_svg(small)))


def test_a_drawing_that_differs_is_seen(browser: Browser, raw: str) -> None:
    other = draw(figure()).svg.replace("#d55e00", "#0072b2")
    assert (np.abs(seen(browser, raw) - seen(browser, other)) > 16).mean() > 0.002


def test_the_same_figure_gives_the_same_bytes() -> None:
    assert draw(figure()) == draw(figure())
