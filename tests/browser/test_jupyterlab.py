"""The notebooks as a person meets them: opened in a real JupyterLab, "Run All Cells", widgets moved by mouse."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import nbformat
import pytest
from playwright.sync_api import Browser, Page

from tests.conftest import REPOSITORY, make_project

OPTIONS = (
    "--no-browser",
    "--allow-root",
    "--ServerApp.port=0",
    "--ServerApp.ip=127.0.0.1",
    "--LabApp.expose_app_in_browser=True",
    "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
)
QUIET = {"@jupyterlab/apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False}}
NOTEBOOK = "window.jupyterapp?.shell.currentWidget"
READY = f"{NOTEBOOK}?.sessionContext?.session?.kernel?.status === 'idle' && {NOTEBOOK}.content.model.cells.length > 1"
CODE = f"{NOTEBOOK}.content.model.toJSON().cells.filter(cell => cell.cell_type === 'code')"
# A cell that waits its turn has no number; one that failed keeps those after it from having one.
ENDED = f"""(() => {{
  const cells = {CODE}, failed = cells.some(cell => cell.outputs.some(output => output.output_type === 'error'));
  const idle = {NOTEBOOK}.sessionContext.session.kernel.status === 'idle';
  return idle && (failed || cells.every(cell => cell.execution_count !== null));
}})()"""


@dataclass
class Lab:
    """A running server, and the project that it serves."""

    address: str
    token: str
    root: Path


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """JupyterLab over a copy of notebooks and committed runs, with settings and runtime folders of its own."""
    own, root = tmp_path_factory.mktemp("jupyter"), make_project(tmp_path_factory.mktemp("lab"), {})
    for folder in ("notebooks", "results"):
        shutil.copytree(REPOSITORY / folder, root / folder, dirs_exist_ok=True)
    _pin_run(root, "TR126_compile_phases.ipynb")
    for name, values in QUIET.items():
        path = own / "settings" / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(values))
    token = secrets.token_hex(16)
    with (own / "log").open("wb") as log:
        command = [sys.executable, "-m", "jupyterlab", *OPTIONS, f"--ServerApp.root_dir={root}"]
        server = subprocess.Popen(
            command, cwd=root, env=os.environ | _own(own, token), stdout=log, stderr=log, start_new_session=True
        )
        try:
            yield Lab(_address(server, own), token, root)
        finally:
            _stop(server)


def _own(folder: Path, token: str) -> dict[str, str]:
    """Nothing of the person who runs the tests, and nothing for them to find afterwards."""
    return {
        "JUPYTER_TOKEN": token,
        "JUPYTER_CONFIG_DIR": str(folder / "config"),
        "JUPYTER_DATA_DIR": str(folder / "data"),
        "JUPYTER_RUNTIME_DIR": str(folder / "runtime"),
        "JUPYTERLAB_SETTINGS_DIR": str(folder / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(folder / "workspaces"),
        "IPYTHONDIR": str(folder / "ipython"),
    }


def _pin_run(root: Path, name: str) -> None:
    """Set the run of a report to the committed one, so that nothing is measured."""
    run = min((root / "results").glob(f"*/{name.partition('_')[0]}/*/run.json")).parent.name
    nb = nbformat.read(root / "notebooks" / name, as_version=4)
    cell = next(cell for cell in nb.cells if "parameters" in cell.metadata.get("tags", []))
    assert 'run: str = "latest"' in cell.source
    cell.source = cell.source.replace('run: str = "latest"', f'run: str = "{run}"')
    nbformat.write(nb, root / "notebooks" / name)


def _address(server: subprocess.Popen, own: Path) -> str:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and server.poll() is None:
        for found in (own / "runtime").glob("jpserver-*.json"):
            if found.read_text().endswith("}"):
                return json.loads(found.read_text())["url"]
        time.sleep(0.1)
    pytest.fail(f"JupyterLab did not start: {(own / 'log').read_text()[-2000:]}", pytrace=False)


def _stop(server: subprocess.Popen) -> None:
    """End the server, which ends its kernels; whatever is left of its group goes after ten seconds."""
    server.terminate()
    try:
        server.wait(timeout=10)
    except subprocess.TimeoutExpired:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1400, "height": 1000})
    yield context.new_page()
    context.close()


def opened(page: Page, lab: Lab, notebook: str) -> None:
    """Open a notebook in a workspace of its own, and wait for its kernel."""
    workspace = notebook.removesuffix(".ipynb")
    page.goto(f"{lab.address}lab/workspaces/{workspace}/tree/notebooks/{notebook}?token={lab.token}")
    page.wait_for_function(READY, timeout=60_000)


def run_all(page: Page) -> list[dict]:
    """Choose "Run All Cells" from the menu; return the code cells when the last has run."""
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
    page.wait_for_function(ENDED, timeout=120_000, polling=200)
    return page.evaluate(CODE)


def check_ran(cells: list[dict]) -> None:
    """Every cell has run, in order, and none failed."""
    errors = [output for cell in cells for output in cell["outputs"] if output["output_type"] == "error"]
    assert errors == []
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))


def kinds(cells: list[dict]) -> set[str]:
    return {output.get("metadata", {}).get("bench", {}).get("kind") for cell in cells for output in cell["outputs"]}


def files(root: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in (root / "results").rglob("*") if path.is_file()}


REPORTS = ["audit_published.ipynb", "TR126_compile_phases.ipynb"]


@pytest.mark.parametrize("notebook", REPORTS)
def test_a_report_runs_from_top_to_bottom_and_measures_nothing(notebook: str, lab: Lab, page: Page) -> None:
    before = files(lab.root)
    opened(page, lab, notebook)
    cells = run_all(page)
    check_ran(cells)
    assert {"headline", "claims", "facts", "figure", "table", "prose"} <= kinds(cells)
    assert files(lab.root) == before
    badge = page.locator(".jp-OutputArea .badge").first
    badge.scroll_into_view_if_needed()
    assert badge.evaluate("one => getComputedStyle(one).backgroundColor") != "rgba(0, 0, 0, 0)"


def test_an_error_would_be_seen(lab: Lab, page: Page) -> None:
    nb = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(source) for source in ("1", "1 / 0", "2")],
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
    )
    nbformat.write(nb, lab.root / "notebooks" / "broken.ipynb")
    opened(page, lab, "broken.ipynb")
    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        check_ran(run_all(page))


def picture(page: Page) -> str:
    """Return what the explorer shows now: its picture, or its table."""
    return page.locator(".widget-html-content figure").last.inner_html(timeout=30_000)


def changed(page: Page, before: str) -> str:
    """Wait until the explorer shows something else, and return it."""
    shown = "[...document.querySelectorAll('.widget-html-content figure')].at(-1)?.innerHTML"
    page.wait_for_function(f"before => {shown} && {shown} !== before", arg=before, timeout=30_000)
    return picture(page)


def test_the_explorer_follows_its_controls(lab: Lab, page: Page) -> None:
    messages: list[str] = []
    page.on("pageerror", lambda error: messages.append(str(error)))
    opened(page, lab, "explore.ipynb")
    check_ran(run_all(page))
    page.locator(".widget-toggle-buttons").scroll_into_view_if_needed()
    seen = [picture(page)]
    for view in ("drift", "effects"):
        page.locator(".widget-toggle-button", has_text=view).click()
        seen.append(changed(page, seen[-1]))
    phase = page.locator(".widget-dropdown", has_text="Phase").locator("select")
    phase.select_option("prefill")
    seen.append(changed(page, seen[-1]))
    page.locator(".widget-toggle-button", has_text="rows").click()
    seen.append(changed(page, seen[-1]))
    assert len(set(seen)) == 5
    assert all("<img" in shown for shown in seen[:4]) and "<table" in seen[4]
    loaded = "[...document.querySelectorAll('.widget-html-content img')].every(one => one.naturalWidth > 0)"
    assert page.evaluate(loaded)
    assert messages == [] and page.locator("text=Error displaying widget").count() == 0
    check_ran(page.evaluate(CODE))
