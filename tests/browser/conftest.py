"""A real Chromium, and the pages that it opens: a published sample, and what is committed under reports/."""

import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Dialog, Page, sync_playwright

from tests.conftest import REPOSITORY
from tests.hostile import cases, report

sys.path.append(str(Path(__file__).parents[1] / "unit"))

SAMPLE = "reports/cpu-xeon-2.5ghz-2c/sample.html"
STOPPED = "reports/cpu-xeon-2.5ghz-2c/stopped.html"
HOSTILE = "reports/cpu-xeon-2.5ghz-2c/hostile.html"
INDEX = "reports/index.html"
MADE = [SAMPLE, STOPPED, HOSTILE, INDEX]
COMMITTED = [str(path) for path in sorted((REPOSITORY / "reports").rglob("*.html"))]


def each_page(paths: list[str]) -> pytest.MarkDecorator:
    """Run a test over pages; a committed one goes by its address below reports/."""
    names = [path.rpartition("/reports/")[2] if path in COMMITTED else f"made-{Path(path).stem}" for path in paths]
    return pytest.mark.parametrize("path", paths, ids=names)


def is_index(path: str) -> bool:
    """Whether a page may load figures that lie beside it; a report's page holds its own."""
    return path.endswith("index.html")


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
    from test_reporting_sample import executed_sample

    from bench_utils.reporting.publish import publish
    from bench_utils.reporting.site import build_index

    root = tmp_path_factory.mktemp("site")
    facts = {"run": "r1", "plan_digest": "8f3a", "identity": {"torch": "2.13.0"}, "date": "2026-01-02"}
    sample = executed_sample()[1]
    cells = (cell for name, nb in cases().items() if "html" in name for cell in nb.cells[1:])
    hostile = report(*cells, title="Hostile")
    stopped = copy.deepcopy(sample)
    stopped.cells = stopped.cells[:4]
    stopped.cells[3].outputs = [new_output("error", ename="DeadKernelError", evalue="the kernel died", traceback=[])]
    for nb, name, device in (
        (sample, "sample", "cpu-xeon-2.5ghz-2c"),
        (sample, "sample", "nvidia-h200"),
        (stopped, "stopped", "cpu-xeon-2.5ghz-2c"),
        (hostile, "hostile", "cpu-xeon-2.5ghz-2c"),
    ):
        publish(nb, root=root, report=name, device=device, facts=facts)
    build_index(root)
    return root


class Visit:
    """An open page, and everything it asked for or complained about."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.forget()
        page.on("dialog", self._dismiss)
        page.on("requestfailed", lambda request: self.refused.append(f"{request.failure} {request.url}"))
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("console", lambda message: self.messages.append(message.text))
        page.on("pageerror", lambda error: self.messages.append(str(error)))

    def forget(self) -> None:
        """Begin anew, for the next page in the same tab."""
        self.requests: list[str] = []
        self.messages: list[str] = []
        self.dialogs: list[str] = []
        self.refused: list[str] = []

    def _dismiss(self, dialog: Dialog) -> None:
        self.dialogs.append(dialog.message)
        dialog.dismiss()


@pytest.fixture(scope="session")
def tab(browser: Browser) -> Visit:
    """The one tab in which pages are opened, one after the other."""
    return Visit(browser.new_context().new_page())


@pytest.fixture
def visit(tab: Visit, site: Path) -> Callable[..., Visit]:
    """Open a page of the site, or any by its full path: `visit("reports/index.html", width=360, scheme="dark")`."""

    def go(path: str, width: int = 1280, scheme: str = "light") -> Visit:
        tab.page.set_viewport_size({"width": width, "height": 900})
        tab.page.emulate_media(media="null", color_scheme=scheme)
        tab.page.goto("about:blank")
        tab.forget()
        tab.page.goto((site / path).as_uri(), wait_until="load")
        return tab

    return go
