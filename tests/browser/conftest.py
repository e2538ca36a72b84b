"""A real Chromium, and the published sample that it opens."""

import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

sys.path.append(str(Path(__file__).parents[1] / "unit"))

INSTALL = "apt-get update && apt-get install -y --no-install-recommends chromium"


def find_chromium() -> str:
    """Return Chromium's path; a missing browser fails the tests rather than skipping them."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        found = shutil.which(name)
        if found:
            return found
    pytest.fail(f"the page tests need Chromium: {INSTALL}", pytrace=False)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A headless Chromium."""
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=find_chromium(), args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A published site: the sample on two devices, one report that stopped, one that is hostile, and the index."""
    import copy

    from nbformat.v4 import new_output
    from test_reporting_page import HOSTILE_HTML, cell, notebook, text
    from test_reporting_sample import executed_sample

    from bench_utils.reporting.publish import publish
    from bench_utils.reporting.site import build_index

    root = tmp_path_factory.mktemp("site")
    facts = {"run": "r1", "plan_digest": "8f3a", "identity": {"torch": "2.13.0"}, "date": "2026-01-02"}
    sample = executed_sample()[1]
    stopped, hostile = copy.deepcopy(sample), notebook(text("# Hostile"), cell("1"))
    stopped.cells = stopped.cells[:4]
    stopped.cells[3].outputs = [new_output("error", ename="DeadKernelError", evalue="the kernel died", traceback=[])]
    hostile.cells += [text(html) for html in HOSTILE_HTML]
    hostile.cells[1].outputs = [new_output("display_data", data={"text/html": html}) for html in HOSTILE_HTML]
    for nb, report, device in (
        (sample, "sample", "cpu-xeon-2.5ghz-2c"),
        (sample, "sample", "nvidia-h200"),
        (stopped, "stopped", "cpu-xeon-2.5ghz-2c"),
        (hostile, "hostile", "cpu-xeon-2.5ghz-2c"),
    ):
        publish(nb, root=root, report=report, device=device, facts=facts)
    build_index(root)
    return root


class Visit:
    """An open page, and everything it asked for or complained about."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.requests: list[str] = []
        self.messages: list[str] = []
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("console", lambda message: self.messages.append(message.text))
        page.on("pageerror", lambda error: self.messages.append(str(error)))


@pytest.fixture
def visit(browser: Browser, site: Path) -> Iterator[Callable[..., Visit]]:
    """Open one of the site's pages: `visit("reports/index.html", width=360, scheme="dark")`."""
    contexts = []

    def go(path: str, width: int = 1280, scheme: str = "light") -> Visit:
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        contexts.append(context)
        visit = Visit(context.new_page())
        visit.page.goto((site / path).as_uri(), wait_until="load")
        return visit

    yield go
    for context in contexts:
        context.close()
