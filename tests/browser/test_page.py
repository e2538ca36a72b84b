"""The pages in a real browser, as a reader meets them."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from conftest import COMMITTED, INDEX, MADE, SAMPLE, STOPPED, each_page, is_index

from tests.conftest import REPOSITORY

PAGES = MADE + COMMITTED
REPORTS = [path for path in COMMITTED if not is_index(path)]

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


def sheets(pdf: bytes) -> int:
    """Return how many pages a PDF has."""
    return len(re.findall(rb"/Type\s*/Page\b", pdf))


TEXTS = (
    "body, p, li, a, h1, h2, h3, summary, figcaption, td, th, dt, dd, .badge, .badge span, .id, .reason, .sample, "
    "data, .label, .note, .missing, .notice, code, pre, pre span, footer"
)


@each_page(PAGES)
def test_nothing_is_requested_and_nothing_complains(path: str, visit: Callable, site: Path) -> None:
    seen = visit(path)
    seen.page.evaluate(OPEN_ALL)
    seen.page.wait_for_timeout(100)
    address = (site / path).as_uri()
    beside = address.rpartition("/reports/")[0] + "/figures/" if is_index(path) else address
    assert seen.requests[0] == address
    assert [url for url in seen.requests[1:] if not url.startswith(("data:", beside))] == []
    assert seen.messages == []


@each_page([SAMPLE, INDEX, *COMMITTED])
def test_every_image_is_there_and_described(path: str, visit: Callable) -> None:
    page = visit(path).page
    images = page.evaluate("[...document.images].map(one => [one.complete && one.naturalWidth, one.alt.trim()])")
    assert images
    assert all(width > 0 and len(alt) > 20 for width, alt in images)
    assert "No description" not in page.content()


@each_page(PAGES)
def test_every_link_within_a_page_has_its_one_target(path: str, visit: Callable) -> None:
    page = visit(path).page
    missing = """[...document.querySelectorAll('a[href^="#"]')].map(a => a.getAttribute('href').slice(1))
      .filter(id => document.querySelectorAll(`[id="${id}"]`).length !== 1)"""
    assert page.evaluate(missing) == []
    texts = "selector => [...document.querySelectorAll(selector)].map(one => one.textContent.trim())"
    headings = page.evaluate(texts, "main h2, main h3") if page.locator("nav").count() else []
    assert page.evaluate(texts, "nav a") == headings


def test_contents_lead_to_their_sections(visit: Callable) -> None:
    page = visit(SAMPLE).page
    assert page.locator("nav a").count() >= 6
    page.click("nav a >> text=Limits")
    assert page.url.endswith("#limits")


def test_the_first_screen_answers(visit: Callable) -> None:
    page = visit(SAMPLE).page
    for selector in ("h1", ".headline", ".claims li", ".provenance"):
        box = page.locator(selector).first.bounding_box()
        assert box is not None and box["y"] + min(box["height"], 100) < 900, selector


@each_page(PAGES)
def test_no_page_scrolls_sideways(path: str, visit: Callable) -> None:
    page = visit(path).page
    page.evaluate(OPEN_ALL)
    for width in (320, 360, 768, 1280, 1920):
        page.set_viewport_size({"width": width, "height": 900})
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


@each_page([SAMPLE, *REPORTS])
def test_folds_open_by_keyboard_with_a_visible_focus(path: str, visit: Callable) -> None:
    page = visit(path).page
    summary = page.locator("summary").first
    for _ in range(60):
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


@each_page(PAGES)
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


@each_page([SAMPLE, STOPPED, *REPORTS])
def test_it_prints_with_everything_open(path: str, visit: Callable) -> None:
    page = visit(path).page
    folded = "[...document.querySelectorAll('details > :not(summary)')].filter(one => !one.checkVisibility()).length"
    hidden = "[...document.querySelectorAll('details > :not(summary)')].filter(one => one.offsetHeight < 10).length"
    assert page.locator("details").count() > 0
    assert page.evaluate(folded) == page.locator("details > :not(summary)").count()
    closed = page.pdf()
    page.emulate_media(media="print")
    assert page.evaluate(hidden) == 0
    assert page.locator("nav").is_hidden()
    page.evaluate(OPEN_ALL)
    opened = page.pdf()
    assert sheets(closed) == sheets(opened) > 1
    page.add_style_tag(content="details { display: none }")
    assert len(page.pdf()) < len(closed)


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
    page.click(".matrix h3 a >> text=Compiled inference >> nth=0")
    page.click("text=All reports >> nth=0")
    assert page.url.endswith("reports/index.html")


@each_page(PAGES)
def test_a_page_stays_small(path: str, site: Path) -> None:
    content = (site / path).read_bytes()
    figures = content.count(b'<figure class="plot">')
    assert len(content) < 300_000 * max(1, figures / 5)


@each_page(PAGES)
def test_the_rules_of_accessibility_find_nothing(path: str, visit: Callable) -> None:
    page = visit(path).page
    page.evaluate(OPEN_ALL)
    found = Axe().run(page)
    assert len(found.response["passes"]) > 20
    assert found.response["violations"] == [], found.generate_report()


def test_the_rules_of_accessibility_can_find_something(visit: Callable) -> None:
    page = visit(SAMPLE).page
    page.evaluate("document.images[0].removeAttribute('alt'); document.documentElement.lang = ''")
    assert {found["id"] for found in Axe().run(page).response["violations"]} == {"image-alt", "html-has-lang"}


def test_there_are_committed_pages_and_each_is_listed(visit: Callable) -> None:
    page = visit(str(REPOSITORY / INDEX)).page
    listed = set(page.evaluate("[...document.querySelectorAll('a')].map(a => a.getAttribute('href'))"))
    assert len(REPORTS) >= 3
    assert {str(Path(path).relative_to(REPOSITORY / "reports")) for path in REPORTS} <= listed
