"""Hostile notebooks in a real browser: even where the page's own policy is off, nothing runs and nothing is fetched."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import HOSTILE, SAMPLE, Visit
from playwright.sync_api import Browser

from bench_utils.reporting.exporter import render
from bench_utils.reporting.pictures import safe_svg
from tests.hostile import SVG, cases, report

CASES = cases()
# What a reader may do: open every fold, walk through every focus, point at everything. Links go by their schemes.
READ = """() => {
  document.querySelectorAll('details').forEach(one => one.open = true);
  for (const one of document.querySelectorAll('main *')) {
    one.focus?.();
    for (const kind of ['mouseover', 'mouseenter', 'pointerdown']) one.dispatchEvent(new Event(kind, {bubbles: true}));
  }
}"""
SCHEMES = "[...document.links].map(one => one.protocol)"


@pytest.fixture(scope="module")
def reader(browser: Browser) -> Iterator[Visit]:
    """A tab for all pages that are opened without their policy."""
    context = browser.new_context(bypass_csp=True)
    yield Visit(context.new_page())
    context.close()


def opened(seen: Visit, folder: Path, page: str) -> Visit:
    """Open a page without its policy, and read it as far as anybody can."""
    (folder / "page.html").write_text(page, encoding="utf-8")
    seen.forget()
    seen.page.goto((folder / "page.html").as_uri(), wait_until="load")
    assert set(seen.page.evaluate(SCHEMES)) <= {"file:", "http:", "https:", "mailto:"}
    seen.page.evaluate(READ)
    seen.page.wait_for_timeout(20)
    return seen


def fetched(seen: Visit) -> list[str]:
    return [url for url in seen.requests[1:] if not url.startswith(("data:image/", seen.requests[0]))]


@pytest.mark.parametrize("name", CASES)
def test_nothing_runs_and_nothing_is_fetched(name: str, reader: Visit, tmp_path: Path) -> None:
    seen = opened(reader, tmp_path, render(CASES[name]))
    assert seen.dialogs == [] and seen.messages == []
    assert [url for url in fetched(seen) if not url.startswith("file:")] == []
    assert seen.page.evaluate("document.scripts.length") == 0


PLANTED = {
    "script": "<script>alert(1)</script>",
    "handler": "<img src='data:,' onerror=alert(1)>",
    "drawing": "<svg onload=alert(1)></svg>",
    "hover": "<b onmouseover=alert(1)>x</b>",
}


@pytest.mark.parametrize("name", PLANTED)
def test_code_that_got_through_would_be_seen(name: str, reader: Visit, tmp_path: Path) -> None:
    page = render(report()).replace("</main>", f"{PLANTED[name]}</main>")
    assert "1" in opened(reader, tmp_path, page).dialogs


@pytest.mark.parametrize("name", PLANTED)
def test_the_policy_of_the_page_is_a_second_wall(name: str, visit: Callable, tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text(render(report()).replace("</main>", f"{PLANTED[name]}</main>"))
    seen = visit(str(tmp_path / "page.html"))
    seen.page.evaluate(READ)
    assert seen.dialogs == []
    assert any("Content Security Policy" in message for message in seen.messages)


def test_the_policy_lets_nothing_be_fetched(visit: Callable, tmp_path: Path) -> None:
    fetching = "<img src='https://evil.example/x.png' alt=x><link rel=stylesheet href='https://evil.example/x.css'>"
    (tmp_path / "page.html").write_text(render(report()).replace("</main>", f"{fetching}</main>"))
    seen = visit(str(tmp_path / "page.html"))
    assert sorted(seen.refused) == ["csp https://evil.example/x.css", "csp https://evil.example/x.png"]


@pytest.mark.parametrize("name", [name for name in SVG if safe_svg(SVG[name])])
def test_a_drawing_that_is_kept_is_harmless_by_itself(name: str, visit: Callable, tmp_path: Path) -> None:
    (tmp_path / "drawing.svg").write_text(safe_svg(SVG[name]))
    seen = visit(str(tmp_path / "drawing.svg"))
    assert seen.dialogs == [] and seen.messages == [] and len(seen.requests) == 1


@pytest.mark.parametrize("path", [HOSTILE, SAMPLE])
def test_published_pages_hold_nothing_that_could_run(path: str, visit: Callable) -> None:
    page = visit(path).page
    assert page.evaluate("document.scripts.length") == 0
    dangerous = "iframe, object, embed, form, input, link, base, svg, math, video, audio, template, portal"
    assert page.locator(dangerous).count() == 0
    names = page.evaluate("[...document.querySelectorAll('*')].flatMap(one => one.getAttributeNames())")
    assert [name for name in names if name.startswith("on") or name == "style"] == []
