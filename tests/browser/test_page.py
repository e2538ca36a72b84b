"""The pages in a real browser, as a reader meets them."""

from collections.abc import Callable
from pathlib import Path

import pytest

SAMPLE = "reports/cpu-xeon-2.5ghz-2c/sample.html"
STOPPED = "reports/cpu-xeon-2.5ghz-2c/stopped.html"
HOSTILE = "reports/cpu-xeon-2.5ghz-2c/hostile.html"
INDEX = "reports/index.html"
PAGES = [SAMPLE, STOPPED, HOSTILE, INDEX]

OPEN_ALL = "document.querySelectorAll('details').forEach(one => one.open = true)"

# The contrast of each text with what is painted behind it, by the formula of WCAG 2.
CONTRASTS = """selector => {
  const channels = text => text.match(/[\\d.]+/g).map(Number);
  const linear = c => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  const light = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
  const behind = one => {
    for (; one; one = one.parentElement) {
      const found = channels(getComputedStyle(one).backgroundColor);
      if (found.length < 4 || found[3] > 0) return found;
    }
    return [255, 255, 255];
  };
  const shown = one => one.getClientRects().length > 0 && one.textContent.trim();
  return [...document.querySelectorAll(selector)].filter(shown).map(one => {
    const pair = [light(channels(getComputedStyle(one).color)), light(behind(one))].sort((a, b) => b - a);
    return [one.className || one.tagName, (pair[0] + 0.05) / (pair[1] + 0.05)];
  });
}"""

TEXTS = (
    "body, p, li, a, h1, h2, h3, summary, figcaption, td, th, dt, dd, .badge, .badge span, .id, .reason, .sample, "
    "data, .label, .note, .missing, .notice, code, pre, pre span, footer"
)


@pytest.mark.parametrize("path", PAGES)
def test_nothing_is_requested_and_nothing_complains(path: str, visit: Callable, site: Path) -> None:
    seen = visit(path)
    seen.page.evaluate(OPEN_ALL)
    seen.page.wait_for_timeout(100)
    foreign = [url for url in seen.requests if not url.startswith(("data:", site.as_uri()))]
    assert foreign == []
    assert seen.messages == []
    if path != INDEX:
        assert [url for url in seen.requests if not url.startswith("data:")] == [(site / path).as_uri()]


@pytest.mark.parametrize("path", [SAMPLE, INDEX])
def test_every_image_is_there_and_described(path: str, visit: Callable) -> None:
    page = visit(path).page
    images = page.evaluate("[...document.images].map(one => [one.complete && one.naturalWidth, one.alt])")
    assert len(images) >= 2
    assert all(width > 0 and len(alt) > 20 for width, alt in images)
    assert "No description" not in page.content()


def test_hostile_notebooks_run_nothing(visit: Callable) -> None:
    page = visit(HOSTILE).page
    assert page.evaluate("document.scripts.length") == 0
    assert page.title().startswith("Hostile")
    dangerous = "iframe, object, embed, form, input, link, base, svg, math, [onerror], [onload], [style]"
    assert page.locator(dangerous).count() == 0


def test_contents_lead_to_their_sections(visit: Callable) -> None:
    page = visit(SAMPLE).page
    targets = page.evaluate("[...document.querySelectorAll('nav a')].map(a => a.getAttribute('href').slice(1))")
    assert len(targets) == len(set(targets)) >= 6
    for target in targets:
        assert page.locator(f"[id='{target}']").count() == 1
    page.click("nav a >> text=Limits")
    assert page.url.endswith("#limits")


def test_the_first_screen_answers(visit: Callable) -> None:
    page = visit(SAMPLE).page
    for selector in ("h1", ".headline", ".claims li", ".provenance"):
        box = page.locator(selector).first.bounding_box()
        assert box is not None and box["y"] + min(box["height"], 100) < 900, selector


@pytest.mark.parametrize("path", PAGES)
@pytest.mark.parametrize("width", [320, 360, 768, 1280, 1920])
def test_no_page_scrolls_sideways(path: str, width: int, visit: Callable) -> None:
    page = visit(path, width=width).page
    page.evaluate(OPEN_ALL)
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_a_wide_table_scrolls_by_keyboard_in_its_own_region(visit: Callable) -> None:
    page = visit(SAMPLE, width=360).page
    region = page.locator(".table .scroll")
    assert region.get_attribute("aria-label").startswith("Table 1. Medians")
    assert region.evaluate("one => one.scrollWidth > one.clientWidth")
    region.focus()
    page.keyboard.press("ArrowRight")
    for _ in range(50):
        if region.evaluate("one => one.scrollLeft") > 0:
            break
        page.wait_for_timeout(20)
    assert region.evaluate("one => one.scrollLeft") > 0


def test_folds_open_by_keyboard_with_a_visible_focus(visit: Callable) -> None:
    page = visit(SAMPLE).page
    summary = page.locator("summary").first
    for _ in range(30):
        page.keyboard.press("Tab")
        if summary.evaluate("one => one === document.activeElement"):
            break
    assert summary.evaluate("one => getComputedStyle(one).outlineStyle") == "solid"
    for expected in (True, False):
        page.keyboard.press("Enter")
        assert page.locator("details").first.evaluate("one => one.open") is expected


def test_the_first_tab_skips_to_the_report(visit: Callable) -> None:
    page = visit(SAMPLE).page
    page.keyboard.press("Tab")
    skip = page.locator(".skip")
    assert skip.evaluate("one => one === document.activeElement")
    assert skip.bounding_box()["y"] >= 0
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"


@pytest.mark.parametrize("path", PAGES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_stand_out_from_what_is_behind_them(path: str, scheme: str, visit: Callable) -> None:
    page = visit(path, scheme=scheme).page
    page.evaluate(OPEN_ALL)
    measured = page.evaluate(CONTRASTS, TEXTS)
    assert len(measured) > 10
    assert [pair for pair in measured if pair[1] < 4.5] == []


def test_dark_is_dark_and_figures_stay_on_a_light_card(visit: Callable) -> None:
    page = visit(SAMPLE, scheme="dark").page
    colours = page.evaluate(
        "['body', '.card'].map(name => getComputedStyle(document.querySelector(name)).backgroundColor)"
    )
    assert colours == ["rgb(19, 22, 26)", "rgb(255, 255, 255)"]


def test_verdicts_differ_in_more_than_colour(visit: Callable) -> None:
    badges = visit(SAMPLE).page.locator(".claims .badge").all_inner_texts()
    assert badges == ["✓ supported", "✗ refuted", "≈ inconclusive", "– not testable here"]


def test_a_stopped_report_says_so_first(visit: Callable) -> None:
    page = visit(STOPPED).page
    assert "stopped in cell 3 of 3; later cells were not run" in page.inner_text("[role=status]")
    assert "not measured" in page.inner_text(".judged")


def test_it_prints_with_everything_open(visit: Callable) -> None:
    page = visit(SAMPLE).page
    closed = page.locator("details pre").first
    assert not closed.is_visible()
    page.emulate_media(media="print")
    assert closed.bounding_box()["height"] > 20
    assert page.locator("nav").is_hidden()
    assert len(page.pdf()) > 20_000


def test_the_structure_is_one_a_screen_reader_can_walk(visit: Callable) -> None:
    page = visit(SAMPLE).page
    assert page.get_attribute("html", "lang") == "en"
    assert [page.locator(name).count() for name in ("h1", "main", "nav", "footer")] == [1, 1, 1, 1]
    levels = page.evaluate("[...document.querySelectorAll('h1,h2,h3,h4')].map(one => Number(one.tagName[1]))")
    assert all(after - before <= 1 for before, after in zip(levels, levels[1:], strict=False))
    assert page.locator("th:not([scope])").count() == 0
    unnamed = "[...document.querySelectorAll('a, summary')].filter(one => !one.textContent.trim()).length"
    assert page.evaluate(unnamed) == 0


def test_every_link_of_the_index_opens(visit: Callable, site: Path) -> None:
    page = visit(INDEX).page
    links = page.evaluate("[...document.querySelectorAll('a')].map(a => a.getAttribute('href'))")
    files = {link for link in links if not link.startswith("#")}
    assert len(files) >= 8
    assert all((site / "reports" / link).is_file() for link in files)
    page.click(".gallery a >> text=Compiled inference >> nth=0")
    page.click("text=All reports >> nth=0")
    assert page.url.endswith("reports/index.html")


def test_pages_stay_small(site: Path) -> None:
    sizes = {path.name: path.stat().st_size for path in site.rglob("*.html")}
    assert max(sizes.values()) < 200_000, sizes
